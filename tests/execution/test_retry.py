"""What is done about an attempt that did not end by itself: pure decisions."""

import errno

import pytest
import torch

from fsg.errors import BackendUnavailable, CheckpointCorrupt, ConfigError, DataError, TrialDiverged, TrialPreempted
from fsg.execution.retry import RETRIES, Limits, as_ended, cause_of, decide, read_crash


def interrupted(cause, epochs):
    return [{"cause": cause, "epoch": epoch} for epoch in epochs]


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (TrialPreempted("asked to leave"), "preempted"),
        (TrialDiverged("nan"), "diverged"),
        (DataError("cifar10 is not there"), "data"),
        (MemoryError(), "memory"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "memory"),
        (ConfigError("no"), "user"),
        (BackendUnavailable("no triton"), "user"),
        (OSError(errno.ESTALE, "Stale file handle"), "storage"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk"),
        (OSError(errno.EIO, "Input/output error"), "storage"),
        (OSError(errno.EMFILE, "Too many open files"), "storage"),
        (CheckpointCorrupt("the checkpoint of epoch 3 is lost or damaged"), "lost"),
        (OSError(errno.EROFS, "Read-only file system"), "unwritable"),
        (FileNotFoundError(errno.ENOENT, "the trial's folder is gone"), "storage"),
        (OSError(errno.ENOTDIR, "Not a directory"), "crashed"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "lost"),
        (ValueError("boom"), "crashed"),
    ],
)
def test_an_exception_has_a_cause_that_arrives_at_the_driver(error, cause):
    assert cause_of(error) == cause
    first = str(as_ended(error))
    text = f"ray.exceptions.RayTaskError(TrialEnded): ray::X.train()\n  File ...\nfsg.execution.retry.TrialEnded: {first}\n"
    found = read_crash(text)
    assert found.cause == cause and first == str(found)


MEMORY = """Failure # 1
1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.7, ID: 5e) was 22.46GB used / \
23.59GB limit (0.952312)
Top 10 memory users: PID	MEM(GB)	COMMAND
"""
DIED = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: ..."
CUT_OFF = """The actor b2284185e9d6a9fe283a5fd701000000 is unavailable: The actor is temporarily unavailable: RpcError: RPC \
error: recvmsg:Connection reset by peer rpc_code: 14. The task may or may not have been executed on the actor."""
SET_UP = """ray.exceptions.ActorDiedError: The actor died because of an error raised in its creation task, ray::X.__init__()
RuntimeError: The actor with name X failed to import on the worker.
ModuleNotFoundError: No module named 'nets'
"""
NODE = "The actor died because its node has died. Node Id: 5e\n\tthe actor's node was terminated unexpectedly"


@pytest.mark.parametrize(
    ("text", "cause", "reason"),
    [
        (MEMORY, "memory", "none was left (22.46GB of 23.59GB used), so Ray ended the worker."),
        (DIED, "lost", "its process died"),
        (NODE, "lost", "its node went away."),
        (SET_UP, "crashed", "ModuleNotFoundError: No module named 'nets'"),
        (CUT_OFF, "lost", "its node could not be reached."),
        ("Traceback ...\nValueError: boom\n", "crashed", "ValueError: boom"),
        ("", "crashed", "the worker ended without a word"),
    ],
)
def test_a_worker_that_said_nothing_is_judged_by_what_ray_saw(text, cause, reason):
    found = read_crash(text)
    assert found.cause == cause and found.reason.startswith(reason)


@pytest.mark.parametrize("cause", list(RETRIES))
def test_a_cause_is_put_up_with_as_often_as_its_limit_says(cause):
    for count in range(RETRIES[cause]):
        assert decide(cause, 3, interrupted(cause, [3] * count)) == "retry"
    beyond = "stop" if cause == "storage" else "fail"  # of a disk that stays broken the next trial would die too
    assert decide(cause, 3, interrupted(cause, [3] * RETRIES[cause])) == beyond


def test_causes_are_counted_apart():
    assert decide("hang", 0, interrupted("lost", [0] * 9)) == "retry"


def test_progress_begins_the_count_anew_but_not_for_memory():
    assert decide("lost", 9, interrupted("lost", range(9))) == "retry"
    assert decide("memory", 9, interrupted("memory", [1])) == "fail"


def test_what_comes_again_is_not_tried_again_and_a_user_error_stops_the_study():
    assert decide("diverged", 0, []) == "fail"
    assert decide("crashed", 0, []) == "fail"
    assert decide("user", 0, []) == decide("unwritable", 0, []) == "stop"


def test_a_full_disk_is_never_what_a_trial_is_given_up_for():
    assert decide("disk", 0, interrupted("disk", [0] * 99)) == "retry"


def test_a_trial_may_be_silent_for_a_multiple_of_the_median_epoch():
    limits = Limits(hang_factor=10, hang_least=5, hang_first=100)
    assert limits.silence([1.0, 2.0, 90.0], begun=True) == 20
    assert limits.silence([0.1], begun=True) == 5
    assert limits.silence([1.0], begun=False) == limits.silence([], begun=True) == 100
