"""Packs of trials on Ray: an actor a slot, each of which trains a pack, an epoch at each request.

Ray Tune runs one trial in an actor; here an actor has many, and Tune would have nothing to do but hand on what the queue of
packs says. So the queue is asked directly, by the loop that ``LocalEngine`` has, over several actors. One that dies takes the
epoch under way with it: its trials run again, each alone. Proof: ``tests/ray_engine/test_packs_on_ray.py``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError

from fsg.errors import BackendUnavailable
from fsg.execution.engine import Resources, Work
from fsg.execution.packs import Interrupted, Member, Outcome, PackQueue, PackRun
from fsg.execution.process import Leaving
from fsg.execution.reports import TrialEnd
from fsg.execution.retry import read_crash
from fsg.ray_engine.ray_liveness import RayLiveness
from fsg.ray_engine.worker import follow_raylet

LOOK_SECONDS = 1.0
USUAL = 101  # epochs whose median tells how long one takes


class PackActor:
    """A process that trains packs."""

    def __init__(self, cpus: float, gpus: float) -> None:
        self.leaving = Leaving()
        follow_raylet(self.leaving)
        self.run = PackRun(cpus=cpus, gpus=gpus, leaving=self.leaving)

    def node(self) -> str:
        """The address of its node."""
        return str(ray.util.get_node_ip_address())

    def epoch(self, members: Sequence[Member]) -> list[Outcome]:
        """One epoch of each."""
        with self.leaving:
            return self.run.epoch(members)


@dataclass(eq=False)
class _Slot:
    """A worker, and what it does: the answer that is waited for, since when, and the pack that it is about."""

    actor: Any
    answer: Any
    since: float
    node: str | None = None  # None: it is starting
    pack: list[Member] = field(default_factory=list)
    begun: bool = False  # whether an epoch of this pack has come back


def run_packs(work: Work, resources: Resources, slots: int) -> bool:
    """All trials of the source, in packs; False where it was interrupted. StudyError if the user must mend something first.

    BackendUnavailable where a worker does not start.
    """
    queue, ray_liveness = PackQueue(work, resources.fuse, "pack", slots), RayLiveness()
    cpus, gpus = resources.cpus_per_trial, resources.gpus_per_trial
    made: Any = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0)(PackActor)

    def started() -> _Slot:
        actor = made.remote(cpus, gpus)
        return _Slot(actor, actor.node.remote(), time.monotonic())

    living: list[_Slot] = [started() for _ in range(slots)]
    idle: list[_Slot] = []
    seconds: deque[float] = deque(maxlen=USUAL)
    try:
        while busy := [slot for slot in living if slot not in idle]:
            ready, _ = ray.wait([slot.answer for slot in busy], num_returns=1, timeout=LOOK_SECONDS)
            work.disk_space.make_sure(sum(len(slot.pack) for slot in busy))
            ray_liveness.on_step_end(0, [])
            for slot in [slot for slot in busy if slot.answer in ready]:
                if _heard(slot, queue, seconds):
                    idle.append(slot)
                else:
                    living[living.index(slot)] = started()
            idle = [slot for slot in idle if not _goes_on(slot, queue, work)]
            _end_silent([slot for slot in living if slot not in idle], seconds, work)
        return True
    except KeyboardInterrupt:
        return False
    finally:
        for slot in living:
            ray.kill(slot.actor)


def _heard(slot: _Slot, queue: PackQueue, seconds: deque[float]) -> bool:
    """Hear what a worker answers: those of its pack that go on are left in it. False where the worker is gone."""
    try:
        answer = ray.get(slot.answer)
    except RayError as error:
        end = read_crash(str(error))
        if slot.node is None:
            raise BackendUnavailable(f"a worker of Ray did not start: {end.reason}") from None
        queue.dissolve(slot.pack)
        for member in slot.pack:
            queue.hear(member, Interrupted(end))
        return False
    if slot.node is None:
        slot.node = answer
        return True
    if slot.begun:
        seconds.append(time.monotonic() - slot.since)
    slot.begun = True
    slot.pack = [member for member, outcome in zip(slot.pack, answer, strict=True) if queue.hear(member, outcome)]
    return True


def _goes_on(slot: _Slot, queue: PackQueue, work: Work) -> bool:
    """Give a worker its next epoch; whether there is one."""
    known, slot.pack = slot.pack, queue.filled(slot.pack)
    for member in slot.pack[len(known) :]:
        work.recording.started(member.assignment.key, slot.node or "unknown")
        slot.begun = False
    if slot.pack:
        slot.answer, slot.since = slot.actor.epoch.remote(slot.pack), time.monotonic()
    return bool(slot.pack)


def _end_silent(busy: Sequence[_Slot], seconds: Sequence[float], work: Work) -> None:
    """End workers from which nothing has come for too long."""
    limits, now = work.recording.limits, time.monotonic()
    for slot in busy:
        silent = now - slot.since
        if slot.node is not None and silent > limits.silence(seconds, slot.begun):
            for member in slot.pack:
                work.recording.blame(
                    member.assignment.key, TrialEnd("hang", f"nothing came from it for {silent:.0f} s.")
                )
            ray.kill(slot.actor)
            slot.since = now
