"""Bits per layer: named by a study, chosen by curvature, searched, and refused where they cannot be."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsg.catalogue.quantizers import Dorefa, HawqRule
from fsg.config import parse_trial
from fsg.errors import ConfigError
from fsg.layers import QuantLinear, quantized_layers, using
from fsg.quantizers import DorefaQuantizer
from fsg.report.sweep_report import _count
from fsg.search.configurations import told
from fsg.study.layers import check_layers
from fsg.study.spec import load_study
from fsg.testing.training import assert_resumes, small_images
from fsg.train import Trainer
from fsg.train.bits import assign, layer_names, layer_traces, least, rounding_error, sensitivities, unrounded

SMALL = {
    "gradient": "ste",
    "data": {"name": "synthetic", "batch_size": 8, "augment": False},
    "schedule": "constant",
    "epochs": 3,
    "device": "cpu",
    "checkpoint_every_steps": 2,
}
LAYERS = ["features.0", "features.3", "features.6", "classifier"]


def trial(quantizer, **over):
    return parse_trial({**SMALL, "quantizer": {"name": "dorefa", **quantizer}, **over})


def tiny():
    torch.manual_seed(0)
    q = DorefaQuantizer(8)
    return nn.Sequential(QuantLinear(3, 2, quantizer=q), nn.Tanh(), QuantLinear(2, 2, quantizer=q)).double()


INPUTS, CLASSES = torch.randn(16, 3, generator=torch.Generator().manual_seed(1)).double(), torch.arange(16) % 2


def loss_of(model):
    return F.cross_entropy(model(INPUTS), CLASSES)


# The rule -------------------------------------------------------------------------------------------------------------
def test_traces_are_those_of_the_exact_hessian_of_the_weights_before_rounding():
    model = tiny()
    layers = list(quantized_layers(model).values())
    start = [unrounded(layer) for layer in layers]

    def loss(*weights):
        with using(layers, weights):
            return loss_of(model)

    exact = torch.func.hessian(loss, argnums=(0, 1))(*start)
    expected = [exact[i][i].reshape(w.numel(), w.numel()).trace().item() for i, w in enumerate(start)]
    found = layer_traces(model, loss_of, 4000, seed=0)
    for name, trace in zip(("0", "2"), expected, strict=True):
        assert found[name] == pytest.approx(trace, rel=0.1, abs=0.01)


def test_measuring_leaves_the_network_as_it_is():
    trainer = Trainer(trial({"bits": {"rule": "hawq", "average": 2, "probes": 2}}), small_images())
    plain = Trainer(trial({"bits": 2}), small_images())
    for name, value in plain.model.state_dict().items():
        assert torch.equal(trainer.model.state_dict()[name], value), name
    assert trainer.model.training == plain.model.training


def test_the_choice_is_the_best_of_all_that_keep_the_budget():
    rng = torch.Generator().manual_seed(0)
    allowed, sizes = (1, 2, 4, 8), (10, 200, 30, 50)
    for budget in (300, 500, 1000, 2320):
        costs = torch.rand(4, 4, generator=rng, dtype=torch.float64).sort(1, descending=True).values.tolist()

        def cost(choice, costs=costs):
            return sum(row[allowed.index(bits)] for row, bits in zip(costs, choice, strict=True))

        every = itertools.product(allowed, repeat=4)
        fits = [c for c in every if sum(b * n for b, n in zip(c, sizes, strict=True)) <= budget]
        assert cost(least(costs, sizes, allowed, budget)) == pytest.approx(min(map(cost, fits)))


def test_a_layer_whose_rounding_costs_more_gets_more_bits():
    model = tiny()
    with torch.no_grad():
        # Nearly signs, which round to one bit for nothing.
        model[2].weight.mul_(0.01).add_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double())
    config = Dorefa(bits=HawqRule(average=2.0, allowed=(1, 2, 4, 8), probes=64))
    found = assign(config, model, loss_of, seed=0)
    assert found["0"] > found["2"] == 1
    assert 6 * found["0"] + 4 * found["2"] <= 20
    assert [layer.quantizer for layer in quantized_layers(model).values()] == [
        DorefaQuantizer(b) for b in found.values()
    ]


def test_the_rounding_error_is_the_squared_distance_of_values():
    (layer, _) = quantized_layers(tiny()).values()
    squashed = torch.tanh(layer.weight)
    scaled = squashed / squashed.abs().max()
    for bits in (1, 3):
        levels = 2**bits - 1
        rounded = 2 * torch.round((scaled / 2 + 0.5) * levels) / levels - 1
        assert rounding_error(layer, bits) == pytest.approx(((rounded - scaled) ** 2).sum().item())


def test_traces_below_zero_are_said_and_leave_the_choice_to_rounding(caplog):
    with caplog.at_level("WARNING", "fsg"):
        found = sensitivities({"a": -3.0, "b": 2.0, "c": 1.0})
    assert found == {"a": 0.002, "b": 2.0, "c": 1.0}
    assert "below zero in a -3, for training does not start near a minimum" in caplog.text
    assert sensitivities({"a": -3.0, "b": -1.0}) == {"a": 1.0, "b": 1.0}


def test_layers_that_a_study_names_keep_their_bits_and_count_in_the_average():
    trainer = Trainer(
        trial({"bits": {"average": 2, "allowed": [1, 2], "probes": 2}, "layers": {"classifier": 8}}), small_images()
    )
    sizes = dict(zip(trainer.layer_names, trainer.spans.sizes, strict=True))
    assert trainer.bits["classifier"] == 8 and {trainer.bits[n] for n in LAYERS[:3]} <= {1, 2}
    assert sum(sizes[n] * b for n, b in trainer.bits.items()) <= 2 * sum(sizes.values())


# Trials ---------------------------------------------------------------------------------------------------------------
def test_each_layer_takes_the_values_that_its_bits_allow_and_reports_them():
    trainer = Trainer(trial({"bits": 3, "layers": {"features.3": 1, "classifier": 2}}), small_images())
    *_, last = trainer
    expected = dict(zip(LAYERS, (3, 1, 3, 2), strict=True))
    for name, part in zip(LAYERS, trainer.step.parts(trainer.step.quantizer(trainer.step.latent).value), strict=True):
        assert len(part.unique()) <= 2 ** expected[name]
        assert last.layers[name]["bits"] == expected[name]
    sizes = trainer.spans.sizes
    assert last.metrics["bits"] == pytest.approx(
        sum(b * n for b, n in zip(expected.values(), sizes, strict=True)) / sum(sizes)
    )
    assert "bits" not in list(Trainer(trial({"bits": 3}), small_images()))[-1].metrics


def test_equal_bits_named_layer_by_layer_train_as_bits_named_once():
    runs = [Trainer(trial(q), small_images()) for q in ({"bits": 2}, {"bits": 4, "layers": dict.fromkeys(LAYERS, 2)})]
    assert [r.metrics["val_loss"] for r in runs[0]] == [r.metrics["val_loss"] for r in runs[1]]


@pytest.mark.parametrize("gradient", ["ste", "fsg", "grad_queue"])
def test_a_trial_with_bits_per_layer_resumes_to_the_bit(gradient):
    assert_resumes(trial({"bits": 3, "layers": {"features.0": 1}}, gradient=gradient), small_images())


def test_a_trial_of_the_rule_resumes_to_the_bit_with_the_bits_that_it_had():
    config = trial({"bits": {"rule": "hawq", "average": 2, "probes": 2}})
    assert_resumes(config, small_images())
    trainer = Trainer(config, small_images())
    trainer.run_epoch()
    state = trainer.state_dict()
    other = dict(zip(LAYERS, (8, 1, 1, 4), strict=True))  # what another machine, which rounds otherwise, had chosen
    resumed = Trainer(config, small_images())
    resumed.load_state_dict({**state, "bits": other})
    assert resumed.bits == other
    value = resumed.step.quantizer(resumed.step.latent, resumed.step.scope).value
    assert len(resumed.step.parts(value)[0].unique()) > 16


def test_trials_keep_their_keys_and_those_with_bits_per_layer_have_others():
    assert trial({"bits": 2}).identity()["quantizer"] == {"name": "dorefa", "bits": 2}
    flat, nested = trial({"layers": {"features.0": 2}}), trial({"layers": {"features": {0: 2}}})
    assert flat == nested and flat.identity()["quantizer"]["layers"] == {"features.0": 2}
    assert parse_trial(trial({"bits": {"average": 1.5}}).model_dump()) == trial({"bits": {"average": 1.5}})


def test_the_names_of_layers_are_those_of_the_network_whatever_its_images():
    assert layer_names(trial({})) == LAYERS
    assert layer_names(trial({}, model="resnet20"))[-1] == "fc"


def test_a_search_with_the_objective_bits_is_told_and_shows_what_a_trial_of_several_bits_reports(tmp_path):
    """Bits per weight follow from the configuration where all layers have the same; else the trial says them."""
    mixed = trial({"layers": {"features.0": 8}}).model_dump()
    assert _count(trial({"bits": 3}).model_dump(), "bits") == 3
    assert _count(mixed, "bits") is None and _count(mixed, "step_ms") is None
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.replace("LAYER", "features.0"))
    means, _ = told(load_study(path), parse_trial(mixed), {0: {"val_accuracy": 50.0, "bits": 1.25}})
    assert means["bits"] == 1.25


# Bad input ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("quantizer", "said"),
    [
        ({"bits": 9}, r'"quantizer\.bits" is 9: input should be less than or equal to 8'),
        ({"bits": "two"}, r'"quantizer\.bits" is \'two\''),
        ({"bits": {"rule": "hawk", "average": 2}}, r'"quantizer\.bits\.rule" is \'hawk\', allowed: hawq'),
        ({"bits": {"rule": "hawq"}}, r'"quantizer\.bits\.average" is missing'),
        ({"bits": {"average": 9}}, r'"quantizer\.bits\.average" is 9'),
        ({"bits": {"average": 1, "allowed": [2, 4]}}, r"average is 1, but the fewest bits that a layer may have are 2"),
        ({"bits": {"average": 2, "allowed": []}}, r"quantizer\.bits\.allowed"),
        ({"layers": {"features.0": 0}}, r"quantizer\.layers\.features\.0"),
        ({"layers": {"features.0": "many"}}, r"quantizer\.layers\.features\.0"),
    ],
)
def test_impossible_bits_are_refused(quantizer, said):
    with pytest.raises(ConfigError, match=said):
        trial(quantizer)


def test_more_bits_in_named_layers_than_the_average_leaves_are_refused():
    with pytest.raises(ConfigError, match=r"quantizer\.bits\.average is 1\.2, but quantizer\.layers leaves"):
        Trainer(trial({"bits": {"average": 1.2, "probes": 1}, "layers": {"features.3": 8}}), small_images())


STUDY = """name: bits
seeds: [0, 1]
metric: {name: val_accuracy, mode: max}
base: {gradient: ste, epochs: 2}
arms:
  plain: {}
  mixed:
    quantizer:
      layers:
        LAYER: 4
