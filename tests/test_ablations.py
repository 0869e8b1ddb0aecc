"""Proof of ablations/: every file is a study that can be run, and its header says what it would really run."""

import re
from pathlib import Path

import pytest

from fsg.study.spec import load_study, to_yaml

FILES = sorted((Path(__file__).parents[1] / "ablations").glob("*.yaml"))
PROMISED = {
    *("components", "leave_one_out", "history_length", "beta", "layout", "slow_net"),
    *("baselines_retuned", "cifar10_resnet20"),
    *("surrogates", "surrogates_retuned", "protocol", "cifar10_one_bit"),
}
each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def header(path):
    return "\n".join(line for line in path.read_text().split("\nname:")[0].splitlines())


def test_every_promised_ablation_ships():
    assert {path.stem for path in FILES} >= PROMISED


@each
def test_the_header_opens_with_a_question_and_says_what_it_costs(path):
    text = header(path)
    assert re.match(r"# [A-Z].*\?\n#\n", text)
    for word in ("Question", "Seeds", "Effect", "Cost"):
        assert f"\n# {word} " in text


@each
def test_the_headers_arms_seeds_and_trials_are_those_of_the_plan(path):
    spec = load_study(path)
    arms, seeds, trials, epochs = map(
        int, re.search(r"(\d+) arms x (\d+) seeds = (\d+) trials of (\d+) epochs", header(path)).groups()
    )
    assert (len(spec.plan.arms), len(spec.first_seeds), len(spec.plan.trials())) == (arms, seeds, trials)
    assert {trial.config.epochs for trial in spec.plan.trials()} == {epochs}
    assert re.search(r"# Seeds +(\d+)", header(path))[1] == str(seeds)


@each
def test_the_headers_smallest_effect_is_the_one_analysed(path):
    found = re.search(r"# Effect +Below ([\d.]+) points of (validation|test) accuracy", header(path))
    spec = load_study(path)
    assert float(found[1]) == spec.analysis.smallest_effect_of_interest
    assert spec.metric.name.startswith("val" if found[2] == "validation" else "test")


@each
def test_the_header_names_every_baseline(path):
    beside = header(path).split("# Beside")[1].split("# Seeds")[0]
    assert [name for name in load_study(path).baselines if not re.search(rf"\b{name}\b", beside)] == []


@each
def test_a_tuning_in_the_header_is_the_tuning_of_the_study(path):
    spec = load_study(path)
    text = " ".join(header(path).replace("#", "").split())
    found = re.search(r"(\d+) arms x (\d+) tuning trials = (\d+) trials(?:, each on up to (\d+) seeds)?", text)
    assert bool(found) == bool(spec.retune)
    if found:
        arms, trials, total, seeds = (int(number or 1) for number in found.groups())
        assert (arms, trials, total) == (len(spec.plan.arms), spec.retune.trials_per_arm, arms * trials)
        assert seeds == spec.retune.seeds_per_config


@each
def test_a_shipped_study_is_resolved_to_itself(path, tmp_path):
    spec = load_study(path)
    (tmp_path / "spec.yaml").write_bytes(to_yaml(spec))
    again = load_study(tmp_path / "spec.yaml")
    assert again == spec
    assert [trial.key for trial in again.plan.trials()] == [trial.key for trial in spec.plan.trials()]


def test_the_layout_ablation_asks_for_history_in_each_layout():
    arms = load_study(next(path for path in FILES if path.stem == "layout")).plan.arms
    asked = {(config.gradient.layout, config.gradient.hgs) for name, config in arms.items() if name != "ste"}
    assert asked == {(layout, hgs) for layout in ("per_weight", "flattened") for hgs in (True, False)}


def test_every_method_is_tuned_in_the_retuned_ablation():
    spec = load_study(next(path for path in FILES if path.stem == "baselines_retuned"))
    assert all("optimizer.lr" in spec.retune.space_of(arm).paths for arm in spec.plan.arms)
    learned = {arm for arm in spec.plan.arms if len(spec.retune.space_of(arm).paths) > 1}
    assert learned == set(spec.plan.arms) - {"ste", "hand_gate"}


def test_every_curve_is_an_arm_of_the_surrogate_ablations():
    from fsg.ops.curves import _CURVES

    for name in ("surrogates", "surrogates_retuned"):
        arms = load_study(next(path for path in FILES if path.stem == name)).plan.arms
        shapes = {config.gradient.shape.name for config in arms.values() if config.gradient.name == "surrogate"}
        assert shapes == set(_CURVES)


def test_the_protocol_ablation_asks_every_curve_under_every_protocol():
    arms = load_study(next(path for path in FILES if path.stem == "protocol")).plan.arms
    asked = {name: (c.model.float_layers, c.model.activations != "float", c.quantizer.name) for name, c in arms.items()}
    assert len(set(asked.values())) == 6
    assert {protocol for name, protocol in asked.items() if name.endswith("/ste")} == set(asked.values())
