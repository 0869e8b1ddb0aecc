"""A study from Python: run, read as tables, its network used. LocalEngine throughout: no Ray starts here."""

import math
import shutil

import pandas as pd
import pytest
import torch
import yaml
from tiny_studies import ABLATION, SWEEP, WILD

import fsg
from fsg.driver.study import EPOCH_COLUMNS, TRIAL_COLUMNS
from fsg.errors import ConfigError, StudyError

SMALL = ABLATION | {"base": ABLATION["base"] | {"epochs": 3}}


@pytest.fixture(scope="module")
def place(tmp_path_factory, empty_store):
    folder = tmp_path_factory.mktemp("driver")
    shutil.copy(empty_store, folder / "runs.db")
    (folder / "study.yaml").write_text(yaml.safe_dump(SMALL))
    return folder


def ran(place, study, **options):
    return fsg.run(
        study, engine=fsg.LocalEngine(), storage=place / "studies", tracking_uri=f"sqlite:///{place}/runs.db",
        **{"output": "quiet"} | options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def study(place):
    return ran(place, place / "study.yaml")


def test_trials_have_the_stated_columns_and_dtypes(study):
    table = study.trials
    assert {name: str(table[name].dtype) for name in TRIAL_COLUMNS} == TRIAL_COLUMNS
    assert list(table.columns[: len(TRIAL_COLUMNS)]) == list(TRIAL_COLUMNS)
    assert len(table) == 4 and set(table["status"]) == {"finished"} and set(table["epochs"]) == {3}
    assert table["test_accuracy"].dtype == "float64" and table["test_accuracy"].notna().all()
    assert set(table["optimizer.lr"]) == {0.01, 0.003} and "epochs_" not in table
    assert (table["ended"] > table["started"]).all()


def test_epochs_have_a_row_each_and_numbers(study):
    table = study.epochs
    assert {name: str(table[name].dtype) for name in EPOCH_COLUMNS} == EPOCH_COLUMNS and len(table) == 12
    assert table["val_accuracy"].between(0, 100).all() and table["epoch"].max() == 3


def test_the_table_is_that_of_the_command_and_the_best_is_the_best(study):
    table = study.compare()
    assert len(table) == 2 and "ste" in set(table.iloc[:, 0])
    means = study.trials.groupby("arm")["val_accuracy"].mean()
    assert study.best()["arm"] == means.idxmax()


def test_the_network_of_a_trial_scores_what_the_trial_was_tested_with_and_has_binary_weights(study):
    from fsg.config import parse_trial
    from fsg.data import load_data

    best = study.best()
    network = study.load_network(best["key"][:6])
    test = load_data(parse_trial(SMALL["base"]).data).test
    logits = network(test.images)
    accuracy = 100 * (logits.argmax(1) == test.labels).double().mean().item()
    assert accuracy == pytest.approx(best["test_accuracy"], abs=1e-9)
    weights = [module.weight for module in network.modules() if type(module).__name__.startswith("Quant")]
    assert weights and all(set(weight.unique().tolist()) == {-1.0, 1.0} for weight in weights)
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    again = torch.load(saved(network), weights_only=False)
    assert torch.equal(again(test.images[:5]), logits[:5]), "it does not survive being stored"


def saved(network):
    import io

    buffer = io.BytesIO()
    torch.save(network, buffer)
    buffer.seek(0)
    return buffer


def test_drawings_are_figures(study):
    from matplotlib.figure import Figure

    for figure in (study.plot_learning_curves(), study.plot_learning_curves("train_loss"), study.plot_differences(),
                   study.plot_cost_and_quality()):  # fmt: skip
        assert isinstance(figure, Figure)
    with pytest.raises(StudyError, match=r'no trial reports "val_acuracy"\. Did you mean "val_accuracy"'):
        study.plot_learning_curves("val_acuracy")
    with pytest.raises(StudyError, match="no factorial design"):
        study.plot_effects()


def test_a_second_run_does_nothing_and_a_study_is_opened_by_name(place, study):
    before = (study.path / "ledger.jsonl").read_bytes()
    again = ran(place, place / "study.yaml")
    assert (study.path / "ledger.jsonl").read_bytes() == before
    pd.testing.assert_frame_equal(again.trials, study.trials)
    opened = fsg.open_study("small", place / "studies")
    assert repr(opened).startswith("Study('small', 4 of 4 trials over")
    with pytest.raises(StudyError, match='Did you mean "small"'):
        fsg.open_study("smal", place / "studies")


def test_its_runs_are_in_mlflow(place, study):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{place}/runs.db")
    (experiment,) = client.search_experiments(filter_string="name = 'small'")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    assert sum("seed" in run.data.params for run in runs) >= 4


def test_a_specification_made_in_python_is_a_study(place):
    spec = fsg.AblationSpec(
        name="python",
        base=fsg.TrialConfig.model_validate(SMALL["base"] | {"epochs": 1}),
        seeds=(0, 1),
        metric={"name": "val_accuracy", "mode": "max"},
        baselines=["ste", "ema"],
    )
    assert len(ran(place, spec).trials) == 4
    with pytest.raises(ConfigError, match="one seed has no spread"):
        ran(place, spec.model_copy(update={"seeds": (0,)}))
    unreported = {"metric": spec.metric.model_copy(update={"name": "gain"})}
    with pytest.raises(ConfigError, match=r'"metric\.name" is gain, which arm "ste" cannot report'):
        ran(place, spec.model_copy(update=unreported))
    with pytest.raises(ConfigError, match="plugins go with a study's file"):
        ran(place, spec, plugins=["nets.py"])


def test_a_sweep_has_a_best_and_curves(place):
    (place / "sweep.yaml").write_text(yaml.safe_dump(SWEEP | {"base": SWEEP["base"] | {"epochs": 2}}))
    sweep = ran(place, place / "sweep.yaml")
    assert set(sweep.trials["status"]) <= {"finished", "pruned"} and math.isfinite(sweep.best()["val_accuracy"])
    assert len(sweep.compare()) >= 1 and sweep.plot_learning_curves()
    with pytest.raises(StudyError, match="is a sweep and has no arms"):
        sweep.plot_differences()
    pruned = sweep.trials.query("status == 'pruned'")
    for key in pruned["key"]:
        with pytest.raises(StudyError, match="only a finished trial has its network"):
            sweep.load_network(key)


def test_failed_trials_raise_unless_that_is_allowed(place):
    data = SMALL | {"name": "wild", "arms": {"wild": WILD}}
    (place / "wild.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(StudyError, match="2 of 4 trials failed"):
        ran(place, place / "wild.yaml")
    assert set(ran(place, place / "wild.yaml", allow_failed=True).trials["status"]) == {"finished", "failed"}


def test_every_public_name_can_be_imported():
    assert sorted(fsg.__all__) == sorted(fsg._HOME)
    for name in fsg.__all__:
        assert getattr(fsg, name).__doc__
