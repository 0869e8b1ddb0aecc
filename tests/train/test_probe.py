"""What a dry run times: steps as they are once everything is compiled and the history is full."""

import pytest

import fsg.train.probe as module
from fsg.config import parse_trial
from fsg.data import load_data
from fsg.train.loop import Trainer
from fsg.train.probe import probe


def test_the_steps_that_compile_are_not_timed(monkeypatch):
    """A clock that moves with the steps: 30 s for each until the history has filled and the slow-net has run, then 0.02 s."""
    now, costs = [0.0], iter([30.0] * 5 + [0.02] * 99)

    class Clocked:
        def __init__(self, step):
            self._step = step

        def __call__(self, *batch):
            now[0] += next(costs)
            return self._step(*batch)

        def __getattr__(self, name):
            return getattr(self._step, name)

    def clocked(*arguments):
        trainer = Trainer(*arguments)
        trainer.step = Clocked(trainer.step)
        return trainer

    monkeypatch.setattr(module, "Trainer", clocked)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    config = parse_trial({"model": "digits_cnn", "data": "digits", "gradient": {"name": "fsg", "length": 3}})
    assert probe(config, load_data(config.data)).seconds == pytest.approx(0.02)
