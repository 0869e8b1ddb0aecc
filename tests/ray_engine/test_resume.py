"""A study that is stopped goes on where it was, and ends as if it had never been stopped."""

import shutil
import signal
from collections import Counter

import pytest
import torch
from tiny_studies import ABLATION, ONE_SEED, LocalStudy, Study, outcome, start_driver

from fsg.errors import StudyError

EPOCHS = ABLATION["base"]["epochs"]


def outcomes(study):
    return {place: outcome(record) for place, record in study.trials.items()}


def of_one_seed(study):
    return {place: what for place, what in outcomes(study).items() if place[1] == 0}


@pytest.fixture
def copy_of_twin(finished, tmp_path):
    """The uninterrupted study with its checkpoints, to cut its ledger anywhere."""
    shutil.copytree(finished.folder.path, tmp_path / "studies" / "small")
    return LocalStudy(tmp_path, ABLATION)


def test_trials_the_ledger_lost_run_again_to_the_same_result(copy_of_twin, finished):
    """The driver died after the first trial: its end is on disk, of the others nothing is, not even their checkpoints."""
    events = copy_of_twin.events
    first_end = next(n for n, e in enumerate(events) if e["event"] == "finished")
    ended = events[first_end]["key"]
    copy_of_twin.keep_events(first_end + 1)
    for checkpoints in copy_of_twin.folder.checkpoints.iterdir():
        if checkpoints.name != ended:
            shutil.rmtree(checkpoints)
    assert copy_of_twin.run()
    assert outcomes(copy_of_twin) == outcomes(finished)
    assert len(copy_of_twin.of(ended, "started")) == 1, "a finished trial was run again"
    assert len(copy_of_twin.of(ended, "epoch")) == EPOCHS


def test_a_killed_driver_loses_no_finished_trial_and_resumes_to_the_same_bits(tmp_path, finished, shared_ray):
    """SIGKILL while a trial has finished and another is in its third epoch or later."""
    driver = start_driver(tmp_path, "one by one")
    ended, epochs = [], Counter()
    for line in driver.stdout:
        event, _, key = line.strip().partition(" ")  # Ray may say something, too
        ended += [key] * (event == "finished")
        epochs[key] += event == "checkpoint"
        if ended and any(count >= 3 for other, count in epochs.items() if other not in ended):
            driver.send_signal(signal.SIGKILL)
            break
    driver.wait()
    study = Study(tmp_path, ABLATION | ONE_SEED)
    before = study.folder.state().trials
    assert {"finished", "running"} <= {t.status for t in before.values()}, "the driver ended before it was killed"

    assert study.run()
    assert outcomes(study) == of_one_seed(finished)
    for key, record in before.items():
        starts, total = len(study.of(key, "started")), len(study.of(key, "epoch"))
        if record.status == "finished":
            assert (starts, total) == (1, EPOCHS), "a finished trial was run again"
        elif record.status == "running":
            assert starts == 2
            assert total <= EPOCHS + 1, f"trained anew from the start, not from epoch {len(record.epochs)}"


@pytest.mark.long  # cli/test_interrupt.py, and to the same bits after a kill: above
def test_ctrl_c_leaves_a_study_to_go_on_with(study, tmp_path):
    """One trial at a time has both cores, and threads decide bits: so has what it is held against."""
    (tmp_path / "whole").mkdir()
    whole = LocalStudy(tmp_path / "whole", ABLATION | ONE_SEED)
    assert whole.run(cpus_per_trial=2)
    interrupted = study(ABLATION | ONE_SEED)
    before = signal.getsignal(signal.SIGINT)

    def interrupt(event):
        if event["event"] == "finished":
            signal.raise_signal(signal.SIGINT)

    assert not interrupted.run(interrupt, cpus_per_trial=2)
    assert signal.getsignal(signal.SIGINT) is before, "Ray kept Ctrl-C to itself"
    statuses = [t.status for t in interrupted.trials.values()]
    assert statuses.count("finished") == 1 and "failed" not in statuses
    assert interrupted.run(cpus_per_trial=2)
    assert outcomes(interrupted) == outcomes(whole)


def test_a_ledger_that_cannot_be_written_stops_the_run_with_its_own_message(study, monkeypatch):
    broken = study(ABLATION)

    def refuse(event):
        if event["event"] == "epoch":
            raise StudyError("ledger.jsonl: cannot be written (No space left on device).")

    with pytest.raises(StudyError, match=r"^ledger.jsonl: cannot be written \(No space left on device\)\.$"):
        broken.run(refuse, cpus_per_trial=2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without the GPU that the study names")
def test_a_user_error_in_a_worker_stops_the_study_at_once_and_leaves_every_trial_to_be_run(study):
    """The driver cannot know what a worker's machine lacks: here the GPU."""
    without = study(ABLATION | {"base": ABLATION["base"] | {"device": "cuda"}})
    with pytest.raises(StudyError, match=r"^trial \w+: .*cuda(.|\n)*mend this, then go on with fsg resume"):
        without.run(cpus_per_trial=2)
    assert len([event for event in without.events if event["event"] == "started"]) == 1
    assert {record.status for record in without.trials.values()} == {"planned"}
