"""Proof of fsg/study/settings.py: ``--set`` on a study is part of its base, or refused where the file hides it."""

import pytest

from fsg.errors import ConfigError
from fsg.study.spec import load_study, to_yaml


@pytest.fixture
def explicit_text(ablation_text):
    design = "design:\n  kind: full_factorial\n  switches: [lre]\n"
    return ablation_text.replace(design, "arms:\n  slow: {optimizer: {lr: 1e-3}}\n  plain: {gradient: ema}\n")


def refused(files, text, *settings):
    files.path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_study(files.path, settings)
    return str(caught.value).replace(f"{files.path.parent}/", "")


def test_a_setting_is_part_of_the_base_and_of_the_identity(files, ablation_text):
    files.path.write_text(ablation_text)
    plain, spec = load_study(files.path), load_study(files.path, ["optimizer.lr=1e-4", "deterministic=off"])
    assert (spec.base.optimizer.lr, spec.base.deterministic) == (1e-4, False)
    assert spec.digest() != plain.digest()
    files.path.write_bytes(to_yaml(spec))
    assert load_study(files.path) == spec, "the resolved file holds it"


def test_settings_are_those_that_the_file_would_have(files, sweep_text):
    files.path.write_text(sweep_text)
    spec = load_study(files.path, ["optimizer.name=sgd", "optimizer.momentum=0.9", "data.batch_size=1_28"])
    files.path.write_text(
        sweep_text.replace("base:\n", "base:\n  optimizer: {name: sgd, momentum: 0.9}\n  data: {batch_size: 128}\n")
    )
    assert spec == load_study(files.path)


def test_a_study_without_a_base_takes_settings(files):
    files.path.write_text("name: x\nseeds: 2\nmetric: {name: val_loss, mode: min}\narms: {a: {}, b: {gradient: ste}}\n")
    assert load_study(files.path, ["epochs=3"]).base.epochs == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "optimizer.lrr=1",
            '--set optimizer.lrr=1: unknown key "base.optimizer.lrr". Did you mean "base.optimizer.lr"?',
        ),
        ("lr=1", '--set lr=1: unknown key "base.lr". Did you mean "base.optimizer.lr"?'),
        ("epochs=0", '--set epochs=0: "base.epochs" is 0'),
        ("epochs", "--set 'epochs': expected key.path=value"),
        ("seed=3", '--set seed=3: the base sets "seed", but the trials run the seeds of "seeds"'),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_own_text(setting, message, files, ablation_text):
    assert refused(files, ablation_text, setting).startswith(message)


@pytest.mark.parametrize(
    ("text", "setting", "line", "subject"),
    [
        ("explicit_text", "optimizer.lr=0.1", 9, 'arm "slow" sets "optimizer.lr" itself'),
        ("explicit_text", "gradient=scalar", 10, 'arm "plain" sets "gradient" itself'),
        ("explicit_text", "gradient.name=scalar", 10, 'arm "plain" sets "gradient" itself'),
        ("ablation_text", "gradient.lre=off", 8, 'the design\'s arm "full" sets "gradient.lre" itself'),
        ("sweep_text", "optimizer.lr=0.1", 7, 'the space sets "optimizer.lr" itself'),
        ("sweep_text", "schedule=step", 10, 'the space sets "schedule" itself'),
    ],
)
def test_what_the_file_hides_is_refused_at_its_line(text, setting, line, subject, files, request):
    found = refused(files, request.getfixturevalue(text), setting)
    assert found == f"study.yaml:{line}: {subject}, so --set {setting} would not reach it; change it here."


def test_baselines_are_named_by_their_estimator_and_hide_nothing(files, explicit_text):
    files.path.write_text(explicit_text.replace("  plain: {gradient: ema}\n", ""))
    assert load_study(files.path, ["gradient=scalar"]).base.gradient.name == "scalar"
