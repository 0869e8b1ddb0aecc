"""Every file of a study that has run, damaged in every way: unharmed, or set aside and named, or refused in one message.

Never a traceback, and never a table with another number in it.
"""

import shutil

import pytest
from damages import DAMAGES
from tiny_studies import ABLATION, LocalStudy, outcome

from fsg.errors import FsgError
from fsg.record.driver_lock import StudyLock, ledger_bytes
from fsg.record.folder import StudyFolder
from fsg.record.ledger import whole_bytes
from fsg.record.repair import repair
from fsg.record.status import set_aside, status_of
from fsg.report.study_report import make_report
from fsg.train.checkpoint import CheckpointStore, load_checkpoint

# What a study consists of; Ray's snapshots and the reports are never read.
FILES = ("spec.yaml", "ledger.jsonl", "header.json", "driver.json", "last.pt", "best.pt")


@pytest.fixture(scope="module")
def whole(finished, tmp_path_factory):
    """The uninterrupted study as the command line leaves it: (its folder, its table)."""
    place = tmp_path_factory.mktemp("whole") / "small"
    shutil.copytree(finished.folder.path, place)
    folder = StudyFolder(place)
    report = make_report(folder.spec(), folder.state())
    report.write(folder.reports, drawings=False)
    with StudyLock(place) as lock:
        lock.notes = lambda: {"ledger_bytes": whole_bytes(folder.ledger_path)}
    return folder, report.rows


@pytest.fixture
def folder(whole, tmp_path):
    """A copy to damage, where ``fsg ablate`` finds it again."""
    shutil.copytree(whole[0].path, tmp_path / "studies" / "small")
    return StudyFolder(tmp_path / "studies" / "small")


def damage(folder, name, how):
    """Damage the first file of that name; its path and its bytes as they are now."""
    path = min(folder.path.rglob(name))
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    return path, path.read_bytes()


def area_by_seed(study, arm):
    comparison = make_report(study.spec, study.folder.state()).comparison
    return next(row.areas for row in comparison.rows if row.arm == arm)


def table(folder):
    """What ``fsg status`` and ``fsg compare`` read."""
    assert status_of(folder)
    return make_report(folder.spec(), folder.state()).rows


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_table_is_the_same_or_refused_with_the_file_that_is_damaged(folder, whole, name, how):
    path, _ = damage(folder, name, how)
    before = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}
    try:
        assert table(folder) == whole[1]
    except FsgError as error:
        assert error.exit_code in (1, 2)
        assert str(path) in str(error) or (name == "driver.json" and str(folder.ledger_path) in str(error))
        assert name in ("spec.yaml", "ledger.jsonl", "driver.json"), "it is no part of the table"
    else:
        assert name != "ledger.jsonl" or how == "extra_bytes", "damage to the ledger was not noticed"
        assert name != "spec.yaml" or folder.spec() == whole[0].spec()
    assert {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()} == before, "reading changed the study"


@pytest.mark.parametrize("how", DAMAGES)
def test_a_resume_sets_aside_what_of_the_ledger_is_damaged_and_the_rest_counts(folder, whole, how):
    _, now = damage(folder, "ledger.jsonl", how)
    with StudyLock(folder.path) as lock:
        said = repair(folder, folder.spec(), ledger_bytes(lock.before))
        folder.ledger().append("stopped", reason="the ledger can be written")
    assert said or how == "extra_bytes"
    assert all(sentence.startswith(str(folder.ledger_path)) for sentence in said)
    state, original = folder.state(), whole[0].state()
    for key, trial in state.trials.items():
        assert trial.final in (None, original.trials[key].final)
        assert [m for m in trial.epochs if m not in original.trials[key].epochs] == []
    kept = b"".join(p.read_bytes() for p in [folder.ledger_path, *set_aside(folder)])
    assert all(line in kept for line in now.split(b"\n")), "something was deleted"


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_named(folder, how):
    for name in ("last.pt", "best.pt"):
        path, now = damage(folder, name, how)
        store = CheckpointStore(path.with_name("last.pt"), "max")
        store.load()
        ((aside, why),) = store.damaged
        assert (aside.name, aside.read_bytes()) == (f"{name}.damaged-1", now)
        assert str(path) in why
        aside.unlink()


def test_after_a_resume_every_result_is_there_again(folder, finished, tmp_path):
    """Half of the ledger is gone, and of one trial whose end went with it the checkpoint is damaged too."""
    damage(folder, "ledger.jsonl", "cut_in_half")
    damage(folder, "header.json", "empty")
    last = max(folder.checkpoints.glob("*/last.pt"))
    last.write_bytes(DAMAGES["middle_byte"](last.read_bytes()))
    with StudyLock(folder.path) as lock:
        assert repair(folder, folder.spec(), ledger_bytes(lock.before))
        study = LocalStudy(tmp_path, ABLATION)
        assert study.run()
    for place, record in finished.trials.items():
        (status, epochs, final), (_, all_epochs, original) = outcome(study.trials[place]), outcome(record)
        assert (status, final) == ("finished", original)
        assert [metrics for metrics in epochs if metrics not in all_epochs] == []
        if len(epochs) < len(all_epochs):
            assert record.seed not in area_by_seed(study, record.arm), "an area was taken under a curve with a gap"
    assert load_checkpoint(last)["epoch"] == ABLATION["base"]["epochs"]
    assert "ledger.jsonl" in {event["file"] for event in study.folder.state().damaged}
