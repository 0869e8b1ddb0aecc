"""The cores that a job may use: a real affinity, and control groups written down as Linux shows them."""

import os
import subprocess
import sys

import pytest

from fsg.cores import usable_cores

HAS = len(os.sched_getaffinity(0))


def machine(root, groups, **quotas):
    """A tree with /proc/self/cgroup and the files of control groups, each by its path with ``__`` for ``/``."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in quotas.items():
        file = root / "sys/fs/cgroup" / name.replace("__", "/").replace("cpu_", "cpu.")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_an_affinity_limits_what_a_process_may_use():
    one = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); from fsg.cores import usable_cores; "
    done = subprocess.run(
        [sys.executable, "-c", one + "print(usable_cores())"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("groups", "quotas", "cores"),
    [
        ("0::/\n", {"cpu_max": "max 100000\n"}, HAS),
        ("0::/\n", {"cpu_max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu_max": "50000 100000\n"}, 1),  # never none
        ("0::/\n", {"cpu_max": "190000 100000\n"}, 1),  # whole cores
        ("0::/a/b\n", {"a__b__cpu_max": "max 100000\n", "a__cpu_max": "100000 100000\n"}, 1),  # a parent's counts
        ("0::/a\n", {"a__cpu_max": "max 100000\n", "b__cpu_max": "100000 100000\n"}, HAS),  # a neighbour's does not
        ("4:cpu,cpuacct:/j\n3:memory:/j\n", {"cpu__j__cpu_cfs_quota_us": "-1\n", "cpu__j__cpu_cfs_period_us": "100000\n"}, HAS),
        ("4:cpu,cpuacct:/j\n", {"cpu__j__cpu_cfs_quota_us": "100000\n", "cpu__j__cpu_cfs_period_us": "100000\n"}, 1),
        ("4:cpu:/docker/ab\n", {"cpu__cpu_cfs_quota_us": "100000\n", "cpu__cpu_cfs_period_us": "100000\n"}, 1),  # a container
        ("4:memory:/j\n", {"cpu__j__cpu_cfs_quota_us": "100000\n", "cpu__j__cpu_cfs_period_us": "100000\n"}, HAS),
        ("0::/\n", {"cpu_max": "what\n"}, HAS),
        ("", {}, HAS),
    ],
)  # fmt: skip
@pytest.mark.skipif(HAS < 2, reason="needs two cores, to see one of them taken away")
def test_a_quota_of_a_control_group_limits_it_too(tmp_path, groups, quotas, cores):
    assert usable_cores(machine(tmp_path, groups, **quotas)) == cores


def test_where_nothing_is_said_the_affinity_decides(tmp_path):
    assert usable_cores(tmp_path) == HAS
