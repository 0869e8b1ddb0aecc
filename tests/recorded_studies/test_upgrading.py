"""``fsg upgrade``: says what an older study would become, does it only when told to, and keeps the original beside it."""

import json

from fsg.formats import FIRST, FORMAT
from fsg.record.checksum import refuse_changed
from fsg.record.folder import StudyFolder
from fsg.record.upgrade import apply, upgrade_of
from fsg.report.study_report import make_report
from fsg.search.configurations import outcomes, recalled
from fsg.search.journal import problem_in, rekey
from fsg.search.searcher import _proposals


def contents(place):
    return {p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()}


def test_it_shows_what_would_change_and_changes_nothing(study_of, name, fsg, tmp_path):
    folder = study_of(name)
    before = contents(tmp_path)
    said = fsg("upgrade", name)
    assert said.code == 0 and f"from format {FIRST} to {FORMAT}" in said.out
    assert f"To do it: fsg upgrade {name} --write" in said.out
    assert contents(tmp_path) == before and upgrade_of(folder) is not None


def test_an_upgraded_study_is_the_same_study_and_the_original_stands_beside_it(study_of, name, fsg, tmp_path):
    folder = study_of(name)
    before = contents(folder.path)
    report = make_report(folder.spec(), folder.state())
    said = fsg("upgrade", name, "--write")
    assert said.code == 0, said.err
    kept = tmp_path / "studies" / f"{name}.format-1"
    assert {k: v for k, v in contents(kept).items() if k.name != "driver.json"} == before
    spec, state = folder.spec(), folder.state()
    refuse_changed(folder.spec_path)
    assert spec.format == state.format == FORMAT and upgrade_of(folder) is None
    assert make_report(spec, state).rows == report.rows
    assert make_report(spec, state).texts == report.texts
    paths = [event["path"] for event in folder.events() if event["event"] == "checkpoint"]
    assert paths and all(path.startswith("checkpoints/") for path in paths)
    for checkpoint in folder.path.glob("checkpoints/*/*.pt"):
        assert checkpoint.parent.name in state.trials
    assert fsg("upgrade", name).out.endswith("nothing to do.\n")


def test_the_search_of_an_upgraded_sweep_goes_on_as_it_would_have(study_of, release, request):
    recorded = json.loads((request.path.parent / release / "proposals.json").read_text())
    folder = study_of("sweep")
    apply(upgrade_of(folder), rekey)
    assert problem_in((folder.search / "optuna.journal").read_bytes()) is None
    spec, state = folder.spec(), folder.state()
    assert recalled(spec, state.trials).keys() == state.trials.keys()
    proposals = _proposals(folder, spec, len(state.trials), None)
    assert proposals.recall(outcomes(spec, state.trials)) == [] and proposals.set_aside == []
    assert len([proposals.ask() for _ in recorded]) == len(recorded)


def test_where_data_lay_leaves_the_keys_and_their_checkpoints_move_with_them(study_of):
    """A study that format 1 keyed by the spelling of a path: written so by hand, for no recorded one has a path."""
    folder = study_of("cut_off")
    text = folder.spec_path.read_bytes().partition(b"\n")[2].replace(b"root: null", b"root: /somewhere/images")
    folder.spec_path.write_bytes(text)
    old = {event["key"] for event in folder.events() if event["event"] == "planned"}

    lines = folder.ledger_path.read_text()
    for event, trial in zip(
        [e for e in folder.events() if e["event"] == "planned"], folder.spec().plan.trials(), strict=True
    ):
        lines = lines.replace(event["key"], trial.key)
        (folder.checkpoints / event["key"]).rename(folder.checkpoints / trial.key)
    from fsg.record.ledger import canonical_json, with_crc

    events = [{k: v for k, v in json.loads(line).items() if k != "crc"} for line in lines.splitlines()]
    for event in events:
        if event["event"] == "planned":
            event["config"]["data"]["root"] = "/somewhere/images"
    folder.ledger_path.write_text("".join(canonical_json(with_crc(event)) + "\n" for event in events))

    upgrade = upgrade_of(folder)
    assert len(upgrade.keys) == 2 and set(upgrade.keys.values()) == old, "without the path they are as without a path"
    apply(upgrade, rekey)
    again = StudyFolder(folder.path)
    assert again.state().trials.keys() == old == {path.name for path in again.checkpoints.iterdir()}
    assert {trial.key for trial in again.spec().plan.trials()} == old
