"""``fsg rm`` and ``fsg archive`` as they are typed."""

import io
import tarfile

import pytest
from command_line import run_main

from fsg.record.driver_lock import StudyLock


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def answering(monkeypatch):
    """Types this answer at a terminal."""
    return lambda text: monkeypatch.setattr("sys.stdin", Terminal(text))


def test_a_study_is_removed_once_that_is_confirmed(fsg, half_done, answering):
    answering("n\n")
    said = fsg("rm", "small")
    assert (said.code, said.err) == (2, "fsg: nothing was removed.\n")
    assert "studies/small: ablation, 0 of 4 trials done, " in said.out and half_done.path.exists()
    answering("y\n")
    said = fsg("rm", "small")
    assert said.code == 0 and "Removed: studies/small. What MLflow shows of it stays there." in said.out
    assert not half_done.path.exists()


def test_a_script_must_say_yes(fsg, half_done, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    said = fsg("rm", "small")
    assert said.code == 2 and "With --yes it is done." in said.err and half_done.path.exists()
    assert fsg("rm", "small", "--yes").code == 0 and not half_done.path.exists()


def test_of_several_none_is_removed_where_one_is_unknown(fsg, half_done):
    said = fsg("rm", "small", "smal", "--yes")
    assert said.code == 2 and 'Did you mean "small"?' in said.err and half_done.path.exists()


def test_a_study_that_is_driven_is_refused_by_both(fsg, half_done, tmp_path):
    with StudyLock(half_done.path):
        for words in (("rm", "small", "--yes"), ("archive", "small")):
            said = fsg(*words)
            assert said.code == 2 and "is being driven" in said.err
    assert half_done.path.exists() and not (tmp_path / "small.tar.gz").exists()


def test_an_archive_comes_back_by_the_line_that_is_said(fsg, half_done, tmp_path, monkeypatch):
    said = fsg("archive", "small")
    assert said.code == 0 and "To have it back: tar xzf small.tar.gz -C studies, then fsg compare small" in said.out
    before = fsg("status", "small").out.splitlines()[0]
    assert fsg("rm", "small", "--yes").code == 0
    with tarfile.open(tmp_path / "small.tar.gz") as tar:
        tar.extractall(tmp_path / "studies", filter="data")
    assert run_main(monkeypatch, tmp_path, "status", "small").out.splitlines()[0] == before
