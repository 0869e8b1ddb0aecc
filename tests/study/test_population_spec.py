"""Proof of fsg/study/population.py: what a population may be asked for, and what is refused at its line."""

import pytest

from fsg.catalogue.schedulers import Pb2, Pbt
from fsg.study.population import is_population
from fsg.study.spec import load_study, to_yaml

TEXT = """\
name: members
base: {epochs: 9, optimizer: {name: sgd, lr: 0.1}}
metric: {name: val_accuracy, mode: max}
space:
  optimizer.lr: {loguniform: [1e-4, 1e-1]}
  gradient.gain: {choice: [bounded, locked]}
constraints:
  - optimizer.lr <= 0.09
search: {sampler: random, trials: 8}
scheduler: {name: pbt, perturb_epochs: 3}
"""


def test_a_population_is_read_and_written(files, tmp_path):
    spec = files.load(TEXT)
    assert spec.scheduler == Pbt(perturb_epochs=3, quantile=0.25, resample=0.25) and is_population(spec)
    (tmp_path / "again.yaml").write_bytes(to_yaml(spec))
    assert load_study(tmp_path / "again.yaml") == spec
    ranges = ("  gradient.gain: {choice: [bounded, locked]}\n", "")
    assert files.load(TEXT, ("{name: pbt, perturb_epochs: 3}", "pb2"), ranges).scheduler == Pb2()


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("  gradient.gain: {choice: [bounded, locked]}", "  gradient.length: {randint: [1, 8]}"), 6,
         '"gradient.length" cannot change while a trial trains, as pbt asks; fix it.'),
        (("gradient.gain: {choice: [bounded, locked]}", "gradient.slow.d_inner: {choice: [4, 8]}"), 6,
         "Allowed: optimizer.lr, optimizer.momentum,"),
        (("choice: [bounded, locked]}", "choice: [bounded, locked], when: {optimizer.name: sgd}}\n  optimizer.name: sgd"), 6,
         "has a condition, but pbt changes all of its paths in every trial"),
        (("name: pbt", "name: pb2"), 6, '"gradient.gain" is a choice; pb2 models uniform and loguniform alone.'),
        (("trials: 8", "trials: 1"), 9, "pbt needs a population of at least 2"),
        (("perturb_epochs: 3", "perturb_epochs: 9"), 10, "is 9, but trials have 9 epochs, so nothing would change"),
        (("search: {", "seeds_per_config: 3\nsearch: {"), 9, "under pbt a configuration changes while it trains"),
        (("lr <= 0.09", "lr <= 0.09\n  - step_ms < 50"), 9, "under pbt weights are copied by val_accuracy alone"),
        (("search: {", "objectives: [{name: bits, mode: min}]\nsearch: {"), 11, "with objectives use scheduler: none"),
        (("perturb_epochs: 3", "quantile: 0.6"), 10, "quantile"),
        (("perturb_epochs: 3", "perturb_epoch: 3"), 10, 'Did you mean "scheduler.perturb_epochs"?'),
    ],
)  # fmt: skip
def test_what_a_population_cannot_be_is_refused_at_its_line(files, change, line, message):
    text = files.refused(TEXT, change)
    assert message in text and f":{line}: " in text, text


def test_the_reference_step_cannot_change_its_values(files):
    reference = (
        "gradient: {update: reference, layout: flattened, normalization: none, gain: free, init: random, lre_size: 1}, "
    )
    gain = ("  gradient.gain: {choice: [bounded, locked]}\n", "")
    text = files.refused(TEXT, ("base: {", "base: {" + reference), gain)
    assert ":2: " in text and "gradient.update: reference keeps its first values" in text
