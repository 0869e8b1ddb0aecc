"""Proof of fsg/study/reporting.py: a metric that an arm or a point cannot report is refused at its line, with who and why."""

import pytest

from fsg.errors import ConfigError
from fsg.record.folder import StudyFolder
from fsg.study.spec import load_study, to_yaml

AVERAGED = "evaluate.ema_weights is 0, so no weights are averaged"
STRAIGHT = "moves along the straight-through direction itself"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            [
                ("name: val_accuracy", "name: val_accuracy_ema"),
                ("epochs: 2", "epochs: 2\n  evaluate: {ema_weights: 0}"),
            ],
            'study.yaml:8: "metric.name" is val_accuracy_ema, which arm "full" cannot report: evaluate.ema_weights is 0',
        ),
        (
            [("name: val_accuracy", "name: test_accuracy_ema"), ("[ste]", "{ste: {evaluate: {ema_weights: 0}}}")],
            f'study.yaml:7: "metric.name" is test_accuracy_ema, which arm "ste" cannot report: {AVERAGED}.',
        ),
        ([("name: val_accuracy", "name: gain")], f'is gain, which arm "ste" cannot report: gradient ste {STRAIGHT}.'),
        ([("name: val_accuracy", "name: cosine"), ("[ste]", "[hand_gate]")], f"hand_gate {STRAIGHT}"),
        (
            [("name: val_accuracy", "name: uphill"), ("[ste]", "{ema: {quantizer: none}}")],
            'is uphill, which arm "ema" cannot report: quantizer none leaves no quantised weights.',
        ),
        (
            [
                ("name: val_accuracy", "name: gain"),
                ("[ste]", "[ema]"),
                ("analysis:", "retune: {trials_per_arm: 2, space: {gradient: {choice: [ema, ste]}}}\nanalysis:"),
            ],
            'is gain, which a trial with gradient = ste of arm "full" cannot report',
        ),
    ],
)
def test_an_arm_that_cannot_report_the_metric_is_named(changes, message, files, ablation_text):
    assert message in files.refused(ablation_text, *changes)


def sweep(metric="val_accuracy", space="optimizer.lr: {loguniform: [1e-4, 1e-1]}", more=""):
    return f"name: s\nmetric: {{name: {metric}, mode: max}}\nsearch: {{trials: 3}}\nspace:\n  {space}\n{more}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (sweep("gain", more="base: {gradient: ste}\n"), 'study.yaml:2: "metric.name" is gain, which a trial'),
        (sweep("gain", "gradient: {choice: [fsg, ste]}"),
         f'study.yaml:2: "metric.name" is gain, which a trial with gradient = ste cannot report: gradient ste {STRAIGHT}.'),
        (sweep("val_accuracy_ema", "evaluate.ema_weights: {choice: [0.5, 0.0]}"),
         "a trial with evaluate.ema_weights = 0.0 cannot"),
        (sweep("gain", "quantizer: {choice: [dorefa, none]}"), "a trial with quantizer = none cannot report"),
        (sweep(space="gradient: {choice: [fsg, ste]}", more="objectives: [{name: cosine, mode: max}]\n"),
         'study.yaml:6: "objectives.name" is cosine, which a trial with gradient = ste cannot report'),
        (sweep(more="base: {gradient: ste}\nconstraints: [gain < 2]\n"),
         f'study.yaml:7: "gain < 2" names gain, which no trial can report: gradient ste {STRAIGHT}.'),
    ],
)  # fmt: skip
def test_a_point_that_cannot_report_the_metric_is_named(text, message, files):
    assert message in files.refused(text)


@pytest.mark.parametrize(
    "text",
    [
        sweep("val_accuracy_ema", "evaluate.ema_weights: {uniform: [0, 0.9]}"),
        sweep(
            "val_accuracy_ema",
            "evaluate.ema_weights: {choice: [0.0, 0.5]}",
            "constraints: [evaluate.ema_weights > 0]\n",
        ),
        sweep(space="gradient: {choice: [fsg, ste]}", more="constraints: [gain < 2]\n"),
        sweep("gain", "gradient.beta: {uniform: [0, 1]}"),
        sweep(space="quantizer: {choice: [dorefa, none]}", more="objectives: [{name: bits, mode: min}]\n"),
    ],
)
def test_what_trials_do_report_can_be_asked_for(text, files):
    assert files.load(text).name


def test_a_study_that_began_under_an_older_fsg_can_still_be_read(files, ablation_text):
    text = ablation_text.replace("name: val_accuracy", "name: gain")
    files.path.write_text(text)
    recorded = load_study(files.path, recorded=True)
    files.path.write_bytes(to_yaml(recorded))
    assert load_study(files.path, recorded=True) == recorded
    assert StudyFolder.create_or_open(recorded, files.path.parent).spec() == recorded
    with pytest.raises(ConfigError, match='which arm "ste" cannot report'):
        load_study(files.path)
