"""The command line in a folder of its own."""

import shutil

import pytest
from cli_texts import ABLATION
from command_line import run_main


@pytest.fixture
def fsg(tmp_path, monkeypatch):
    """Runs ``fsg ...`` in tmp_path, in this process."""
    return lambda *arguments: run_main(monkeypatch, tmp_path, *arguments)


@pytest.fixture
def with_store(tmp_path, empty_store):
    """A default MLflow store in tmp_path."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")


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

    monkeypatch.setattr("fsg.driver.trials.run_study", started)
    monkeypatch.setattr("fsg.tracking.FollowingExporter", started)
    monkeypatch.setattr("fsg.train.Trainer", started)


@pytest.fixture
def half_done(tmp_path):
    """A study, "small", whose first trial has trained for an epoch."""
    from fsg.record.folder import StudyFolder
    from fsg.record.ledger import Ledger
    from fsg.record.ledger_header import begin
    from fsg.study.spec import load_study

    (tmp_path / "study.yaml").write_text(ABLATION)
    spec = load_study(tmp_path / "study.yaml")
    folder = StudyFolder.create_or_open(spec, tmp_path / "studies")
    ledger = Ledger(folder.ledger_path)
    begin(ledger, spec)
    first, *_ = planned = spec.plan.trials()
    ledger.append_all(("planned", trial.event()) for trial in planned)
    ledger.append("started", key=first.key, attempt=1, node="here", device="cpu")
    ledger.append("epoch", key=first.key, metrics={"epoch": 1, "val_accuracy": 50.0})
    ledger.close()
    return folder