"""
SWEEP = """name: bits
base: {gradient: ste, epochs: 2}
metric: {name: val_accuracy, mode: max}
objectives: [{name: bits, mode: min}]
space:
  quantizer.bits: {choice: [1, 2, 4]}
  quantizer.layers.LAYER: {choice: [1, 2, 4]}
search: {trials: 3, sampler: random}
"""


@pytest.mark.parametrize("text", [STUDY, SWEEP], ids=["ablation", "sweep"])
def test_bits_for_a_layer_that_does_not_exist_are_refused_before_anything_starts_with_the_line(text, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(text.replace("LAYER", "clasifier"))
    line = 1 + next(i for i, row in enumerate(path.read_text().splitlines()) if "clasifier" in row)
    said = (
        rf'study.yaml:{line}: quantizer.layers names "clasifier", which is no quantised layer of this network. '
        'Did you mean "classifier"'
    )
    with pytest.raises(ConfigError, match=said):
        check_layers(load_study(path))
    for name in ("classifier", "features.0"):
        path.write_text(text.replace("LAYER", name))
        check_layers(load_study(path))


def test_a_trial_of_such_a_layer_is_refused_as_well():
    with pytest.raises(ConfigError, match='names "fc", which is no quantised layer of this network'):
        Trainer(trial({"layers": {"fc": 2}}), small_images())
