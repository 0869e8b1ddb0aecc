"""Proof of fsg/record/versions.py: other packages or another device are said before a study goes on, and in its table."""

from fsg.record.ledger import StudyState, TrialRecord, fold
from fsg.record.versions import change, mixtures

OLD = {"fsg": "0.1.0", "torch": "2.15.0", "ray": "2.60.0"}
NEW = {"fsg": "0.2.0", "torch": "2.15.0", "numpy": "2.4.0", "ray": "2.61.0"}


def record(seed, *versions, arm="full", device="a CPU", status="finished"):
    epochs = [{"epoch": 1}] if versions else []
    return TrialRecord(f"{arm}{seed}", arm, seed, {}, status, epochs, device=device, versions=list(versions))


def state(*records):
    return StudyState(trials={r.key: r for r in records})


def test_the_same_packages_and_device_are_nothing_to_say():
    assert change(state(record(0, OLD)), OLD, "a CPU") is None
    assert change(state(), NEW, "a GPU") is None, "nothing was trained yet"


def test_another_package_that_decides_numbers_is_said_and_ray_is_not():
    said = change(state(record(0, OLD)), NEW, "a CPU")
    assert "fsg 0.1.0, now 0.2.0" in said and "torch" not in said and "ray" not in said
    assert "numpy" not in said, "which one trained before is not known"
    assert change(state(record(0, OLD)), OLD | {"ray": "3"}, "a CPU") is None


def test_another_device_is_said_where_it_is_known():
    assert "a CPU, now a GPU" in change(state(record(0, OLD)), OLD, "a GPU")
    assert change(state(record(0, OLD)), OLD, None) is None


def test_the_table_says_which_seeds_ran_under_what():
    records = [record(0, OLD), record(0, OLD, arm="ste"), record(1, NEW), record(1, NEW, arm="ste")]
    first, second = mixtures(records)
    assert "seed 0 of full, ste ran under fsg 0.1.0, torch 2.15.0 on a CPU" in first
    assert "seed 1 of full, ste ran under fsg 0.2.0, torch 2.15.0, numpy 2.4.0 on a CPU" in second
    assert mixtures(records[:2]) == ()


def test_a_trial_that_was_begun_under_one_and_ended_under_another_stands_by_itself():
    notes = mixtures([record(0, OLD), record(1, OLD, NEW)])
    assert any("seed 1 of full ran under fsg 0.1.0, torch 2.15.0 and then fsg 0.2.0" in note for note in notes)


def test_a_ledger_tells_under_what_each_epoch_was_trained():
    def event(what, **fields):
        return {"event": what, "time": 1.0, **fields}

    found = fold([
        event("study", study_id="s", name="n", kind="ablation", spec_digest="d", versions=OLD, git_commit=None, format=2),
        event("planned", key="a", arm="x", seed=0, config={}), event("planned", key="b", arm="x", seed=1, config={}),
        event("epoch", key="a", metrics={"epoch": 1}),
        event("versions", versions=NEW),
        event("epoch", key="a", metrics={"epoch": 2}), event("epoch", key="b", metrics={"epoch": 1}),
    ])  # fmt: skip
    assert (found.trials["a"].versions, found.trials["b"].versions, found.versions) == ([OLD, NEW], [NEW], NEW)
