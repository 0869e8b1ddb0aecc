"""Every command that takes --tracking-uri, given a store that MLflow 2.22 made."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cli_texts import ABLATION, SWEEP

RECORDED = Path(__file__).parents[1] / "tracking" / "recorded_stores" / "mlflow-2.22.0.sql"


@pytest.fixture
def old_store(tmp_path):
    """As the default store of the folder that commands run in."""
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.executescript(RECORDED.read_text())
    return tmp_path / "mlflow.db"


@pytest.mark.parametrize(
    "command",
    [
        ("ablate", "study.yaml"),
        ("sweep", "study.yaml"),
        ("resume", "small"),
        ("sync", "small"),
        ("ui",),
        ("ui", "small"),
        ("ui", "--tracking-uri", "sqlite:///mlflow.db"),
        ("ui", "--server", "server.yaml"),
    ],
    ids=" ".join,
)
def test_no_command_converts_it_unasked(
    command, fsg, old_store, half_done, files, nothing_starts, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "the-admins-password-1")
    files(SWEEP if command[0] == "sweep" else ABLATION, ("name: s", "name: new-s"))
    (tmp_path / "server.yaml").write_text(f"{{store: 'sqlite:///{old_store}', artifacts: {tmp_path}, port: 6}}")
    before, there = old_store.read_bytes(), sorted(path.name for path in (tmp_path / "studies").iterdir())
    said = fsg(*command)
    assert (said.code, said.out) == (2, "")
    assert "add --upgrade-store (a backup is made beside it first)" in said.err
    assert old_store.read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "studies").iterdir()) == there
    assert list(tmp_path.glob("mlflow*")) == [old_store]


def test_a_command_converts_it_when_told_to_and_says_where_the_backup_is(fsg, old_store, half_done):
    before = old_store.read_bytes()
    said = fsg("sync", "small", "--upgrade-store")
    assert said.code == 0, said.err
    kept = old_store.with_name("mlflow.db.before-upgrade-1")
    assert f"Its backup is {kept}." in said.err
    with closing(sqlite3.connect(kept)) as backup, closing(sqlite3.connect(":memory:")) as original:
        original.deserialize(before)
        assert list(backup.iterdump()) == list(original.iterdump())
    assert fsg("sync", "small", "--upgrade-store").err == ""
