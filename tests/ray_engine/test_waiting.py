"""Trials that wait for machines: told with a clock and Ray's own messages. On a real head: clusters/hosts/test_autoscaler.py."""

from types import SimpleNamespace

import pytest
from ray.core.generated.autoscaler_pb2 import AutoscalingState
from ray.tune.execution.placement_groups import resource_dict_to_pg_factory
from ray.tune.experiment import Trial

from fsg.errors import FsgError
from fsg.ray_engine.waiting import (
    AGAIN_SECONDS,
    SAY_SECONDS,
    Autoscaler,
    Waiting,
    amounts,
    doing,
    doing_of_v1,
    last_words,
)

EACH = resource_dict_to_pg_factory({"cpu": 8, "gpu": 0.5})


class Scene:
    """Ray's loop, which looks every second."""

    def __init__(self, patience=1800.0, slots=2):
        self.now, self.said, self.does = 1000.0, [], "Its autoscaler starts 2 x spot."
        has = {"CPU": 0.0, "memory": 1e9, "node:10.0.0.1": 1.0}
        self.waiting = Waiting(slots, patience, lambda: has, lambda: self.does, self.said.append, lambda: self.now)

    def wait(self, seconds, pending=2, running=0):
        trials = [SimpleNamespace(status=status, placement_group_factory=EACH) for status in
                  [Trial.PENDING] * pending + [Trial.RUNNING] * running]  # fmt: skip
        for _ in range(int(seconds)):
            self.now += 1
            self.waiting.on_step_end(0, trials)


def test_a_wait_of_a_minute_is_said_with_what_is_asked_what_there_is_and_what_is_done():
    scene = Scene()
    scene.wait(SAY_SECONDS - 1)
    assert scene.said == []
    scene.wait(12)
    assert scene.said == [
        "waiting for machines since 60 s: trials that wait: 2 for 8 CPU, 0.5 GPU; that run: 0; the cluster has 0 CPU. "
        "Its autoscaler starts 2 x spot."
    ]


def test_it_is_said_again_when_something_changed_and_every_five_minutes():
    scene = Scene()
    scene.wait(100)
    scene.does = "Its autoscaler could not get 2 x spot (no capacity)."
    scene.wait(20)
    assert len(scene.said) == 2 and "no capacity" in scene.said[1]
    scene.wait(AGAIN_SECONDS + 20)
    assert len(scene.said) == 3


def test_it_is_enough_after_the_time_given_and_exits_with_1():
    scene = Scene(patience=600)
    scene.wait(590)
    with pytest.raises(FsgError, match=r"gave up after 6\d\d s without a machine: .*go on with fsg resume") as caught:
        scene.wait(30)
    assert caught.value.exit_code == 1 and scene.waiting.error is caught.value


def test_trials_that_run_are_waited_with_for_ever_and_said_once():
    scene = Scene(patience=100)
    scene.wait(5000, pending=2, running=1)
    assert len(scene.said) == 1 and "that run: 1" in scene.said[0]
    assert scene.waiting.error is None


def test_a_queue_behind_trials_that_have_all_there_is_is_no_wait():
    scene = Scene(patience=100)
    scene.wait(5000, pending=4, running=2)
    scene.wait(5000, pending=0, running=1)
    assert scene.said == []


def test_patience_begins_anew_when_a_trial_has_run():
    scene = Scene(patience=600)
    scene.wait(500)
    scene.wait(20, running=2)
    scene.wait(500)
    assert scene.waiting.error is None


def test_amounts_are_those_that_a_trial_can_ask_for():
    assert (
        amounts({"CPU": 8.0, "GPU": 0.5, "memory": 3.0, "object_store_memory": 1.0, "node:10.0.0.1": 1.0})
        == "8 CPU, 0.5 GPU"
    )
    assert amounts({"node:__internal_head__": 1.0}) == "no CPU and no GPU"


def test_an_autoscaler_is_quoted():
    state = AutoscalingState(autoscaler_state_version=3)
    assert doing(state) == "Its autoscaler starts no machine."
    state.pending_instance_requests.add(ray_node_type_name="spot", count=2)
    state.pending_instances.add(ray_node_type_name="on_demand")
    state.failed_instance_requests.add(ray_node_type_name="spot", count=1, reason="InsufficientInstanceCapacity")
    state.infeasible_resource_requests.add()
    assert doing(state) == (
        "Its autoscaler starts 1 x on_demand, asks for 2 x spot, could not get 1 x spot (InsufficientInstanceCapacity), "
        "has no type of machine for 1 of them."
    )
    report = {"pending_launches": {"gpu": 2}, "pending_nodes": [["10.0.0.2", "gpu", "setting-up"]], "failed_nodes": []}
    assert doing_of_v1({"autoscaler_report": report}) == "Its autoscaler starts 2 x gpu, sets up gpu at 10.0.0.2."


def test_an_autoscaler_that_says_nothing_any_more_is_dead(monkeypatch, tmp_path):
    log = tmp_path / "monitor.log"
    log.write_text(
        "INFO begins\nTraceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'googleapiclient'\n"
    )
    now, version = [1000.0], [7]
    monkeypatch.setattr("fsg.ray_engine.waiting.time.monotonic", lambda: now[0])
    state = SimpleNamespace(
        pending_instance_requests=[], pending_instances=[], failed_instance_requests=[], infeasible_resource_requests=[],
        infeasible_gang_resource_requests=[],
    )  # fmt: skip
    monkeypatch.setattr(
        "fsg.ray_engine.waiting._reported",
        lambda: (SimpleNamespace(autoscaler_state_version=version[0], **vars(state)), None),
    )
    monkeypatch.setattr("fsg.ray_engine.waiting._logs", lambda: tmp_path)
    autoscaler = Autoscaler()
    assert autoscaler() == "Its autoscaler starts no machine."
    now[0], version[0] = 1061.0, 8
    assert autoscaler() == "Its autoscaler starts no machine."
    now[0] = 1130.0
    assert autoscaler().startswith("Its autoscaler has not reported for 69 s: there is none, or it has died. ")
    assert autoscaler().endswith("monitor.log: ModuleNotFoundError: No module named 'googleapiclient'")


def test_a_log_that_is_not_here_says_nothing(tmp_path):
    assert last_words(None) == last_words(tmp_path) == ""
