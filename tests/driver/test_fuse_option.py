"""``--fuse``: a study that begins is fused as it is asked; one that has begun stays as it is."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from tiny_studies import ABLATION, BASE

from fsg.driver.fusing import packable, with_fusing
from fsg.errors import ConfigError
from fsg.execution.engine import Resources
from fsg.record.folder import StudyFolder
from fsg.study.spec import load_study


def spec_of(tmp_path, fused=False, **over):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(ABLATION | {"base": BASE | {"fused": fused}} | over))
    return load_study(file)


def test_a_number_fuses_and_off_does_not(tmp_path):
    spec = spec_of(tmp_path)
    fused, resources = with_fusing(spec, "5", str(tmp_path), Resources())
    assert fused.base.fused and resources.fuse == 5
    apart, resources = with_fusing(spec, "off", str(tmp_path), Resources())
    assert apart == spec and resources.fuse == 1


@pytest.fixture
def measured(monkeypatch):
    """Packs that take this share of the time apart; what was asked of the probe."""
    import fsg.train.fused.probe as probe

    found = SimpleNamespace(share=0.3, packs=[])

    def share_of_time(configs, threads):
        found.packs.append([config.gradient.name for config in configs])
        return found.share

    monkeypatch.setattr(probe, "share_of_time", share_of_time)
    return found


def test_auto_fuses_where_packs_were_measured_to_be_faster_and_says_so(tmp_path, measured):
    spec, said = spec_of(tmp_path, seeds=[*range(4)], baselines=["ste", "ema", "lstm_fc"]), []
    assert with_fusing(spec, "auto", str(tmp_path), Resources(fuse=9), said.append)[0].base.fused
    measured.share = 0.95
    assert not with_fusing(spec, "auto", str(tmp_path), Resources(), said.append)[0].base.fused
    assert measured.packs == [["ste"] * 8 + ["ema"], ["ste"] * 8 + ["ema"] * 4], "equal estimators are neighbours"
    assert said == [
        "12 trials fit together and are trained in packs: a step of 9 at once takes 0.30 of the time that it takes apart.",
        "12 trials fit together and are trained one by one: a step of 12 at once takes 0.95 of the time that it takes apart, "
        "more than 0.6.",
    ]


def test_auto_measures_nothing_where_there_is_little_to_gain_or_something_to_lose(tmp_path, measured):
    many, few = (
        {"seeds": [*range(4)], "baselines": ["ste", "ema"]},
        {"seeds": [*range(3)], "baselines": ["ste", "ema"]},
    )
    for study, resources in (
        (few, Resources()),
        (many, Resources(fuse=1)),
        (many, Resources(gpus_per_trial=1)),
        (many, Resources(address="auto")),
        (many, Resources(arms={"ste": {"cpus": 2}})),
        (many | {"retune": {"trials_per_arm": 2, "space": {"optimizer.lr": {"uniform": [0.01, 0.1]}}}}, Resources()),
    ):
        assert not with_fusing(spec_of(tmp_path, **study), "auto", str(tmp_path), resources)[0].base.fused
    assert not measured.packs


@pytest.mark.parametrize(("sampler", "fused"), [("random", True), ("qmc", True), ("tpe", False), ("auto", False)])
def test_auto_leaves_a_search_that_learns_from_trial_to_trial_alone(tmp_path, measured, sampler, fused):
    search = {"sampler": sampler, "trials": 20}
    sweep = {
        "name": "search",
        "base": BASE,
        "metric": ABLATION["metric"],
        "space": {"optimizer.lr": {"loguniform": [1e-4, 0.1]}},
    }
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(sweep | {"search": search}))
    assert with_fusing(load_study(file), "auto", str(tmp_path), Resources())[0].base.fused == fused


def test_most_arms_of_the_studies_that_are_shipped_fit_together():
    """How many trials of each train in packs, of how many."""
    found = {}
    for file in sorted(Path("ablations").glob("*.yaml")):
        spec = load_study(file)
        found[file.stem] = (len(packable(spec)), len(spec.plan.trials()))
    assert found == {
        "baselines_retuned": (35, 50),  # lstm_fc and the gates have no twin
        "beta": (40, 40),
        "cifar10_one_bit": (0, 60),  # its activations have none
        "cifar10_resnet20": (40, 80),  # two optimizers
        "components": (36, 36),
        "components_defaults_0_1": (36, 36),
        "designs": (30, 80),  # a plug-in's, and a curve
        "history_length": (35, 35),
        "layout": (15, 25),  # flattened
        "leave_one_out": (80, 80),
        "protocol": (5, 120),  # all others differ in their network
        "real_images": (130, 150),  # gate, and a curve
        "real_images_beta": (35, 35),
        "real_images_designs": (30, 50),  # a plug-in's estimators
        "real_images_history": (30, 30),
        "real_images_optimizers": (15, 30),  # SGD beside Adam
        "slow_net": (40, 50),  # LSTM
        "surrogates": (20, 110),  # curves
        "surrogates_retuned": (20, 110),
        "which_layer_bears_one_bit": (5, 35),
    }


@pytest.mark.parametrize("begun", [True, False])
def test_a_study_that_has_begun_stays_as_it_is(tmp_path, begun):
    StudyFolder.create_or_open(spec_of(tmp_path, fused=begun), tmp_path / "studies")
    for asked in ("3", "auto", "off"):
        spec, _ = with_fusing(spec_of(tmp_path), asked, str(tmp_path / "studies"), Resources())
        assert spec.base.fused == begun, asked


def test_another_word_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='--fuse is "many", expected auto, off, or a number'):
        with_fusing(spec_of(tmp_path), "many", str(tmp_path), Resources())
