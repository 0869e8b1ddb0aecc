"""Threads that share the chunks of a kernel, as many as torch uses."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
_pools_lock = threading.Lock()


def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads kept between calls; a forked process has none of its parent's, so it makes its own."""
    with _pools_lock:
        key = (os.getpid(), workers)
        if key not in _pools:
            _pools[key] = ThreadPoolExecutor(workers, thread_name_prefix="slow_scan")
        return _pools[key]


def share(chunks: int, work: Callable[[Iterator[int]], None]) -> None:
    """Run ``work`` on as many threads as torch uses; each takes the next chunk from the iterator it is given."""
    threads = min(torch.get_num_threads(), chunks)
    queue = iter(range(chunks))  # next() on it is one step under the interpreter lock

    def flushed() -> None:
        # What a state forgets shrinks below the normal numbers, where arithmetic takes a hundred times as long.
        before = float(torch.tensor(1e-310, dtype=torch.float64) * 1.0) == 0.0
        torch.set_flush_denormal(True)
        try:
            work(queue)
        finally:
            torch.set_flush_denormal(before)

    others = [_pool(threads - 1).submit(flushed) for _ in range(threads - 1)]
    flushed()
    for other in others:
        other.result()
