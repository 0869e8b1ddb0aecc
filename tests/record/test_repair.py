"""Proof of fsg/record/repair.py: damage is named and kept aside, and what counts afterwards was written so."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsg.errors import StudyError
from fsg.record.folder import StudyFolder
from fsg.record.ledger import whole_bytes
from fsg.record.ledger_header import begin
from fsg.record.repair import repair


def run_all(folder, spec, trials):
    ledger = folder.ledger()
    begin(ledger, spec)
    for trial in trials:
        config = trial.config.model_dump(mode="json")
        ledger.append("planned", key=trial.key, arm=trial.arm, seed=trial.seed, config=config)
        ledger.append("started", key=trial.key, attempt=1, node="n", device="cpu")
        ledger.append("epoch", key=trial.key, metrics={"epoch": 1, "val_accuracy": 90.0})
        ledger.append("finished", key=trial.key, metrics={"epoch": 2, "val_accuracy": 91.0})
    ledger.close()


@pytest.fixture
def folder(ablation, tmp_path):
    """An ablation of which every trial finished."""
    folder = StudyFolder.create_or_open(ablation, tmp_path)
    run_all(folder, ablation, ablation.plan.trials())
    return folder


def lines_of(folder):
    return folder.ledger_path.read_bytes().splitlines()


def spoil(folder, number, old=b":", new=b";"):
    """Damage one line; its bytes as they are now."""
    lines = lines_of(folder)
    assert old in lines[number - 1]
    lines[number - 1] = lines[number - 1].replace(old, new, 1)
    folder.ledger_path.write_bytes(b"\n".join(lines) + b"\n")
    return lines[number - 1]


def finished(folder):
    return {key for key, trial in folder.state().trials.items() if trial.status == "finished"}


def test_a_whole_ledger_is_left_as_it_is(folder, ablation):
    before = folder.ledger_path.read_bytes()
    assert repair(folder, ablation, known_bytes=len(before)) == []
    assert folder.ledger_path.read_bytes() == before
    assert repair(StudyFolder(folder.path / "new"), ablation) == []


def test_a_damaged_line_is_named_and_kept_aside_and_the_rest_counts(folder, ablation):
    before = finished(folder)
    number = next(n for n, line in enumerate(lines_of(folder), 1) if b'"epoch","key"' in line)
    raw = spoil(folder, number, b"90.0", b"99.0")
    with pytest.raises(StudyError, match="damaged line"):
        folder.state()
    (said,) = repair(folder, ablation)
    assert said.startswith(
        f"{folder.ledger_path}:{number}: damaged: it does not match its crc. Set aside as ledger.jsonl."
    )
    assert "seems to have been epoch of trial" in said and said.endswith("no result depends on it.")
    assert (folder.path / "ledger.jsonl.damaged-1").read_bytes() == raw + b"\n"
    assert finished(folder) == before
    assert [e["line"] for e in folder.state().damaged] == [number]
    assert repair(folder, ablation) == [], "it was mended twice"


def test_a_lost_end_leaves_a_trial_to_go_on_from_its_checkpoint(folder, ablation):
    before = finished(folder)
    number = next(n for n, line in enumerate(lines_of(folder), 1) if b'"finished"' in line)
    key = json.loads(lines_of(folder)[number - 1])["key"]
    spoil(folder, number, b"91.0", b"81.0")
    (said,) = repair(folder, ablation)
    assert f"finished of trial {key}: it goes on from its last checkpoint, to the same result" in said
    assert finished(folder) == before - {key}
    assert folder.state().trials[key].status == "running"


def test_a_lost_plan_of_an_ablation_is_written_again(folder, ablation):
    before = folder.state().trials
    spoil(folder, 2)
    assert "the plan has it again" in repair(folder, ablation)[0]
    assert folder.state().trials == before


def test_without_its_plan_a_trial_of_a_sweep_is_set_aside_whole(sweep, ablation, tmp_path):
    folder = StudyFolder.create_or_open(sweep, tmp_path)
    run_all(folder, sweep, ablation.plan.trials())
    lost, *kept = folder.state().trials
    spoil(folder, 2)
    said = repair(folder, sweep)
    assert len(said) == 4 and "the search proposes another in its place" in said[0]
    assert list(folder.state().trials) == kept
    assert (folder.path / "ledger.jsonl.damaged-1").read_text().count(lost) == 4


def test_the_header_comes_back_from_its_copy(folder, ablation):
    before = folder.state().header
    spoil(folder, 1)
    assert "the header was restored from its copy" in repair(folder, ablation)[0]
    assert folder.state().header == before


def test_two_events_whose_newline_was_lost_both_count(folder, ablation):
    before = folder.state()
    data = folder.ledger_path.read_bytes()
    at = data.index(b"\n", len(data) // 2)
    folder.ledger_path.write_bytes(data[:at] + b"\x0b" + data[at + 1 :])
    (said,) = repair(folder, ablation)
    assert "2 whole events in it were kept" in said
    assert folder.state().trials == before.trials


def test_a_ledger_that_was_cut_at_a_line_is_noticed_by_what_it_held(folder, ablation):
    held = whole_bytes(folder.ledger_path)
    lines = lines_of(folder)
    folder.ledger_path.write_bytes(b"\n".join(lines[:7]) + b"\n")
    (said,) = repair(folder, ablation, known_bytes=held)
    assert f"cut short: {held:,} bytes of whole lines were on disk" in said
    assert len(folder.state().trials) == 2
    folder.ledger_path.unlink()
    assert repair(folder, ablation, known_bytes=held)
    assert folder.state().header is not None


def test_whole_lines_are_counted_without_a_torn_end(tmp_path):
    path = tmp_path / "x"
    assert whole_bytes(path) == 0
    for content, count in [(b"", 0), (b"abc", 0), (b"ab\ncd", 3), (b"ab\n" + b"c" * 200_000, 3), (b"a\nb\n", 4)]:
        path.write_bytes(content)
        assert whole_bytes(path) == count


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_any_damage_every_trial_that_counts_as_finished_had_finished_so(folder, ablation, data):
    whole = folder.ledger_path.read_bytes()
    before = folder.state().trials
    try:
        damaged = bytearray(whole)
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(damaged) - 1))
            length = data.draw(st.sampled_from([1, 1, 40]))
            damaged[at : at + length] = data.draw(st.binary(min_size=0, max_size=length))
        folder.ledger_path.write_bytes(damaged)
        repair(folder, ablation, known_bytes=len(whole))
        after = folder.state()
        for key, trial in after.trials.items():
            if trial.status == "finished":
                assert trial.final == before[key].final
        folder.ledger().append("stopped", reason="it can be written")
        assert repair(folder, ablation) == []
    finally:
        folder.ledger_path.write_bytes(whole)


def test_a_copy_of_the_header_that_was_not_made_is_made_later(folder, ablation):
    copy = folder.path / "header.json"
    before = copy.read_bytes()
    copy.unlink()
    assert repair(folder, ablation) == []
    assert copy.read_bytes() == before
