"""Divide work among threads, and return the results in order."""

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
    """The threads of one classifier, among which its calls divide their work.

    The threads start at the first call with several items, and end with this object. Several calls may run at once and
    then share the threads. A forked process starts its own threads.

    Args:
        threads: the number of threads, 1 or more. With 1, the caller's thread does the work.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._started: tuple[int, ThreadPoolExecutor] | None = None

    def map_in_order(
        self,
        work: Callable[[Given], Result],
        items: Iterable[Given],
        stop_running_work: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[Given, Result]]:
        """Call `work` for each item, in several threads, and yield every item with its result, in the order of the
        items.

        Only a few items are read ahead, as many as there are threads. If reading an item raises an error, the results
        of the items before it are yielded first. If the caller stops early, the function waits for running work.

        Args:
            work: called with one item; it must release the interpreter lock to gain from several threads.
            stop_running_work: called if a signal ends the iteration, so that running work ends soon.
        """
        if self.threads == 1 or (isinstance(items, list) and len(items) <= 1):
            for item in items:
                yield item, work(item)
            return
        pool = self._start_pool_once()
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
            stop_running_work()
            raise
        finally:
            _cancel_and_wait([future for _, future in waiting])
        if failure is not None:
            raise failure

    def _start_pool_once(self) -> ThreadPoolExecutor:
        """Return the thread pool of this process. Start one if there is none, as in a process that was just forked."""
        # This module is imported here and not at the top: it takes 1 % of the start time, which programs for one text
        # at a time need not spend.
        from concurrent.futures import ThreadPoolExecutor

        process = os.getpid()
        started = self._started
        if started is None or started[0] != process:
            # Two calls at the same time may both start a pool. The pool that is not kept ends with its call.
            started = self._started = process, ThreadPoolExecutor(self.threads, thread_name_prefix="pocketrnn")
        return started[1]


def _cancel_and_wait(futures: list[Future[Result]]) -> None:
    """Cancel the work that has not started, and wait for the work that runs."""
    from concurrent.futures import wait

    for future in futures:
        future.cancel()
    if futures:
        wait(futures)
