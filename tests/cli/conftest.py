"""The command line in a folder of its own, with everything it says and the code it exits with."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from fsg.cli import main


@dataclass
class Said:
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory):
    """An empty MLflow store; copying it saves each test the making of its schema."""
    from fsg.tracking.store import open_client

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_client(f"sqlite:///{path}").search_experiments()
    return path


def run_main(monkeypatch, capsys, folder, *arguments):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["fsg", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    capsys.readouterr()
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    captured = capsys.readouterr()
    return Said(code, captured.out, captured.err)


@pytest.fixture
def fsg(tmp_path, monkeypatch, capsys):
    """Runs ``fsg ...`` in tmp_path, in this process."""
    return lambda *arguments: run_main(monkeypatch, capsys, tmp_path, *arguments)


@pytest.fixture
def with_store(tmp_path, migrated_store):
    """A default MLflow store in tmp_path."""
    shutil.copy(migrated_store, tmp_path / "mlflow.db")


@pytest.fixture
def files(tmp_path):
    """Writes a text as study.yaml, some pieces of it replaced."""

    def write(text, *changes, name="study.yaml"):
        for old, new in changes:
            assert old in text, f"{old!r} is not in the specification"
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)

    return write


@pytest.fixture
def nothing_starts(monkeypatch):
    """Fails the test if a study is begun or Ray is asked for."""

    def started(*_, **__):
        pytest.fail("something was started")

    monkeypatch.setattr("fsg.tune.runner.run_study", started)
    monkeypatch.setattr("fsg.tracking.FollowingExporter", started)
    monkeypatch.setattr("fsg.train.Trainer", started)


def python_environment():
    """For a process of its own that finds the package where this process found it."""
    source = str(Path(sys.modules["fsg"].__file__).parents[1])
    return os.environ | {"PYTHONPATH": source, "COLUMNS": "160"}
