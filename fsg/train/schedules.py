"""Learning rates over training, as factors of the first: f(config, epochs done, of how many), the warm-up aside.

Proof: ``tests/train/test_loop.py``.
"""

from __future__ import annotations

import math

from fsg.catalogue.schedules import ScheduleConfig


def constant(config: ScheduleConfig, done: int, epochs: int) -> float:
    """1."""
    return 1.0


def step(config: ScheduleConfig, done: int, epochs: int) -> float:
    """Divided every ``step_epochs``."""
    return config.step_factor ** (done // config.step_epochs)


def cosine(config: ScheduleConfig, done: int, epochs: int) -> float:
    """Half a cosine, from 1 towards 0."""
    return 0.5 * (1 + math.cos(math.pi * (done / epochs)))


def linear(config: ScheduleConfig, done: int, epochs: int) -> float:
    """A straight line, from 1 towards 0."""
    return 1 - done / epochs
