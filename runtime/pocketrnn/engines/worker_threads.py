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

    The first call with several items starts them, and they end with this object.

    To start two new threads for each call would take 0.3 ms, as long as 60 texts of a small LSTM take on two threads.
    Several calls may run at once and then share the threads. A forked process starts its own.

    Args:
        threads: the number of threads, from 1. With one, the caller's thread does the work.
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
        """Yield every item with the result of `work`, in the order of the items.

        Items are read lazily, only as many ahead as there are threads. If the iteration ends early, running work is
        waited for. An error in reading the items is raised after the results of the items read before.

        Args:
            work: called with one item; it must release the interpreter lock to gain from several threads.
            items: the items.
            stop_running_work: called when a signal ends the iteration, since the running work is then waited for.
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
        """Return the thread pool of this process; start it if there is none, as in a process that was just forked."""
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
