"""What a study says of the machines that its trials want, and what the command line makes of it."""

import pytest

from fsg.cli.options import WAIT, Asked
from fsg.errors import ConfigError
from fsg.execution.gpu_packing import Packing
from fsg.study.spec import load_study, to_yaml

STUDY = """
name: small
seeds: [0, 1]
metric: {name: val_accuracy, mode: max}
baselines: [ste]
arms: {slow: {optimizer: {lr: 0.003}}}
base: {gradient: ste, epochs: 1, data: {name: digits}}
"""
SAID = "resources: {cpus: 2, gpus: 0.5, accelerator: A10G, memory: 8, arms: {slow: {gpus: 1, cpus: 4}}}\n"
SWEEP = """
name: searched
metric: {name: val_loss, mode: min}
space: {optimizer.lr: {loguniform: [1.0e-4, 0.1]}}
search: {sampler: random, trials: 2}
resources: {gpus: 1}
"""


def loaded(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return load_study(path)


def asked(cpus=None, gpus=None, accelerator=None, memory=None):
    return Asked(cpus, gpus, accelerator, memory, "auto", WAIT)


def test_a_study_that_says_nothing_gets_a_core(tmp_path):
    resources = asked().of(loaded(tmp_path, STUDY))
    assert resources.shares() == [{"cpu": 1, "gpu": 0}] and not resources.pack


def test_a_study_says_it_of_all_trials_and_of_an_arm(tmp_path):
    resources = asked().of(loaded(tmp_path, STUDY + SAID))
    kind = {"accelerator_type:A10G": 0.001, "memory": 8 * 2**30}
    assert resources.share("ste") == {"cpu": 2, "gpu": 0.5} | kind
    assert resources.share("slow") == {"cpu": 4, "gpu": 1} | kind
    assert asked().of(loaded(tmp_path, SWEEP)).share(None) == {"cpu": 1, "gpu": 1}


def test_what_is_typed_holds_for_all_arms(tmp_path):
    resources = asked(cpus=1.0, gpus="0", accelerator="L4").of(loaded(tmp_path, STUDY + SAID))
    expected = {"cpu": 1, "gpu": 0, "accelerator_type:L4": 0.001, "memory": 8 * 2**30}
    assert resources.shares() == [expected, expected]
    assert asked(gpus="auto").of(loaded(tmp_path, STUDY + SAID)).pack


def test_only_what_was_typed_goes_along_with_a_job():
    assert asked().words() == []
    typed = Asked(0.5, "auto", "L4", 4.0, "job:http://h", 60.0).words()
    assert typed == [
        "--cpus-per-trial", "0.5", "--gpus-per-trial", "auto", "--accelerator", "L4", "--memory-per-trial", "4",
        "--wait-for-cluster", "60",
    ]  # fmt: skip


def test_it_decides_no_trial_and_no_identity(tmp_path):
    plain, said = loaded(tmp_path, STUDY), loaded(tmp_path, STUDY + SAID)
    assert plain.digest() == said.digest()
    (tmp_path / "again.yaml").write_bytes(to_yaml(said))
    assert load_study(tmp_path / "again.yaml").resources == said.resources
    assert b"resources" not in to_yaml(plain)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("resources: {gpu: 1}", r'study.yaml:8: .*"resources.gpu".*Did you mean "resources.gpus"'),
        ("resources: {cpus: 0}", r"study.yaml:8: .*resources.cpus"),
        (
            "resources: {arms: {slwo: {gpus: 1}}}",
            r'study.yaml:8: "resources.arms" names "slwo", which is no arm.*"slow"',
        ),
    ],
)
def test_a_mistake_is_refused_with_its_line(tmp_path, said, message):
    with pytest.raises(ConfigError, match=message):
        loaded(tmp_path, STUDY + said)


def test_a_sweep_has_no_arms_to_say_it_of(tmp_path):
    with pytest.raises(ConfigError, match="a sweep has no arms; say it of all trials"):
        loaded(tmp_path, SWEEP.replace("{gpus: 1}", "{arms: {a: {gpus: 1}}}"))


def test_a_trial_that_runs_alone_keeps_its_kind_of_gpu(tmp_path):
    config = loaded(tmp_path, STUDY).base
    packing = Packing(1, 0.5, False, {"CPU": 8}, {})
    share = {"cpu": 2.0, "gpu": 0.5, "accelerator_type:A10G": 0.001}
    assert packing.resources("key", config, share) == share
    packing.ran_out("key")
    assert packing.resources("key", config, share) == share | {"cpu": 8, "gpu": 1.0}
