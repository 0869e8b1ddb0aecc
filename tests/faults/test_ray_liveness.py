"""Ray without a host ends a run that Tune would let wait for ever: told with a clock. On a real Ray: test_ray_killed.py."""

import os
import subprocess

import pytest

from fsg.errors import FsgError
from fsg.ray_engine.ray_liveness import LOOK_SECONDS, PATIENCE, Ended, RayLiveness


class Scene:
    """Ray's loop, which looks every second, and hosts that come and go."""

    def __init__(self):
        self.now, self.hosts, self.asked, self.ended = 1000.0, 1, 0, False
        self.ray_liveness = RayLiveness(self.living, lambda: self.ended, lambda: self.now)

    def living(self):
        self.asked += 1
        return self.hosts

    def wait(self, seconds):
        for _ in range(int(seconds)):
            self.now += 1
            self.ray_liveness.on_step_end(0, [])


def test_a_run_without_a_host_is_ended():
    scene = Scene()
    scene.wait(100)
    assert scene.asked == 100 // LOOK_SECONDS
    scene.hosts = 0
    with pytest.raises(FsgError, match=r"no host left.*go on with fsg resume"):
        scene.wait(PATIENCE + 2 * LOOK_SECONDS)
    assert scene.ray_liveness.error is not None


def test_a_host_that_joins_in_time_saves_it():
    scene = Scene()
    scene.hosts = 0
    scene.wait(PATIENCE - LOOK_SECONDS)
    scene.hosts = 1
    scene.wait(LOOK_SECONDS)
    scene.hosts = 0
    scene.wait(PATIENCE - LOOK_SECONDS)
    assert scene.ray_liveness.error is None


def test_a_driver_that_stood_still_itself_blames_nobody():
    scene = Scene()
    scene.wait(10)
    scene.hosts, scene.now = 0, scene.now + 3600  # a laptop that slept: its raylet is heard of in a moment
    scene.wait(1)
    assert scene.ray_liveness.error is None


def test_a_raylet_of_this_machine_that_ended_is_not_waited_for():
    scene = Scene()
    scene.wait(10)
    scene.ended = True
    with pytest.raises(FsgError, match=r"raylet on this machine was killed.*go on with fsg resume"):
        scene.wait(LOOK_SECONDS)


def test_a_child_has_ended_once_it_has_and_its_namesakes_do_not_count():
    earlier, child = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
    try:
        end(earlier)
        ended, none = Ended("sleep"), Ended("raylet of another")
        assert not ended()
        end(child)
        assert ended()
        assert not none()
        child.wait()
        assert ended()
        assert not Ended("sleep")()
    finally:
        for each in (earlier, child):
            each.kill()
            each.wait()


def end(process):
    """Ended, and nobody has asked how."""
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
