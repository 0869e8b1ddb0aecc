"""The refined schedule against the authors' closed form, and where a study gets its norms from."""

import numpy as np
import pytest
import torch

import fsg
from fsg.catalogue.schedules import ScheduleConfig
from fsg.config import parse_trial
from fsg.errors import ConfigError, StudyError
from fsg.record.folder import StudyFolder
from fsg.record.refined import recorded, with_norms
from fsg.study.spec import load_study
from fsg.testing.training import small_images
from fsg.train import Trainer
from fsg.train.optim import rate_factor
from fsg.train.refined import factors, rates, smoothed

EARLIER = """name: earlier
seeds: [0, 1]
analysis: {interval: null}
metric: {name: val_accuracy, mode: max}
base: {gradient: ste, epochs: 3, data: {name: synthetic, batch_size: 256}, device: cpu}
arms:
  sgd: {optimizer: {name: sgd, lr: 0.1}}
  adam: {optimizer: adam}
"""
LATER = EARLIER.replace("earlier", "later").replace(
    "adam: {optimizer: adam}", "refined: {schedule: {name: refined, from: REFERENCE, norm: l1}}"
)


def schedule(**over):
    return parse_trial({"schedule": {"name": "refined", "from": "a#b", **over}}).schedule


# The equation ---------------------------------------------------------------------------------------------------------
def test_rates_are_the_weight_of_a_step_times_the_weights_of_all_after_it():
    """Norms 1, 2, 1, 1/2: weights 1, 1/4, 1, 4 by l2, with 21/4, 5, 4, 0 behind; 1, 1/2, 1, 2 by l1."""
    norms = np.array([1.0, 2.0, 1.0, 0.5])
    np.testing.assert_allclose(rates(norms, "l2"), np.array([5.25, 1.25, 4.0, 0.0]) / 6.25)
    np.testing.assert_allclose(rates(norms, "l1"), np.array([3.5, 1.5, 2.0, 0.0]) / 4.5)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_equal_norms_give_linear_decay(norm):
    found = [rate_factor(schedule(norms=[0.7] * 5, norm=norm), epoch, 10) for epoch in range(10)]
    middles = np.array([rate_factor(ScheduleConfig(name="linear"), epoch, 10) - 0.05 for epoch in range(10)])
    np.testing.assert_allclose(found, middles / middles.max(), atol=0.006)


def test_norms_that_fall_raise_the_rate_before_it_falls_and_a_spike_lowers_it():
    falling = factors(tuple(2.0 ** -np.arange(20.0)), "l2", 0.0, 20)
    assert np.argmax(falling) == 19, "the whole weight is behind it"
    mild = factors(tuple(1.0 / (1 + np.arange(20.0))), "l2", 0.0, 20)
    assert 0 < np.argmax(mild) < 19 and mild[0] < 0.1
    spike = factors((1.0,) * 8 + (10.0,) + (1.0,) * 8, "l2", 0.0, 17)
    assert spike[8] < 0.2 * spike[7]


def test_the_filter_is_a_median_that_a_single_spike_does_not_pass():
    norms = np.ones(100)
    norms[50] = 1000
    np.testing.assert_array_equal(smoothed(norms, 0.1), np.ones(100))
    assert smoothed(norms, 0.0)[50] == 1000


def test_the_filter_repeats_the_first_norm_and_mirrors_the_last():
    """Width 5: at the start three of five are the first norm; at the end 9, 8 come back after 10."""
    norms = np.arange(1.0, 11.0)
    found = smoothed(norms, 0.5)
    assert found[0] == 1 and found[1] == 2 and found[-1] == np.median([8, 9, 10, 9, 8])


def test_a_run_of_another_length_is_read_at_the_same_share_of_training():
    norms = tuple(1.0 + np.arange(10.0))
    short, long = factors(norms, "l1", 0.1, 5), factors(norms, "l1", 0.1, 50)
    np.testing.assert_allclose(
        np.array(long).reshape(5, 10).mean(1) / np.array(long).reshape(5, 10).mean(1).max(), short, atol=0.03
    )


# What a trial records -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("quantizer", ["bwn", "none"])
def test_a_trial_records_the_norms_of_its_whole_gradient(quantizer):
    plain = {
        "gradient": "ste",
        "quantizer": quantizer,
        "data": {"name": "synthetic", "batch_size": 40, "augment": False},
    }
    trainer = Trainer(parse_trial({**plain, "epochs": 2, "device": "cpu", "dtype": "float64"}), small_images())
    seen = []
    step = trainer.step
    original = step.optimizer.step if quantizer == "none" else step.float_optimizer.step

    def note(*args):
        parts = [p.grad for p in trainer.model.parameters() if p.grad is not None]
        if quantizer != "none":
            latent = {id(layer.weight) for layer in step.layers}
            parts = [p.grad for p in trainer.model.parameters() if id(p) not in latent]
            parts.append(step.signal.slope * step.signal.grad)
        seen.append(torch.cat([p.flatten() for p in parts]).clone())
        return original(*args)

    if quantizer == "none":
        step.optimizer.step = note
    else:
        step.float_optimizer.step = note
    metrics = trainer.run_epoch().metrics
    (gradient,) = seen
    assert metrics["grad_norm"] == pytest.approx(gradient.norm().item())
    assert metrics["grad_norm_l1"] == pytest.approx(gradient.abs().sum().item())


