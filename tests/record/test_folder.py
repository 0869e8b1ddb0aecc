"""Proof of fsg/record/folder.py: a study is found by name or path, never mixed with another, its files whole or none."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from fsg.errors import StudyError
from fsg.record.folder import (
    StudyFolder,
    best_trial,
    differences,
    find_study,
    parse_reference,
    select_trial,
    write_atomically,
)
from fsg.record.ledger import StudyState, TrialRecord
from fsg.study.spec import load_study

ACCURACY = SimpleNamespace(name="val_accuracy", mode="max")
LOSS = SimpleNamespace(name="val_loss", mode="min")


def trials(*finals, status="finished"):
    """A state with one trial for each final result, keyed aa0, aa1, ..."""
    records = [
        TrialRecord(f"aa{i}", "full", i, {"epochs": i}, status=status, final=final) for i, final in enumerate(finals)
    ]
    return StudyState(trials={record.key: record for record in records})


# Making and opening ---------------------------------------------------------------------------------------------------
def test_a_new_study_has_its_specification_and_its_folders(ablation, tmp_path):
    folder = StudyFolder.create_or_open(ablation, tmp_path / "studies")
    assert folder.path == tmp_path / "studies" / "small"
    assert sorted(part.name for part in folder.path.iterdir()) == [
        "checkpoints",
        "ray",
        "reports",
        "search",
        "spec.yaml",
    ]
    assert folder.spec() == ablation
    assert folder.state() == StudyState()


def test_the_same_study_is_opened_again_with_what_happened(ablation, tmp_path):
    folder = StudyFolder.create_or_open(ablation, tmp_path)
    folder.ledger().append("planned", key="k", arm="full", seed=0, config={})
    again = StudyFolder.create_or_open(ablation, tmp_path)
    assert list(again.state().trials) == ["k"]


def test_a_sweep_has_a_folder_too(sweep, tmp_path):
    folder = StudyFolder.create_or_open(sweep, tmp_path)
    assert folder.spec() == sweep
    assert StudyFolder.create_or_open(sweep, tmp_path) == folder


def test_opening_does_not_rewrite_the_specification(ablation, tmp_path):
    folder = StudyFolder.create_or_open(ablation, tmp_path)
    before = folder.spec_path.stat().st_mtime_ns
    StudyFolder.create_or_open(ablation, tmp_path)
    assert folder.spec_path.stat().st_mtime_ns == before


def test_a_study_that_changed_is_refused_with_what_changed(files, ablation, ablation_text, tmp_path):
    folder = StudyFolder.create_or_open(ablation, tmp_path)
    before = folder.spec_path.read_bytes()
    changed = files.load(ablation_text, ("epochs: 2", "epochs: 3"), ("[0, 1]", "[0, 2]"), ("[ste]", "[ste, ema]"))
    with pytest.raises(StudyError) as caught:
        StudyFolder.create_or_open(changed, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{folder.path}: the study changed since it began")
    for line in ("base.epochs: was 2, is 3", "seeds: was [0, 1], is [0, 2]", "baselines.ema: is new: {}"):
        assert f"\n  {line}\n" in message
    assert message.endswith(
        "Undo the change, or give the study another name, or go on with --accept-changes: trials that it no longer names "
        "are set aside, the others count. More arms or seeds can be added."
    )
    assert folder.spec_path.read_bytes() == before


def test_an_accepted_change_sets_aside_the_trials_it_no_longer_has_and_keeps_the_others(
    files, ablation, ablation_text, tmp_path
):
    folder = StudyFolder.create_or_open(ablation, tmp_path)
    ledger = folder.ledger()
    for trial in ablation.plan.trials():
        ledger.append("planned", key=trial.key, arm=trial.arm, seed=trial.seed, config={})
        ledger.append("finished", key=trial.key, metrics={"epoch": 2})
    changed = files.load(ablation_text, ("[0, 1]", "[0, 2]"), ("[ste]", "[ste, ema]"))
    StudyFolder.create_or_open(changed, tmp_path, accept_changes=True)
    kept = folder.state().trials.values()
    assert {trial.seed for trial in kept} == {0}, "those of seed 1 are of another study"
    assert {trial.key for trial in kept} <= {trial.key for trial in changed.plan.trials()}
    assert len([e for e in ledger.read() if e["event"] == "superseded"]) == len(ablation.plan.trials()) / 2
    assert folder.spec() == changed
    assert load_study(folder.path / "spec.1.yaml") == ablation


def test_a_change_of_a_sweep_cannot_be_accepted(files, sweep, sweep_text, tmp_path):
    StudyFolder.create_or_open(sweep, tmp_path)
    with pytest.raises(StudyError, match=r"start_from: \[\{study: search, best: 5\}\]"):
        StudyFolder.create_or_open(files.load(sweep_text, ("seed: 4", "seed: 5")), tmp_path, accept_changes=True)


def test_another_device_is_no_change(files, ablation, ablation_text, tmp_path):
    StudyFolder.create_or_open(ablation, tmp_path)
    StudyFolder.create_or_open(files.load(ablation_text, ("epochs: 2", "epochs: 2\n  device: cpu")), tmp_path)


def test_a_sweep_cannot_go_on_in_the_folder_of_an_ablation(files, ablation, sweep_text, tmp_path):
    StudyFolder.create_or_open(ablation, tmp_path)
    with pytest.raises(StudyError, match="the study changed since it began"):
        StudyFolder.create_or_open(files.load(sweep_text, ("name: search", "name: small")), tmp_path)


def test_a_damaged_specification_is_named_and_left_as_it_is(ablation, tmp_path):
    folder = StudyFolder.create_or_open(ablation, tmp_path)
    folder.spec_path.write_text("name: small\nbase: [\n")
    with pytest.raises(StudyError, match=r"spec\.yaml:3: not valid YAML(.|\n)*cannot go on without its spec\.yaml"):
        StudyFolder.create_or_open(ablation, tmp_path)
    assert folder.spec_path.read_text() == "name: small\nbase: [\n"


def test_a_ledger_without_its_specification_is_refused(ablation, tmp_path):
    folder = StudyFolder.create_or_open(ablation, tmp_path)
    folder.ledger().append("planned", key="k", arm="full", seed=0, config={})
    folder.spec_path.unlink()
    with pytest.raises(StudyError, match=r"has a ledger but no spec\.yaml"):
        StudyFolder.create_or_open(ablation, tmp_path)
    assert not folder.spec_path.exists()


def test_a_storage_that_cannot_be_written_is_refused(ablation, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"):
        StudyFolder.create_or_open(ablation, tmp_path / "file")


def test_differences_name_each_leaf():
    old = {"a": 1, "b": {"c": 2, "d": 3}, "e": 1}
    new = {"a": 1, "b": {"c": 3, "f": 4}, "e": {"g": 1}}
    found = ["b.c: was 2, is 3", "b.d: was 3, is gone", "b.f: is new: 4", "e: was 1, is {'g': 1}"]
    assert differences(old, new) == found
    assert differences(old, old) == []


# Finding --------------------------------------------------------------------------------------------------------------
def test_a_study_is_found_by_name_and_by_path(ablation, tmp_path, monkeypatch):
    made = StudyFolder.create_or_open(ablation, tmp_path / "studies")
    assert find_study("small", tmp_path / "studies") == made
    assert find_study(made.path, tmp_path / "elsewhere") == made
    monkeypatch.chdir(tmp_path)
    assert find_study("small").path == Path("studies/small")
    assert find_study("studies/small").path == Path("studies/small")


def test_a_folder_of_the_same_name_that_is_no_study_is_passed_over(ablation, tmp_path, monkeypatch):
    StudyFolder.create_or_open(ablation, tmp_path / "studies")
    (tmp_path / "small").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_study("small").path == Path("studies/small")


def test_an_unknown_study_names_the_nearest(ablation, tmp_path):
    StudyFolder.create_or_open(ablation, tmp_path)
    with pytest.raises(StudyError) as caught:
        find_study("smal", tmp_path)
    assert str(caught.value) == f'no study "smal". Did you mean "small"? Studies in {tmp_path}: small.'


def test_without_any_study_the_message_says_so(tmp_path):
    with pytest.raises(StudyError, match=r'no study "x"\. There are no studies in .*nowhere\.$'):
        find_study("x", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("small", ("small", None)),
        ("small#best", ("small", "best")),
        ("studies/small#0a1b", ("studies/small", "0a1b")),
        ("a#b/small#best", ("a#b/small", "best")),
    ],
)
def test_a_reference_names_a_study_and_perhaps_a_trial(text, expected):
    assert parse_reference(text) == expected


@pytest.mark.parametrize("text", ["", "#best", "small#", "#"])
def test_a_reference_to_nothing_is_refused(text):
    with pytest.raises(StudyError, match="expected NAME, NAME#best or NAME#KEY"):
        parse_reference(text)


# Trials ---------------------------------------------------------------------------------------------------------------
def test_the_best_trial_is_the_highest_or_the_lowest_as_the_metric_says():
    state = trials({"val_accuracy": 80.0, "val_loss": 0.3}, {"val_accuracy": 90.0, "val_loss": 0.5})
    assert best_trial(state, ACCURACY).key == "aa1"
    assert best_trial(state, LOSS).key == "aa0"


def test_one_lucky_seed_is_not_the_best_configuration():
    state = StudyState()
    for key, config, seed, value in (("a", 1, 0, 99.0), ("b", 1, 1, 80.0), ("c", 2, 1, 91.0), ("d", 2, 0, 90.0)):
        config = {"epochs": config, "seed": seed}
        state.trials[key] = TrialRecord(key, "sweep", seed, config, "finished", final={"val_accuracy": value})
    assert best_trial(state, ACCURACY).key == "d", "the first seed of the best mean"
    state.trials["e"] = TrialRecord("e", "sweep", 0, {"epochs": 3}, "finished", final={"val_accuracy": 100.0})
    assert best_trial(state, ACCURACY).key == "d", "one seed is not two"


def test_the_first_of_equally_good_trials_is_the_best():
    assert best_trial(trials({"val_accuracy": 80.0}, {"val_accuracy": 80.0}), ACCURACY).key == "aa0"


def test_trials_without_a_value_are_never_the_best():
    assert (
        best_trial(trials(None, {"val_loss": 1.0}, {"val_accuracy": None}, {"val_accuracy": 0.0}), ACCURACY).key
        == "aa3"
    )
    assert best_trial(trials({"val_accuracy": 80.0}, status="pruned"), ACCURACY) is None
    assert best_trial(StudyState(), ACCURACY) is None


def test_a_trial_is_selected_as_best_by_key_or_by_the_start_of_one():
    state = trials({"val_accuracy": 80.0}, {"val_accuracy": 90.0})
    state.trials["b1"] = TrialRecord("b1", "ste", 0, {})
    assert select_trial(state, "best", ACCURACY).key == "aa1"
    assert select_trial(state, "aa0", ACCURACY).key == "aa0"
    assert select_trial(state, "b", ACCURACY).key == "b1"


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("aa", r'"aa" begins 2 keys: aa0, aa1\. Give more digits\.'),
        ("aa2", r'no trial "aa2" among 2\. Did you mean "aa\d"\? Use best, or a key\.'),
        ("bets", r'no trial "bets" among 2\. Did you mean "best"\?'),
        ("best", 'no trial is "best" yet: none of 2 has finished with a val_accuracy'),
    ],
)
def test_a_selector_of_none_or_several_is_refused(selector, message):
    with pytest.raises(StudyError, match=message):
        select_trial(trials(None, None), selector, ACCURACY)


# Atomic files ---------------------------------------------------------------------------------------------------------
def test_a_file_is_written_and_replaced_whole(tmp_path):
    path = tmp_path / "a.bin"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    path = tmp_path / "a.bin"
    write_atomically(path, b"one")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(*((os, "fsync", fail) if failing == "fsync" else (Path, "replace", fail)))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"two")
    assert path.read_bytes() == b"one"
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("call", [1, 2])
def test_a_write_that_fails_names_its_file_or_the_folder_whose_names_were_not_synced(tmp_path, monkeypatch, call):
    calls, fsync = [], os.fsync

    def fail(descriptor):
        calls.append(descriptor)
        if len(calls) == call:
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error") as caught:
        write_atomically(tmp_path / "a.bin", b"one")
    assert caught.value.filename == str([tmp_path / "a.bin", tmp_path][call - 1])


def test_the_bytes_are_on_disk_before_the_name_is(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda self, target: (order.append("replace"), replace(self, target))[1])
    write_atomically(tmp_path / "a.bin", b"one")
    assert order == ["fsync", "replace", "fsync"]
