"""What the commands for clusters and teams refuse before they start anything. The real ones are in ``tests/clusters``."""

import pytest


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
