"""The examples of docs/extending.md, from their files to the tables: a guest's network, estimator, data and metric."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from command_line import python_environment, run_main

import fsg
from fsg import plugins
from fsg.errors import ConfigError
from fsg.parts import forget
from fsg.record.folder import StudyFolder
from fsg.study.domains import parse_domain

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def place(tmp_path_factory, shared_ray, empty_store):
    """A folder with copies of the examples, in which the study has run."""
    folder = tmp_path_factory.mktemp("own")
    for file in EXAMPLES.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    shutil.copy(empty_store, folder / "runs.db")
    with pytest.MonkeyPatch.context() as patch:
        said = run_main(patch, folder, "ablate", "own_parts.yaml", "--tracking-uri", "sqlite:///runs.db")
    assert said.code == 0, said.err
    return folder, said


def test_a_study_of_own_parts_runs_on_ray_and_its_table_names_its_metric(place):
    folder, said = place
    assert "val_worst_class_error" in said.out and "near" in said.out
    state = StudyFolder(folder / "studies" / "own_parts").state()
    assert [trial.status for trial in state.trials.values()] == ["finished"] * 6
    for trial in state.trials.values():
        assert 0 <= trial.final_value("val_worst_class_error") <= 100
        assert 0 <= trial.final_value("test_worst_class_error") <= 100


def test_its_runs_are_read_back_from_mlflow(place):
    folder, _ = place
    client = mlflow.MlflowClient(f"sqlite:///{folder}/runs.db")
    (experiment,) = client.search_experiments(filter_string="name = 'own_parts'")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    trials = [
        run for run in runs if run.data.params.get("model.name") == "two_convolutions" and "seed" in run.data.params
    ]
    assert {run.data.params["gradient.name"] for run in trials} == {"ste", "nearness"}
    assert all("val_worst_class_error" in run.data.metrics for run in trials) and len(trials) >= 6


def test_the_study_goes_on_without_the_files_it_named(place, monkeypatch):
    folder, _ = place
    for file in folder.glob("own_*.py"):
        file.unlink()
    said = run_main(monkeypatch, folder, "resume", "own_parts", "--tracking-uri", "sqlite:///runs.db")
    assert said.code == 0 and "near" in said.out
    said = run_main(monkeypatch, folder, "compare", "own_parts")
    assert said.code == 0 and "near" in said.out


def test_one_trial_of_own_parts_is_trained_by_a_command(tmp_path, monkeypatch):
    said = run_main(
        monkeypatch, tmp_path, "train", "--plugin", EXAMPLES / "own_data.py", "--plugin", EXAMPLES / "own_network.py",
        "--set", "data=stripes", "--set", "model.name=two_convolutions", "--set", "gradient=ste", "--set", "epochs=1",
    )  # fmt: skip
    assert said.code == 0 and "two_convolutions on stripes" in said.out


def test_a_misspelt_option_of_a_guest_is_refused_before_anything_starts(tmp_path, monkeypatch):
    for file in EXAMPLES.glob("own_*"):
        shutil.copy(file, tmp_path)
    path = tmp_path / "own_parts.yaml"
    path.write_text(path.read_text().replace("scale: 0.2", "sclae: 0.2"))
    said = run_main(monkeypatch, tmp_path, "ablate", "own_parts.yaml", "--dry-run")
    assert said.code == 2 and 'Did you mean "gradient.scale"?' in said.err and "own_parts.yaml:15" in said.err


AS_A_SCRIPT = """
import runpy, sys
runpy.run_path("notebook_run.py", run_name="__main__")
assert "ray" not in sys.modules, "ray was imported"
"""


def test_the_notebook_runs_as_a_script_and_imports_no_ray(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    for file in EXAMPLES.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", AS_A_SCRIPT], cwd=tmp_path, env=python_environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "The best trial is" in done.stdout and (tmp_path / "learning_curves.png").stat().st_size > 1000


SWEEP = """
name: own_sweep
plugins: [own_network.py, own_domain.py, own_quantizer.py, own_training.py]
base:
  model: two_convolutions
  quantizer: {name: ternary, threshold: 0.5}
  optimizer: {name: sign_momentum, lr: 0.01}
  schedule: {name: late_drop, warmup_epochs: 1}
  gradient: ste
  data: {name: synthetic, image_size: 8, batch_size: 256}
  epochs: 2
