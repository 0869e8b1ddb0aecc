"""What an earlier release wrote is read: every trial under its key, every table to the digit, nothing left to run."""

import csv
import io
import json
from collections import Counter

import optuna
import pytest
from damages import DAMAGES

from fsg.config import canonical_json
from fsg.errors import FsgError
from fsg.record.driver_lock import StudyLock
from fsg.record.folder import best_trial
from fsg.record.ledger import whole_bytes
from fsg.record.remaining import next_seeds
from fsg.record.repair import repair
from fsg.record.status import set_aside, status_of
from fsg.record.tuned import tuned_config
from fsg.report.study_report import make_report
from fsg.search.configurations import outcomes, recalled, settled
from fsg.search.searcher import _proposals
from fsg.stats.sequential import plan_looks
from fsg.study.seeds import SequentialSeeds
from fsg.study.spec import AblationSpec, load_study, to_yaml
from fsg.study.tuned import arm_sweeps

TRIALS = {"cut_off": 2, "factorial": 20, "population": 4, "retuned": 4, "sequential": 8, "sweep": 14}
TIMES = ("step_ratio",)  # how a ratio is taken may change; what was measured does not


def whole(spec, folder):
    """The study as its driver runs it: with what the searches of its arms found."""
    if not isinstance(spec, AblationSpec) or spec.retune is None:
        return spec
    from fsg.record.folder import StudyFolder

    sweeps = arm_sweeps(spec)
    return spec.with_tuned(
        {arm: tuned_config(sweep, StudyFolder(folder.path / "retune" / arm).state()) for arm, sweep in sweeps.items()}
    )


def table(text):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(io.StringIO(text))]


def test_every_trial_is_read_with_its_epochs_and_no_trial_of_a_finished_study_is_left_to_run(study_of, name):
    folder = study_of(name)
    spec, state = whole(folder.spec(), folder), folder.state()
    assert len(state.trials) == TRIALS[name]
    assert status_of(folder)["epochs"] == sum(len(trial.epochs) for trial in state.trials.values()) > 0
    if isinstance(spec, AblationSpec):
        seeds = spec.seeds
        looks = plan_looks(seeds.min, seeds.max, 0.95) if isinstance(seeds, SequentialSeeds) else None
        left = {trial.key for trial in next_seeds(spec, state, looks.enough if looks else lambda *_: True)}
        assert left == (set(state.trials) if name == "cut_off" else set())
    else:
        assert recalled(spec, state.trials).keys() == state.trials.keys()
        assert settled(spec, state.trials) == spec.search.trials


def test_the_specification_is_the_same_study_when_it_is_written_again(study_of, name, tmp_path):
    spec = study_of(name).spec()
    (tmp_path / "again.yaml").write_bytes(to_yaml(spec))
    assert load_study(tmp_path / "again.yaml", recorded=True) == spec
    recipe = load_study(f"{__file__.rpartition('/')[0]}/recipes/{name}.yaml").in_format(spec.format)
    assert recipe.digest() == spec.digest(), "the study's own file is another study now"


def test_the_tables_are_those_that_were_recorded_to_the_digit(study_of, name):
    folder = study_of(name)
    if not (folder.reports / "comparison.md").exists():
        pytest.skip("it was cut off before it had a table")
    report = make_report(folder.spec(), folder.state())
    for recorded in folder.reports.glob("*.csv"):
        now, then = table(report.texts[recorded.name]), table(recorded.read_text())
        assert [{column: row[column] for column in then[0]} for row in now] == then, recorded.name


def test_a_sweep_has_the_best_and_the_outcomes_that_it_had(study_of):
    folder = study_of("sweep")
    spec, state = folder.spec(), folder.state()
    statuses = Counter(trial.status for trial in state.trials.values())
    assert statuses.keys() == {"finished", "pruned", "failed"}
    assert Counter(outcome.status for outcome in outcomes(spec, state.trials).values()) == statuses
    best = best_trial(state, spec.metric)
    assert best.key == table((folder.reports / "top.csv").read_text())[0]["key"]


def test_the_search_goes_on_with_the_proposals_that_it_would_have_made(study_of, release, request):
    recorded = json.loads((request.path.parent / release / "proposals.json").read_text())
    folder = study_of("sweep")
    spec, state = folder.spec(), folder.state()
    proposals = _proposals(folder, spec, len(state.trials), None)
    assert proposals.recall(outcomes(spec, state.trials)) == []
    asked = [dict(proposals.ask()[1]) for _ in recorded]
    assert proposals.set_aside == []
    if state.header["versions"]["optuna"] == optuna.__version__:  # another release of Optuna may propose otherwise
        assert asked == recorded


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", ["spec.yaml", "ledger.jsonl", "header.json"])
def test_a_damage_is_no_matter_or_refused_and_never_another_number(study_of, name, file, how):
    folder = study_of(name)
    state = canonical_json({key: trial.epochs for key, trial in folder.state().trials.items()})
    with StudyLock(folder.path) as lock:  # its driver noted how long the ledger is; that is no part of a recording
        lock.notes = lambda: {"ledger_bytes": whole_bytes(folder.ledger_path)}
    path = folder.path / file
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    before = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}
    try:
        folder.spec()
        assert canonical_json({key: trial.epochs for key, trial in folder.state().trials.items()}) == state
    except FsgError as error:
        assert error.exit_code == 2 and str(path) in str(error)
    else:
        assert file != "ledger.jsonl" or how == "extra_bytes", "damage to the ledger was not noticed"
    assert {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_ledger_is_mended_and_nothing_of_it_is_deleted(study_of, name, how):
    folder = study_of(name)
    original = folder.state()
    now = DAMAGES[how](folder.ledger_path.read_bytes())
    folder.ledger_path.write_bytes(now)
    repair(folder, folder.spec())
    folder.ledger().append("stopped", reason="the ledger can be written")
    for key, trial in folder.state().trials.items():
        assert [m for m in trial.epochs if m not in original.trials[key].epochs] == []
    kept = b"".join(p.read_bytes() for p in [folder.ledger_path, *set_aside(folder)])
    assert all(line in kept for line in now.split(b"\n")), "something was deleted"
