"""Work shared out among threads, with the results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from pocketrnn.errors import Terminated

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["mapped_in_order"]

Given = TypeVar("Given")
Result = TypeVar("Result")


def mapped_in_order(
    work: Callable[[Given], Result], items: Iterable[Given], threads: int, stop: Callable[[], None] = lambda: None
) -> Iterator[tuple[Given, Result]]:
    """Every item and what `work` makes of it, in the items' order, by `threads` threads.

    Items are read lazily, only as many ahead as there are threads. The threads live as long as the iterator: who calls
    this owns none afterwards. An error in reading the items is raised after the results of those that were read.

    Args:
        work: called with one item; it must release the interpreter lock to gain anything from several threads.
        items: what to work on.
        threads: how many threads, from 1.
        stop: called where a signal ends the iteration, since the threads are waited for: it ends their work.

    Example:
        >>> list(mapped_in_order(len, ["a", "bb"], 1))
        [('a', 1), ('bb', 2)]
    """
    if threads == 1 or (isinstance(items, list) and len(items) <= 1):
        for item in items:
            yield item, work(item)
        return
    # Not at the top: it takes 1 % of a start, for programs that ask one text at a time.
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(threads, thread_name_prefix="pocketrnn")
    waiting: deque[tuple[Given, Future[Result]]] = deque()
    failure: Exception | None = None
    items_left = iter(items)
    try:
        while True:
            try:
                item = next(items_left)
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > threads:
                item, future = waiting.popleft()
                yield item, future.result()
        while waiting:
            item, future = waiting.popleft()
            yield item, future.result()
    except (KeyboardInterrupt, Terminated):
        stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    if failure is not None:
        raise failure
