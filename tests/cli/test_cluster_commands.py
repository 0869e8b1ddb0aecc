"""What the commands for clusters and teams refuse before they start anything. The real ones are in ``tests/clusters``."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cli_texts import ABLATION, SWEEP
from small_disks import small_disk

from fsg.cli.cluster_doctor import server_problem


def test_a_team_server_says_itself_which_store_and_port(fsg, tmp_path):
    (tmp_path / "server.yaml").write_text("store: sqlite:////tmp/m.db\nartifacts: /tmp/a\n")
    said = fsg("ui", "--server", "server.yaml", "--port", "5001")
    assert said.code == 2
    assert "leave STUDY, --tracking-uri and --port out" in said.err


def test_a_wrong_team_server_is_refused_with_its_line(fsg, tmp_path):
    (tmp_path / "server.yaml").write_text("store: sqlite:////tmp/m.db\nartefacts: /tmp/a\n")
    said = fsg("ui", "--server", "server.yaml")
    assert said.code == 2
    assert 'server.yaml:2: unknown key "artefacts". Did you mean "artifacts"?' in said.err


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:6379"])
def test_only_a_job_can_be_attached(address, fsg):
    said = fsg("attach", "study", "--address", address)
    assert said.code == 2
    assert "expected job:http://HOST:8265 or ray://HOST" in said.err


def test_a_distant_study_is_resumed_by_its_file(fsg):
    said = fsg("resume", "study", "--address", "ray://head")
    assert "fsg ablate FILE --address ray://head goes on where it was stopped" in said.err


@pytest.mark.parametrize(
    ("command", "study", "options", "message"),
    [
        ("ablate", ABLATION.replace("epochs: 2", "epochs: 2\n  device: cuda"), [], 'arm "learnt" says device: cuda'),
        ("sweep", SWEEP, ["--gpus-per-trial", "1"], "--gpus-per-trial is 1, and there are 0 GPUs"),
    ],
)
def test_a_study_that_asks_for_a_gpu_is_refused_where_there_is_none(
    command, study, options, message, fsg, tmp_path, nothing_starts
):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    (tmp_path / "study.yaml").write_text(study)
    said = fsg(command, "study.yaml", *options)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"fsg: {message}") and len(said.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"], "something was written"


@pytest.fixture
def full_disk(tmp_path):
    """A disk of a mebibyte with a quarter of it taken."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, 2**20):
        (disk / "taken").write_bytes(b"x" * 2**18)
        yield disk


def test_a_study_is_refused_where_its_storage_is_full(full_disk, fsg, tmp_path, nothing_starts):
    (tmp_path / "study.yaml").write_text(ABLATION)
    said = fsg("ablate", "study.yaml", "--storage", full_disk / "studies")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"fsg: {full_disk} cannot be written (No space left on device). Make space")
    assert len(said.err.splitlines()) == 1
    assert [path.name for path in full_disk.iterdir()] == ["taken"]


@pytest.fixture
def server():
    """Answers /health with the code it is given; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        code = 200

        def do_GET(self):
            self.send_response(self.code if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield Handler, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(
    ("code", "said"), [(200, None), (401, None), (403, "Name that host in its allowed_hosts"), (502, "answers 502")]
)
def test_a_tracking_server_is_told_by_what_it_answers(code, said, server):
    handler, address = server
    handler.code = code
    problem = server_problem(f"{address}/")
    assert (problem is None) if said is None else (said in problem)


def test_a_tracking_server_that_is_away_is_said():
    assert "cannot be reached from here" in server_problem("http://127.0.0.1:9")
