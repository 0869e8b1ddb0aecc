"""Proof of fsg/metrics.py: what a configuration is said to report, a trial of it does report; and the rest is as said."""

import pytest

from fsg.config import TrialConfig
from fsg.metrics import EPOCH_METRICS, FINAL_METRICS, MEANING, meaning, metrics_of, unreported
from fsg.parts import names
from fsg.train import Trainer

SMALL = {"epochs": 1, "data": {"name": "synthetic", "image_size": 8, "batch_size": 256}, "model": "resnet20"}
EVERY = {*EPOCH_METRICS, *FINAL_METRICS}
DEFINED = ("ste", "gate", "gate_permuted", "hand_gate")  # report gain and cosine, which are 1 by definition


def reported(**options):
    """The configuration, and the metrics of a trial of it."""
    config = TrialConfig(**(SMALL | options))
    return config, Trainer(config).run_epoch().metrics


@pytest.mark.parametrize("gradient", names("gradient"))
def test_every_estimator_reports_what_is_said_of_it(gradient):
    config, metrics = reported(gradient=gradient)
    assert metrics_of(config) == EVERY - unreported(config).keys() <= metrics.keys()
    if gradient in DEFINED:
        assert unreported(config).keys() == {"gain", "cosine", "uphill"}
        assert (metrics["gain"], metrics["uphill"]) == (pytest.approx(1, abs=1e-4), 0)
        assert metrics["cosine"] == pytest.approx(1, abs=1e-4)
    else:
        assert metrics_of(config) == EVERY


@pytest.mark.parametrize(
    "options",
    [
        {"quantizer": {"name": "none"}, "gradient": "ste"},
        {"quantizer": {"name": "none"}, "gradient": "fsg"},
        {"evaluate": {"ema_weights": 0.0}},
        {"evaluate": {"ema_weights": 0.0, "batchnorm": "running"}, "gradient": "ema"},
        {"gradient": {"name": "multi_fc", "update": "reference"}},
        {"quantizer": "bwn_channel"},
        {"model": {"name": "resnet20", "activations": "sign"}},
    ],
    ids=str,
)
def test_what_is_said_to_be_missing_is_missing(options):
    config, metrics = reported(**options)
    defined = {"gain", "cosine", "uphill"} if config.gradient.name in DEFINED else set()
    assert metrics.keys() & EVERY == metrics_of(config) | (defined & metrics.keys())
    assert all(unreported(config).values())


def test_every_metric_has_a_meaning_and_a_guests_says_whose_it_is():
    assert set(MEANING) >= {*EPOCH_METRICS, *FINAL_METRICS}
    assert meaning("val_recall") == "reported by the study's own code on the validation images"
    assert meaning("schedule.optimizer.lr") == "what the population set optimizer.lr to"
