"""Work shared out among threads, with the results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from pocketrnn.errors import Terminated

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["Workers"]

Given = TypeVar("Given")
Result = TypeVar("Result")


class Workers:
    """The threads of one classifier. They are started by the first work for several, and end with this object.

    To start two of them anew for each call takes 0.3 ms, as long as two threads take for 60 texts of a small LSTM.
    Several calls may work at once, and then share the threads. A process that was forked starts its own.

    Args:
        threads: how many, from 1. Work for one is done where it is asked for, without another thread.

    Example:
        >>> list(Workers(2).mapped(len, ["a", "bb"]))
        [('a', 1), ('bb', 2)]
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._started: tuple[int, ThreadPoolExecutor] | None = None

    def mapped(
        self, work: Callable[[Given], Result], items: Iterable[Given], stop: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[Given, Result]]:
        """Every item and what `work` makes of it, in the items' order.

        Items are read lazily, only as many ahead as there are threads. Where the iteration ends early, work that has
        begun is waited for. An error in reading the items is raised after the results of those that were read.

        Args:
            work: called with one item; it must release the interpreter lock to gain anything from several threads.
            items: what to work on.
            stop: called where a signal ends the iteration, since the threads are waited for: it ends their work.
        """
        if self.threads == 1 or (isinstance(items, list) and len(items) <= 1):
            for item in items:
                yield item, work(item)
            return
        pool = self._pool()
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
                if len(waiting) > self.threads:
                    yield waiting[0][0], waiting[0][1].result()
                    waiting.popleft()
            while waiting:
                yield waiting[0][0], waiting[0][1].result()
                waiting.popleft()
        except (KeyboardInterrupt, Terminated):
            stop()
            raise
        finally:
            _end([future for _, future in waiting])
        if failure is not None:
            raise failure

    def _pool(self) -> ThreadPoolExecutor:
        """This process's threads: those of the process that it was forked from are not in it."""
        # Not at the top: it takes 1 % of a start, for programs that ask one text at a time.
        from concurrent.futures import ThreadPoolExecutor

        process = os.getpid()
        started = self._started
        if started is None or started[0] != process:
            # Two calls at once may both start some. Those that are kept by none end with their call.
            started = self._started = process, ThreadPoolExecutor(self.threads, thread_name_prefix="pocketrnn")
        return started[1]


def _end(futures: list[Future[Result]]) -> None:
    """Begin none of the work that has not begun, and wait for the rest."""
    from concurrent.futures import wait

    for future in futures:
        future.cancel()
    if futures:
        wait(futures)
