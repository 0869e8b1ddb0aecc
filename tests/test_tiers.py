"""Every test has one tier, and one of the tier `unit` has neither Ray nor a server, nor have the processes that it starts."""

import socket
import subprocess
import sys

import pytest
from command_line import python_environment
from made_once import made_once
from support.closed.sitecustomize import PROGRAMS
from tiers import TIERS, mark, processes, tiers_of

LISTEN = "import socket; socket.create_server(('127.0.0.1', 0))"
RAY = "import ray; ray.init(num_cpus=1, include_dashboard=False)"  # not here, where a test before may have left it running


def test_every_test_has_one_tier(request):
    for item in request.session.items:
        assert len({mark.name for mark in item.iter_markers()} & set(TIERS)) == 1, item.nodeid


def test_a_test_of_two_tiers_is_refused(request):
    marks = request.node.own_markers
    kept = list(marks)
    request.node.add_marker("ray")
    assert tiers_of(request.node) == {"unit", "ray"}
    with pytest.raises(pytest.UsageError, match=r"is of the tiers ray, unit; mark it with one"):
        mark([request.node])
    marks.clear()
    assert tiers_of(request.node) == {"unit"}
    marks += kept


def test_two_processes_share_folders_out_and_one_runs_a_file_that_is_named():
    assert processes(["tests"]) == processes(["tests/study", "tests/cli"]) == 2
    assert processes(["tests/test_tiers.py"]) == processes(["tests/test_tiers.py::test_a_file"]) == 0


def test_what_is_made_once_is_made_by_the_first_who_asks(tmp_path_factory):
    made = []

    def make(folder):
        made.append(folder)
        (folder / "file").touch()

    folders = [made_once(tmp_path_factory, "of-this-test", make) for _ in range(2)]
    assert made == folders[:1] and folders[0] == folders[1] and (folders[0] / "file").exists()


def test_what_could_not_be_made_is_tried_again(tmp_path_factory):
    def fail(folder):
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        made_once(tmp_path_factory, "not-at-once", fail)
    assert made_once(tmp_path_factory, "not-at-once", lambda folder: None).is_dir()


def test_a_unit_test_listens_on_no_port_but_on_unix_sockets(tmp_path):
    with socket.socket() as listening, pytest.raises(RuntimeError, match="a test of the tier unit listens at"):
        listening.bind(("127.0.0.1", 0))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_a_unit_test_starts_no_server(program, tmp_path):
    (tmp_path / program).symlink_to("/bin/true")
    with pytest.raises(RuntimeError, match=f"a test of the tier unit starts .*{program}"):
        subprocess.Popen([str(tmp_path / program)])


@pytest.mark.parametrize(("code", "refused"), [(LISTEN, "listens at"), (RAY, "")], ids=["a port", "ray"])
def test_a_process_of_a_unit_test_is_held_to_it(code, refused):
    done = subprocess.run([sys.executable, "-c", code], env=python_environment(), capture_output=True, text=True)
    assert done.returncode == 1 and f"RuntimeError: a test of the tier unit {refused}" in done.stderr


@pytest.mark.server
def test_another_tier_may(tmp_path):
    subprocess.run([sys.executable, "-c", LISTEN], env=python_environment(), check=True)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