space: {model.width: {powers_of_two: [2, 16]}, optimizer.decay: {uniform: [0.5, 0.95]}}
search: {sampler: random, trials: 3}
metric: {name: val_accuracy, mode: max}
"""


def test_a_search_in_an_own_domain_with_own_quantizer_optimizer_and_schedule_runs(
    tmp_path, monkeypatch, local_engine, empty_store
):
    shutil.copy(empty_store, tmp_path / "runs.db")
    for file in EXAMPLES.glob("own_*.py"):
        shutil.copy(file, tmp_path)
    (tmp_path / "own_sweep.yaml").write_text(SWEEP)
    said = run_main(monkeypatch, tmp_path, "sweep", "own_sweep.yaml", "--tracking-uri", "sqlite:///runs.db")
    assert said.code == 0, said.err
    state = StudyFolder(tmp_path / "studies" / "own_sweep").state()
    widths = {trial.config["model"]["width"] for trial in state.trials.values()}
    assert [trial.status for trial in state.trials.values()] == ["finished"] * 3 and widths <= {2, 4, 8, 16}


def test_a_plug_in_whose_domain_was_edited_is_read_anew(tmp_path):
    text = (EXAMPLES / "own_domain.py").read_text()
    path = tmp_path / "own_domain.py"
    for wanted in ("powers of two, as in [8, 64]", "powers of two, as in [4, 32]"):
        path.write_text(text.replace("powers of two, as in [8, 64]", wanted))
        plugins.load_plugin(path)
        with pytest.raises(ValueError, match=re.escape(wanted)):
            parse_domain({"powers_of_two": [3]})
    path = path.rename(tmp_path / "other.py")
    with pytest.raises(ConfigError, match='two kinds of domains are named "powers_of_two"'):
        plugins.load_plugin(path)


SEARCH = """
name: own_search
plugins: [own_search.py]
base: {gradient: ste, data: {name: synthetic, image_size: 8, batch_size: 256}, epochs: 3}
space: {optimizer.lr: {loguniform: [1e-5, 0.1]}, gradient.name: {choice: [ste, ema]}}
search: {sampler: {name: halton, scramble: false}, trials: 4}
scheduler: {name: bar, below: 101, at: 2}
metric: {name: val_accuracy, mode: max}
"""


def test_a_sweep_is_searched_and_stopped_by_parts_of_ones_own(tmp_path, monkeypatch):
    shutil.copy(EXAMPLES / "own_search.py", tmp_path)
    (tmp_path / "search.yaml").write_text(SEARCH)
    study = fsg.run(tmp_path / "search.yaml", engine=fsg.LocalEngine(), storage=tmp_path / "studies")
    assert list(study.trials["status"]) == ["pruned"] * 4 and set(study.trials["epochs"]) == {2}
    assert study.trials["reason"].str.contains("bar: .* below the bar of 101").all()
    # Halton's sequence in base 2 is 0, 1/2, 1/4, 3/4; in base 3 the path with choices falls to the second at 2/3.
    rates = [float(rate) for rate in study.trials["optimizer.lr"]]
    assert rates == pytest.approx([1e-5, 1e-3, 1e-4, 1e-2])
    assert list(study.trials["gradient.name"]) == ["ste", "ste", "ema", "ste"]
    assert study.spec.resolved()["search"]["sampler"] == {"name": "halton", "scramble": False}
    again = fsg.run(tmp_path / "search.yaml", engine=fsg.LocalEngine(), storage=tmp_path / "studies")
    assert len(again.trials) == 4, "a finished search is not gone through again"


@pytest.mark.parametrize(
    ("wrong", "line", "message"),
    [
        (("{name: halton, scramble: false}", "haltno"), 6, 'Did you mean "halton"?'),
        (("scramble: false", "scrambel: false"), 6, 'unknown key "search.sampler.scrambel". Did you mean'),
        (("below: 101", "below: high"), 7, "\"scheduler.below\" is 'high'"),
        (("name: bar", "name: bra"), 7, 'Did you mean "bar"?'),
        (
            (
                "{choice: [ste, ema]}",
                "{choice: [ste, ema]}, gradient.beta: {uniform: [0, 1], when: {gradient.name: ema}}",
            ),
            6,
            "is halton, which cannot search conditional paths (gradient.beta); use",
        ),
    ],
)
def test_what_a_search_of_ones_own_cannot_be_is_refused_at_its_line(tmp_path, wrong, line, message):
    shutil.copy(EXAMPLES / "own_search.py", tmp_path)
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH.replace(*wrong))
    with pytest.raises(ConfigError) as refused:
        fsg.load_study(path)
    assert f"search.yaml:{line}: " in str(refused.value) and message in str(refused.value)


DESIGN = """
name: own_design
plugins: [own_design.py, own_estimator.py]
base: {data: {name: synthetic, image_size: 8, batch_size: 256}, epochs: 1}
design: {kind: pairs, changes: {gradient.lre: false, gradient.length: 1}}
baselines: [ste, nearness]
seeds: [0, 1]
metric: {name: val_accuracy, mode: max}
"""


def test_a_design_and_a_baseline_of_ones_own_make_the_arms(tmp_path):
    for file in ("own_design.py", "own_estimator.py"):
        shutil.copy(EXAMPLES / file, tmp_path)
    (tmp_path / "design.yaml").write_text(DESIGN)
    study = fsg.run(tmp_path / "design.yaml", engine=fsg.LocalEngine(), storage=tmp_path / "studies")
    assert set(study.trials["arm"]) == {"full", "lre", "length", "lre_and_length", "ste", "nearness"}
    assert set(study.trials["status"]) == {"finished"} and len(study.compare()) == 6
    assert fsg.open_study("own_design", tmp_path / "studies").spec == study.spec
    (tmp_path / "design.yaml").write_text(DESIGN.replace("gradient.lre:", "gradient.lree:"))
    with pytest.raises(
        ConfigError, match=r'design.yaml:5: a trial has no "gradient.lree". Did you mean "gradient.lre"'
    ):
        fsg.load_study(tmp_path / "design.yaml")


def test_a_backend_of_ones_own_computes_the_slow_net(tmp_path):
    (tmp_path / "scan.py").write_text(
        "from fsg import register\nfrom fsg.ops.slow_scan.reference import slow_scan\n"
        "register('backend', 'mine', lambda *given: slow_scan(*given),\n"
        "         missing=lambda device: None if device == 'cpu' else 'it knows the cpu alone.')\n"
    )
    small = ["data.name=synthetic", "data.batch_size=64", "epochs=1"]
    values = []
    for name in ("mine", "reference"):
        trial = fsg.load_trial(None, [*small, f"gradient.slow.backend={name}"], plugins=[tmp_path / "scan.py"])
        values.append([result.metrics["train_loss"] for result in fsg.Trainer(trial)])
    assert values[0] == values[1]
    with pytest.raises(ConfigError, match=r'"gradient.slow.backend" is \'mien\', allowed: auto, .*Did you mean "mine"'):
        fsg.load_trial(None, ["gradient.slow.backend=mien"], plugins=[tmp_path / "scan.py"])
    forget("scan.py")
