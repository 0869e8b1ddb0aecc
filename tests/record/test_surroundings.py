"""Proof of fsg/record/surroundings.py: a study that is moved with what is around it finds it again."""

import pytest

from fsg.record.surroundings import FILE, Surroundings, remember_surroundings, surroundings_of


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study in the tree ``a``, whose working folder it is."""
    folder = tmp_path / "a" / "studies" / "small"
    folder.mkdir(parents=True)
    (tmp_path / "a" / "mlflow.db").write_bytes(b"")
    monkeypatch.chdir(tmp_path / "a")
    return folder


def test_what_was_remembered_is_found_from_any_folder(study, tmp_path, monkeypatch):
    remember_surroundings(study, "sqlite:///mlflow.db")
    monkeypatch.chdir(tmp_path)
    assert surroundings_of(study) == Surroundings(tmp_path / "a", f"sqlite:///{tmp_path}/a/mlflow.db")


def test_a_tree_that_is_moved_whole_finds_itself(study, tmp_path, monkeypatch):
    remember_surroundings(study, f"sqlite:///{tmp_path}/a/mlflow.db")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    moved = tmp_path / "b" / "studies" / "small"
    assert surroundings_of(moved) == Surroundings(tmp_path / "b", f"sqlite:///{tmp_path}/b/mlflow.db")
    assert str(tmp_path) not in (moved / FILE).read_text(), "a path of this machine is in the study"


def test_what_is_not_there_is_not_told(study, tmp_path):
    assert surroundings_of(study) == Surroundings()
    remember_surroundings(study, "sqlite:///mlflow.db")
    (tmp_path / "a" / "mlflow.db").unlink()
    assert surroundings_of(study).tracking_uri is None
    (study / FILE).write_text("nonsense")
    assert surroundings_of(study) == Surroundings()


def test_the_home_folder_is_meant_and_a_disk_that_refuses_is_no_matter(study, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "a"))
    remember_surroundings(study, "sqlite:///~/mlflow.db")
    assert surroundings_of(study).tracking_uri == f"sqlite:///{tmp_path}/a/mlflow.db"
    (study / FILE).unlink()
    (study / FILE).mkdir()
    remember_surroundings(study, "sqlite:///mlflow.db")
    assert surroundings_of(study) == Surroundings()


def test_a_server_is_remembered_and_a_password_never(study):
    remember_surroundings(study, "http://127.0.0.1:5000")
    assert surroundings_of(study).tracking_uri == "http://127.0.0.1:5000"
    remember_surroundings(study, "postgresql://me:secret@db/fsg")
    assert surroundings_of(study).tracking_uri is None and "secret" not in (study / FILE).read_text()
