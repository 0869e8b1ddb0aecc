"""``fsg ablate`` end to end, to a real MLflow and read back through its own client; on Ray: ``tests/examples``."""

import json
import os
import shutil
from html import escape
from pathlib import Path

import pytest
from cli_texts import ABLATION, SWEEP
from command_line import run_main, train_here

from fsg.record.folder import StudyFolder

MINUTES_APART = 60_000
QUESTION = "Is beta in [0, 1] better than [/0, 2] :smile: <b>?"  # rich would take the second for the end of a style


@pytest.fixture(scope="module")
def ablated(tmp_path_factory, empty_store):
    """A folder after ``fsg ablate study.yaml``: (folder, what was said)."""
    folder = tmp_path_factory.mktemp("ablated")
    shutil.copy(empty_store, folder / "mlflow.db")
    (folder / "study.yaml").write_text(ABLATION.replace("Does a learnt gradient beat a plain one?", f'"{QUESTION}"'))
    with pytest.MonkeyPatch.context() as patch:
        train_here(patch)
        said = run_main(patch, folder, "ablate", "study.yaml")
    return folder, said


@pytest.fixture(scope="module")
def runs(ablated):
    """Level -> the runs MLflow has of it."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{ablated[0]}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    found = {"client": client, "experiment": experiment}
    for run in client.search_runs([experiment.experiment_id]):
        found.setdefault(run.data.tags["fsg.level"], []).append(run)
    return found


def state_of(folder, name="small"):
    return StudyFolder(folder / "studies" / name).state()


def table_of(said):
    """The comparison, from its title to the caption below it."""
    lines = said.out.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("small: val_accuracy"))
    last = max(n for n, line in enumerate(lines) if line.startswith("small · 2 epochs per trial"))
    return lines[first : last + 1]


def test_an_ablation_ends_with_its_table_and_the_line_that_opens_it(ablated):
    said = ablated[1]
    assert (said.code, said.err) == (0, "")
    assert "4 trials of 2 epochs" in said.out
    assert "4 of 4 trials done" in said.out
    assert "learnt" in said.out and "ste" in said.out
    assert said.out.rstrip().endswith("fsg ui small")


def test_the_study_folder_holds_spec_ledger_checkpoints_and_report(ablated):
    study = StudyFolder(ablated[0] / "studies" / "small")
    assert study.spec().name == "small"
    state = study.state()
    assert [t.status for t in state.trials.values()] == ["finished"] * 4
    assert {p.name for p in study.checkpoints.iterdir()} == set(state.trials)
    assert "learnt" in (study.reports / "comparison.md").read_text()


def test_the_question_is_printed_as_it_was_written(ablated):
    folder, said = ablated
    assert f"{QUESTION}\n4 trials of 2 epochs" in said.out
    assert escape(QUESTION) in (folder / "studies" / "small" / "reports" / "report.html").read_text()


def test_study_arm_and_seed_runs_nest_in_mlflow(runs):
    (study,) = runs["study"]
    arms = {run.data.tags["fsg.arm"]: run for run in runs["arm"]}
    assert "mlflow.parentRunId" not in study.data.tags
    assert set(arms) == {"learnt", "ste"}
    assert {arm.data.tags["mlflow.parentRunId"] for arm in arms.values()} == {study.info.run_id}
    nested = {(run.data.tags["mlflow.parentRunId"], run.data.tags["fsg.seed"]) for run in runs["seed"]}
    assert nested == {(arm.info.run_id, seed) for arm in arms.values() for seed in ("0", "1")}
    assert {run.info.status for level in ("study", "arm", "seed") for run in runs[level]} == {"FINISHED"}


def test_every_run_says_which_trial_code_and_device_it_was(runs, ablated):
    state = state_of(ablated[0])
    assert {run.data.tags["fsg.trial_key"] for run in runs["seed"]} == set(state.trials)
    for run in runs["seed"]:
        tags = run.data.tags
        assert tags["fsg.study_id"] == state.header["study_id"]
        assert tags["fsg.version.torch"] and tags["fsg.version.ray"] and tags["fsg.device"]
        assert run.data.params["optimizer.lr"] == "0.01"


def test_mlflow_holds_every_epoch_that_the_ledger_holds(runs, ablated):
    trials = state_of(ablated[0]).trials
    for run in runs["seed"]:
        record = trials[run.data.tags["fsg.trial_key"]]
        for name in ("train_loss", "val_accuracy", "flip_ratio", "step_ms"):
            history = runs["client"].get_metric_history(run.info.run_id, name)
            assert [(m.step, m.value) for m in history] == [(e["epoch"], e[name]) for e in record.epochs]
            assert all(abs(m.timestamp - 1000 * record.ended) < MINUTES_APART for m in history)
        assert run.data.metrics["test_accuracy"] == record.final["test_accuracy"]


def test_the_table_lies_with_the_study_run(runs, ablated, tmp_path):
    (study,) = runs["study"]
    client = runs["client"]
    table = json.loads(Path(client.download_artifacts(study.info.run_id, "comparison.json", str(tmp_path))).read_text())
    assert [row[0] for row in table["data"]] == ["learnt", "ste"]
    markdown = Path(client.download_artifacts(study.info.run_id, "comparison.md", str(tmp_path))).read_text()
    assert markdown == (ablated[0] / "studies" / "small" / "reports" / "comparison.md").read_text()


def test_a_shared_view_shows_the_arms_with_their_metric_columns(runs, ablated):
    key = f"mlflow.sharedViewState.fsg-{state_of(ablated[0]).header['study_id']}"
    view = json.loads(runs["experiment"].tags[key])
    assert "tags.`fsg.level` = 'arm'" in view["searchFilter"]
    shown = {name.removeprefix("metrics.`").removesuffix("`") for name in view["selectedColumns"]}
    assert shown and shown <= {name for arm in runs["arm"] for name in arm.data.metrics}, "an empty column"


def test_compare_makes_the_same_table_again(ablated, monkeypatch):
    folder, said = ablated
    again = run_main(monkeypatch, folder, "compare", "small")
    assert again.code == 0
    assert table_of(again) == table_of(said)


def test_compare_can_write_the_page_alone_and_prints_its_address(ablated, monkeypatch):
    folder, _ = ablated
    reports = folder / "studies" / "small" / "reports"
    before = {path: path.stat().st_mtime_ns for path in reports.iterdir()}
    said = run_main(monkeypatch, folder, "compare", "small", "--html")
    assert (said.code, said.out.strip()) == (0, (reports / "report.html").as_uri())
    changed = [path.name for path in reports.iterdir() if path.stat().st_mtime_ns != before.get(path)]
    assert changed == ["report.html"]
    refused = run_main(monkeypatch, folder, "compare", "small", "--html", "--diagnostics")
    assert refused.code == 2 and "nothing else" in refused.err


def test_the_same_command_again_trains_nothing_and_ends_with_the_same_table(ablated, monkeypatch):
    folder, said = ablated
    ledger = (folder / "studies" / "small" / "ledger.jsonl").read_bytes()
    again = run_main(monkeypatch, folder, "ablate", "study.yaml")
    assert again.code == 0
    assert "4 of them done before" in again.out
    assert (folder / "studies" / "small" / "ledger.jsonl").read_bytes() == ledger
    assert table_of(again) == table_of(said)


def test_a_trial_of_the_study_is_trained_again_from_its_name(ablated, monkeypatch):
    folder, _ = ablated
    record = next(t for t in state_of(folder).trials.values() if (t.arm, t.seed) == ("ste", 1))
    said = run_main(monkeypatch, folder, "train", "--from", f"small#{record.key[:8]}")
    assert said.code == 0
    assert f"Test accuracy {record.final['test_accuracy']:.2f} %" in said.out
    best = run_main(monkeypatch, folder, "train", "--from", "small#best", "--set", "epochs=1")
    assert best.code == 0 and "seed" in best.out


def test_a_sweep_ends_with_its_best_trials(fsg, files, with_store, local_engine, tmp_path):
    files(SWEEP)
    said = fsg("sweep", "study.yaml", "--cpus-per-trial", "2")
    assert (said.code, said.err) == (0, "")
    best = max(t.final["val_accuracy"] for t in state_of(tmp_path, "search").trials.values() if t.final)
    assert f"{best:.2f}" in said.out
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    levels = [
        run.data.tags["fsg.level"]
        for run in client.search_runs([client.get_experiment_by_name("search").experiment_id])
    ]
    assert (levels.count("study"), levels.count("seed")) == (1, 3)


def test_a_sweep_of_a_space_with_fewer_points_than_trials_says_why_it_ended(
    fsg, files, with_store, local_engine, tmp_path
):
    space = (
        "space:\n  optimizer.lr: {loguniform: [1e-4, 1e-1]}\n  quantizer.bits: {randint: [1, 2]}\nsearch: {trials: 3}\n"
    )
    few = "space: {optimizer.lr: {choice: [0.01, 0.02]}}\nsearch: {sampler: grid, trials: 3}\n"
    files(SWEEP, (space, few), ("epochs: 4", "epochs: 1"), ("scheduler: {name: asha, grace_epochs: 1}\n", ""))
    said = fsg("sweep", "study.yaml")
    why = "the space is exhausted: every point of its grid has been run or must not be"
    assert said.code == 0
    assert f"No further trial is begun: {why}." in said.out
    assert f"Ended early, with 2 of 3 configurations: {why}." in said.out
    told = json.loads(fsg("sweep", "study.yaml", "--json").out.splitlines()[-1])
    assert (told["event"], told["done"], told["trials"], told["stopped"]) == ("complete", 2, 3, why)
    assert f"stopped: {why}" in fsg("status", "search").out


def test_a_study_of_which_nothing_finished_says_so(fsg, files, with_store, local_engine, tmp_path):
    files(ABLATION)
    from fsg.study.spec import load_study

    spec = load_study(tmp_path / "study.yaml")
    checkpoints = StudyFolder.create_or_open(spec, tmp_path / "studies").checkpoints
    for trial in spec.plan.trials():
        (checkpoints / trial.key).write_text("a file where its checkpoints should go")
    said = fsg("ablate", "study.yaml", "--cpus-per-trial", "2")
    assert said.code == 1
    assert "Traceback" not in said.out + said.err
    assert said.err.startswith("fsg: studies/small: all 4 trials failed, the first of them: crashed: ")


@pytest.mark.parametrize("text", [ABLATION, SWEEP], ids=["ablate", "sweep"])
def test_a_dry_run_prints_the_plan_and_writes_nothing(text, fsg, files, tmp_path, monkeypatch):
    monkeypatch.setattr("fsg.driver.trials.run_study", None)
    files(text)
    command = "ablate" if text is ABLATION else "sweep"
    said = fsg(command, "study.yaml", "--dry-run")
    assert (said.code, said.err) == (0, "")
    for piece in ("learnt", "ste", "4 trials of 2 epochs", "Seeds 0, 1") if command == "ablate" else (
        "optimizer.lr", "loguniform", "3 trials of 4 epochs", "at 5 points"):  # fmt: skip
        assert piece in said.out
    assert "about 0:" in said.out
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]


def test_a_dry_run_counts_the_cores_that_it_may_use(fsg, files):
    files(ABLATION)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(before)])
    try:
        assert "4 trials of 2 epochs, 1 side by side on 1 cores" in fsg("ablate", "study.yaml", "--dry-run").out
    finally:
        os.sched_setaffinity(0, before)


def test_a_dry_run_downloads_nothing_and_says_what_will_be(fsg, files, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("the network was asked")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    files(ABLATION, ("{name: digits, batch_size: 256}", "{name: cifar10, root: images, batch_size: 8}"))
    made_up = "Steps were timed on made-up images of the shape of cifar10: nothing was downloaded."
    missing = fsg("ablate", "study.yaml", "--dry-run")
    assert missing.code == 0 and made_up in missing.out.replace("\n", " ")
    assert "It cannot begin yet. cifar10: looked for" in missing.out and "data.download=true" in missing.out
    said = fsg("ablate", "study.yaml", "--dry-run", "--set", "data.download=true")
    assert (said.code, said.err) == (0, "")
    assert f"cifar10 is downloaded into {tmp_path}/images when it begins." in said.out.replace("\n", " ")
    assert made_up in said.out.replace("\n", " ") and "cannot begin" not in said.out
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]