# From study to study --------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    path = folder / "earlier.yaml"
    path.write_text(EARLIER)
    fsg.run(
        path, engine=fsg.LocalEngine(), storage=folder, tracking_uri=f"sqlite:///{folder}/mlflow.db", output="quiet"
    )
    return folder


def later(storage, reference):
    path = storage / "later.yaml"
    path.write_text(LATER.replace("REFERENCE", reference))
    return load_study(path)


def test_a_study_takes_the_norms_of_the_arm_that_it_names(storage):
    rows = [r.epochs for r in StudyFolder(storage / "earlier").state().trials.values() if r.arm == "adam"]
    expected = [sum(epochs[i]["grad_norm_l1"] for epochs in rows) / 2 for i in range(3)]
    found = with_norms(later(storage, "earlier#adam"), storage)
    assert found.arms["refined"]["schedule"]["norms"] == pytest.approx(expected)
    assert recorded("earlier#sgd", "l2", storage) != recorded("earlier#adam", "l2", storage)
    assert found.digest() != later(storage, "earlier#adam").digest()


def test_it_runs_by_them_and_goes_on_by_them_when_the_earlier_study_is_gone(storage, tmp_path):
    path = storage / "later.yaml"
    path.write_text(LATER.replace("REFERENCE", "earlier#adam"))
    options = {"engine": fsg.LocalEngine(), "storage": storage, "output": "quiet"}
    options["tracking_uri"] = f"sqlite:///{storage}/mlflow.db"
    fsg.run(path, **options)
    before = StudyFolder(storage / "later").state().trials
    trial = next(record for record in before.values() if record.arm == "refined")
    expected = factors(tuple(trial.config["schedule"]["norms"]), "l1", 0.1, 3)
    assert [epoch["lr"] for epoch in trial.epochs] == pytest.approx([0.01 * factor for factor in expected])
    moved = tmp_path / "earlier"
    (storage / "earlier").rename(moved)
    try:
        fsg.run(path, **options)
        assert StudyFolder(storage / "later").state().trials.keys() == before.keys()
    finally:
        moved.rename(storage / "earlier")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("earlyer#adam", 'names "earlyer#adam", and there is no study "earlyer".* Did you mean "earlier"'),
        (
            "earlier#adm",
            'names "earlier#adm", but study earlier has no arm "adm".* Did you mean "adam".* It has: sgd, adam',
        ),
    ],
)
def test_a_run_that_is_not_there_is_refused_before_anything_starts(storage, reference, said):
    with pytest.raises(ConfigError, match=rf"later\.yaml:8: schedule\.from {said}"):
        with_norms(later(storage, reference), storage)


def test_a_run_that_recorded_no_norms_is_refused(storage, monkeypatch):
    monkeypatch.setattr("fsg.record.refined.METRICS", {"l1": "no_such_norm"})
    with pytest.raises(StudyError, match="recorded no no_such_norm in each epoch: they ran under an older fsg"):
        recorded("earlier#adam", "l1", storage)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"name": "refined"}, r'"schedule\.from" is missing'),
        ({"name": "refined", "from": "earlier"}, r'"schedule\.from" is \'earlier\''),
        ({"name": "refined", "from": "a#b", "norm": "l3"}, r'"schedule\.norm" is \'l3\', allowed: l2, l1'),
        ({"name": "refined", "from": "a#b", "smoothing": 0.9}, r'"schedule\.smoothing" is 0\.9'),
        ({"name": "refined", "from": "a#b", "norms": [1.0, 0.0]}, r'"schedule\.norms\.1" is 0\.0'),
    ],
)
def test_an_impossible_refinement_is_refused(section, said):
    with pytest.raises(ConfigError, match=said):
        parse_trial({"schedule": section})


def test_a_trial_whose_norms_nobody_read_is_refused():
    config = parse_trial({"gradient": "ste", "schedule": {"name": "refined", "from": "a#b"}, "data": "synthetic"})
    with pytest.raises(ConfigError, match="schedule refined from a#b has no norms yet"):
        Trainer(config, small_images()).run_epoch()
