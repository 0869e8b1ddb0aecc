"""Small specifications to break, one piece at a time."""

import pytest

from fsg.errors import ConfigError
from fsg.study.spec import load_study

ABLATION = """\
name: small
question: Does it work?
base:
  gradient: fsg
  epochs: 2
seeds: [0, 1]
metric: {name: val_accuracy, mode: max, unit: "%"}
design:
  kind: full_factorial
  switches: [lre]
baselines: [ste]
analysis:
  interval: 0.9
"""

SWEEP = """\
name: search
base:
  epochs: 9
seed: 4
metric: {name: val_accuracy, mode: max}
space:
  optimizer.lr: {loguniform: [1e-4, 1e-1]}
  gradient.length: {randint: [1, 8]}
  gradient.gain: {choice: [bounded, locked]}
  schedule.name: cosine
search: {trials: 3}
scheduler: {name: asha, grace_epochs: 2}
"""


class Files:
    """Writes a specification into a temporary folder and loads it."""

    def __init__(self, folder):
        self.path = folder / "study.yaml"

    def load(self, text, *changes):
        for old, new in changes:
            assert old in text, f"{old!r} is not in the specification"
            text = text.replace(old, new)
        self.path.write_text(text)
        return load_study(self.path)

    def refused(self, text, *changes):
        """The message less the folder: ``study.yaml:3: ...``."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, *changes)
        return str(caught.value).replace(f"{self.path.parent}/", "")


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.fixture
def ablation(files):
    return files.load(ABLATION)


@pytest.fixture
def sweep(files):
    return files.load(SWEEP)


@pytest.fixture
def ablation_text():
    return ABLATION


@pytest.fixture
def sweep_text():
    return SWEEP
