"""How many processor cores a job may use, which on a shared machine are fewer than the machine has.

Batch systems and containers limit a process by its affinity (taskset, Slurm, cpusets) or by a quota of processor time of its
control group (``docker --cpus``, Kubernetes, systemd). Proof: ``tests/test_cores.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Whole cores that this process may keep busy, at least 1. ``root``: where ``proc`` and ``sys`` are."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on Linux
        allowed = os.cpu_count() or 1
    return max(1, int(min([allowed, *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """The quota in cores of each control group that this process is in, from its own up to the root."""
    groups = ""
    with suppress(OSError):
        groups = (root / "proc/self/cgroup").read_text()
    for line in groups.splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")  # of version 1 each controller has a tree
        own = top / name.strip("/")
        for group in (own, *own.parents):
            with suppress(OSError, ValueError, ZeroDivisionError):  # no quota is "max" in version 2, -1 in version 1
                if controllers:
                    quota = (group / "cpu.cfs_quota_us").read_text()
                    period = (group / "cpu.cfs_period_us").read_text()
                else:
                    quota, period = (group / "cpu.max").read_text().split()
                if float(quota) > 0:
                    yield float(quota) / float(period)
            if group == top:
                break
