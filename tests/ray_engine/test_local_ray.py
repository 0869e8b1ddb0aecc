"""Ray on this machine: one real start in an unkind environment, and what is said where it does not start."""

import errno
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from fsg.cores import usable_cores
from fsg.errors import BackendUnavailable
from fsg.ray_engine import local_ray
from fsg.ray_engine.cluster import meant, reach

LONGEST = local_ray.SOCKET_BYTES - len(local_ray._SOCKETS)
START = """
from fsg.ray_engine.cluster import joined
with joined(None):
    import ray
    print(ray.get(ray.remote(num_cpus=1)(lambda: "works").remote()))
    print(ray.get_runtime_context().gcs_address, ray._private.worker.global_worker.node.temp_dir)
"""


@pytest.mark.ray
@pytest.mark.parametrize(
    "before",
    ["", "import ray, os; os.environ['RAY_AUTH_MODE'] = 'token'\n"],
    ids=["", "ray was imported before and a cluster joined"],
)
def test_a_local_ray_starts_whatever_ray_address_and_tmpdir_say_and_the_user_s_token(tmp_path, before):
    """Ray reads whether there is a token when it is imported: a Ray that asks for one would refuse such a program."""
    long = tmp_path / ("x" * 80)
    long.mkdir()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("f" * 64)
    environment = os.environ | {"RAY_ADDRESS": "http://127.0.0.1:1", "TMPDIR": str(long), "HOME": str(tmp_path)}
    environment.pop("RAY_AUTH_MODE", None)
    done = subprocess.run([sys.executable, "-c", before + START], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()[-2:]
    assert first == "works" and not second.startswith("127.0.0.1:1 ")
    folder = Path(second.split()[1])
    assert folder.parent == Path("/tmp") and folder.name.startswith("fsg-ray-") and not folder.exists()


SIGNALLED = """
import os, signal
import ray
from fsg.ray_engine.local_ray import local_ray
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append("terminate"))
shutdown, over = ray.shutdown, []
def ends(*a, **k):
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    shutdown(*a, **k)
    over.append(True)
ray.shutdown = ends
try:
    with local_ray():
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == ["terminate"]
except KeyboardInterrupt:
    assert over, "the end of Ray was interrupted"
    ray.shutdown = shutdown
    print("heard afterwards")
"""


@pytest.mark.ray
def test_sigterm_is_the_caller_s_beside_a_local_ray_and_ctrl_c_waits_until_it_has_ended():
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("heard afterwards", 0), done.stderr


def test_a_short_folder_is_used_only_where_ray_s_own_is_too_long(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/" + "y" * (LONGEST - 1))
    assert local_ray.short_folder() is None
    monkeypatch.setenv("RAY_TMPDIR", "/" + "y" * LONGEST)
    found = local_ray.short_folder()
    assert found is not None
    Path(found).rmdir()


def test_the_longest_name_that_is_let_through_is_one_that_linux_takes(tmp_path):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        name = folder + "/" + "s" * (LONGEST + len(local_ray._SOCKETS) - len(folder) - 1)
        assert len(name) == local_ray.SOCKET_BYTES
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(name)
        with socket.socket(socket.AF_UNIX) as other, pytest.raises(OSError, match="too long"):
            other.bind(name + "s")


@pytest.fixture
def starts(monkeypatch):
    """Ray that ends as it is told, start by start, and never really runs: a slow machine cannot be had at will."""
    import ray

    ends, said = [], []

    def init(**options):
        assert options["num_cpus"] == usable_cores()
        end = ends.pop(0)
        if end is not None:
            raise end

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(local_ray, "_say", said.append)
    return SimpleNamespace(ends=ends, said=said)


TIMED_OUT = Exception("The current node timed out during startup. This could happen because ...\nmore")


def test_a_start_that_took_too_long_is_made_once_more_and_says_so(starts):
    starts.ends += [TIMED_OUT, None]
    local_ray._start(None)
    (sentence,) = starts.said
    assert sentence.startswith("Ray did not start in time (") and sentence.endswith("); trying once more.")


def test_a_second_that_took_too_long_is_one_message_with_what_ray_said(starts):
    starts.ends += [TIMED_OUT, TIMED_OUT]
    with pytest.raises(BackendUnavailable) as refused:
        local_ray._start(None)
    assert str(refused.value).endswith(
        "(Ray says: The current node timed out during startup. This could happen because ...)"
    )
    assert "Run the same command again" in str(refused.value) and len(starts.said) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EMFILE, "Too many open files"), r"too many files are open\. Raise the limit: ulimit -n"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), r"no further process may be started"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/nowhere/ray"),
            r"/nowhere/ray cannot be used \(Permission",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), r"there is no room in /"),
    ],
)
def test_what_does_not_pass_by_itself_is_said_at_once_by_its_cause(starts, error, message):
    starts.ends.append(error)
    with pytest.raises(BackendUnavailable, match=f"Ray did not start on this machine: {message}"):
        local_ray._start(None)
    assert not starts.said


def test_a_machine_without_memory_or_room_is_said_to_be(monkeypatch):
    monkeypatch.setattr(local_ray, "MEMORY", 2**60)
    assert "of memory are free" in local_ray.cause(TIMED_OUT)
    monkeypatch.setattr(local_ray, "MEMORY", 0)
    monkeypatch.setattr(local_ray, "DISK", 2**60)
    assert "no room" in local_ray.cause(TIMED_OUT)


def test_what_a_failed_start_left_is_killed_and_nothing_else(tmp_path):
    before = set(local_ray.psutil.Process().children())
    place = tmp_path / "ray" / "core"
    place.mkdir(parents=True)
    (place / "raylet.py").write_text("import time; time.sleep(600)")
    left = subprocess.Popen([sys.executable, str(place / "raylet.py")])
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        local_ray._end_remains(before)
        assert not local_ray.psutil.pid_exists(left.pid) and other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_auto_means_the_cluster_that_ray_address_names_and_a_dead_one_is_refused_by_name(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert (meant("auto"), meant("10.0.0.1:6379")) == ("auto", "10.0.0.1:6379")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert (meant("auto"), meant("10.0.0.1:6379")) == ("127.0.0.1:1", "10.0.0.1:6379")
    with pytest.raises(
        BackendUnavailable, match=r"^--address auto \(RAY_ADDRESS is 127.0.0.1:1\): no Ray cluster answers"
    ):
        reach("auto")


@pytest.mark.parametrize(
    ("named", "job"), [("http://me:pw@h:8265", "job:http://***@h:8265"), ("ray://h:10001", "ray://h:10001")]
)
def test_a_ray_address_that_takes_jobs_is_refused_with_the_address_that_sends_one(monkeypatch, named, job):
    monkeypatch.setenv("RAY_ADDRESS", named)
    with pytest.raises(BackendUnavailable, match=r"no cluster to join") as refused:
        reach("auto")
    assert f"--address {job};" in str(refused.value) and "pw" not in str(refused.value)
