"""Who was silent too long: a clock that is told, trials that are names. No Ray running."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fsg.config import parse_trial
from fsg.execution.reports import ASSIGNMENT, TrialAssignment, TrialEnd
from fsg.execution.retry import Limits
from fsg.ray_engine.hang_monitor import HangMonitor, dump_and_kill


class Scene:
    """Two trials under one watch."""

    def __init__(self):
        self.now = 1000.0
        self.blamed, self.ended = [], []
        self.monitor = HangMonitor(
            SimpleNamespace(blame=lambda *about: self.blamed.append(about)),
            Limits(hang_factor=10, hang_least=5, hang_first=100),
            clock=lambda: self.now,
            end=lambda trial: self.ended.append(trial.trial_id),
        )
        self.trials = [
            SimpleNamespace(trial_id=name, config={ASSIGNMENT: TrialAssignment(name, parse_trial({}), path, {})})
            for name in "ab"
            for path in [Path(f"/study/checkpoints/{name}/last.pt")]
        ]
        for trial in self.trials:
            self.monitor.on_trial_start(0, self.trials, trial)

    def wait(self, seconds, *epochs_of):
        """Ray's loop, which looks every second; each of the named trials has an epoch every second."""
        for _ in range(int(seconds)):
            self.now += 1
            for trial in self.trials:
                if trial.trial_id in epochs_of:
                    self.monitor.on_trial_result(0, self.trials, trial, {})
            self.monitor.on_step_end(0, self.trials)


@pytest.fixture
def scene():
    return Scene()


def test_a_trial_that_falls_silent_is_blamed_and_ended_and_others_are_not(scene):
    scene.wait(20, "a", "b")
    scene.wait(10, "a")
    assert scene.ended == []
    scene.wait(1, "a")
    assert scene.ended == ["b"]
    reason = (
        "nothing came from it for 11 s, where an epoch takes 1.0 s; "
        "what its threads were doing: /study/checkpoints/b/stacks.txt"
    )
    assert scene.blamed == [("b", TrialEnd("hang", reason))]


def test_the_first_epoch_has_more_time(scene):
    scene.wait(100, "a")
    assert scene.ended == []
    scene.wait(1, "a")
    assert scene.ended == ["b"]


def test_a_trial_that_ended_is_not_watched(scene):
    scene.wait(20, "a", "b")
    scene.monitor.on_trial_complete(0, scene.trials, scene.trials[0])
    scene.monitor.on_trial_error(0, scene.trials, scene.trials[1])
    scene.wait(500)
    assert scene.ended == []


def test_a_driver_that_stood_still_blames_nobody(scene):
    scene.wait(20, "a", "b")
    scene.now += 3600
    scene.monitor.on_step_end(0, scene.trials)
    scene.wait(9)
    assert scene.ended == []
    scene.wait(2)
    assert sorted(scene.ended) == ["a", "b"]


STEPS = """
import faulthandler, signal, sys, time
faulthandler.register(signal.SIGUSR1, file=open(sys.argv[1], "ab"), all_threads=True)
steps = open(sys.argv[2], "ab", buffering=0)
while True:
    steps.write(b".")
    time.sleep(0.001)
"""


def test_a_stopped_worker_leaves_its_stacks_and_trains_no_further(tmp_path):
    """It must be continued to write them; within a second a small trial ended, and the blow hit the next on that worker."""
    stacks, steps, code = tmp_path / "stacks.txt", tmp_path / "steps", tmp_path / "worker.py"
    code.write_text(STEPS)
    with subprocess.Popen(["ray::worker", code, stacks, steps], executable=sys.executable) as worker:
        while not (steps.exists() and steps.stat().st_size > 10):
            time.sleep(0.01)
        os.kill(worker.pid, signal.SIGSTOP)
        before = steps.stat().st_size
        dump_and_kill(worker.pid, stacks)
        assert worker.wait() == -signal.SIGKILL
    assert "worker.py" in stacks.read_text()
    assert steps.stat().st_size - before < 300
