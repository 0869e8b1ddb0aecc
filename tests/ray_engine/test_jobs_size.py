"""What is sent to a cluster as a job is counted first. Sent for real: tests/clusters/test_real_cluster.py."""

import itertools

import pytest

from fsg.errors import BackendUnavailable
from fsg.ray_engine.jobs import LARGEST, NOT_SHIPPED, Jobs, shipped, size_problem

MIB = 2**20


@pytest.fixture
def tree(tmp_path):
    """A project of 3 MiB, with data, checkpoints and an environment that stay at home, and a folder of 101 MiB."""
    for name, size in {
        "fsg/data/cifar.py": 3 * MIB, "data/images.bin": 500 * MIB, "studies/a/last.pt": 50 * MIB, ".venv/lib.so": 900 * MIB,
        "pretrained/net.bin": 101 * MIB, "notes/big.bin": MIB,
    }.items():  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size)  # takes no room
    return tmp_path


def test_a_tree_that_is_too_large_is_named_with_its_largest_folders_and_what_to_do(tree):
    problem = size_problem(shipped(tree, NOT_SHIPPED))
    assert problem.startswith(
        "has 110 MB to send, and a cluster takes 105 MB; most of it is pretrained (106 MB), fsg (3.15 MB)"
    )
    assert problem.endswith("--exclude /pretrained, or a line /pretrained in a file .rayignore.")


def test_what_is_left_out_is_not_counted(tree):
    excluded = shipped(tree, [*NOT_SHIPPED, "/pretrained"])
    assert excluded == {"fsg": 3 * MIB, "notes": MIB}
    assert size_problem(excluded) is None
    (tree / ".rayignore").write_text("/pretrained\n")
    (tree / ".gitignore").write_text("notes/\n")
    assert set(shipped(tree, NOT_SHIPPED)) == {"fsg", ".rayignore", ".gitignore"}


def test_the_limit_is_that_of_rays_dashboard():
    from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE

    assert LARGEST == DASHBOARD_CLIENT_MAX_SIZE
    assert size_problem({"a": LARGEST - 1}) is None and size_problem({"a": LARGEST}) is not None


def test_a_head_on_which_another_ray_has_the_jobs_port_is_told_within_a_minute(tmp_path, monkeypatch):
    """The client, which would speak to the head, is a stand-in that says what Ray's says there."""

    class Client:
        def list_jobs(self):
            return []

        def submit_job(self, **options):
            raise RuntimeError("Request failed with status code 500: No available agent to submit job.")

    now = itertools.count(step=10)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    sender = Jobs.__new__(Jobs)
    sender.server, sender._client = "http://127.0.0.1:8265", Client()
    with pytest.raises(BackendUnavailable, match=r"starts jobs\. Another Ray .* may have port 52365") as said:
        sender.submit("study", ["ablate"], tmp_path)
    assert said.value.exit_code == 2 and next(now) < 80
