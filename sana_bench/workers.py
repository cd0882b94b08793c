"""Worker threads: how many, and results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T, R = TypeVar("T"), TypeVar("R")


def num_processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ahead(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], most: int) -> Iterator[R]:
    """Results in the order of the items, with at most so many begun and not taken. What is not begun when this ends is never begun."""
    begun: deque[Future[R]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) == most:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()


class Background:
    """One thing at a time, beside the caller, and all of it done when the `with` block ends. What fails is raised by the next call, or in the end."""

    def __init__(self) -> None:
        self._pool, self._last = ThreadPoolExecutor(1, "background"), None

    def __enter__(self) -> Background:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._pool.shutdown()
        if kind is None:
            self.wait()

    def do(self, work: Callable[[], object]) -> None:
        """Begin, once what was begun before is done."""
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Until what was begun is done."""
        last, self._last = self._last, None
        if last:
            last.result()
