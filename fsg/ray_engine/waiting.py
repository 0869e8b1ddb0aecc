"""Trials that wait for machines: what they ask for, what the cluster has, what its autoscaler last said, and when it is enough.

Ray waits without a word and for ever: for machines that are being started, for those that are not to be had, and for an
autoscaler that has died (on Ray 2.60 its traceback stands in monitor.log on the head alone).
Proof: ``tests/ray_engine/test_waiting.py``, on a real head ``tests/clusters/hosts/test_autoscaler.py``.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from fsg.errors import FsgError
from fsg.ray_engine.snapshots import NotInSnapshots

SAY_SECONDS = 60.0  # after which a wait is said to be one
AGAIN_SECONDS = 300.0  # at most, until it is said again
LOOK_SECONDS = 10.0
DEAD_SECONDS = 60.0  # an autoscaler reports every 5 s, and less often while it starts machines


class Waiting(NotInSnapshots, Callback):
    """Looks in Tune's loop whether trials wait while fewer run than could. ``error``: that it was enough.

    Args:
        slots: How many trials the cluster can run side by side, once it has all its machines.
        patience: Seconds without a running trial after which the run is ended.
        has: What the cluster has of each resource now.
        autoscaler: What its autoscaler says, as a sentence.
        say: Where it is said.
        clock: Seconds.
    """

    def __init__(
        self,
        slots: int,
        patience: float,
        has: Callable[[], Mapping[str, float]] | None = None,
        autoscaler: Callable[[], str] | None = None,
        say: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.error: FsgError | None = None
        self._slots, self._patience = slots, patience
        self._has, self._autoscaler = has or _cluster, autoscaler or Autoscaler()
        self._say, self._clock = say or _to_stderr, clock
        self._full = self._began = self._looked = clock()  # when all slots, and when one, were last in use
        self._said, self._said_at = "", clock()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Say it; FsgError after ``patience`` seconds in which none ran."""
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        waiting = [trial for trial in trials if trial.status == Trial.PENDING]
        running = sum(trial.status == Trial.RUNNING for trial in trials)
        if not waiting or running >= self._slots:
            self._full = now
        if not waiting or running:
            self._began = now
        if now - self._full < SAY_SECONDS:
            return
        told = told_of(waiting, running, self._has(), self._autoscaler())
        if now - self._began > self._patience:
            self.error = FsgError(
                f"gave up after {now - self._began:.0f} s without a machine: {told} Everything is recorded; go on with fsg "
                "resume, or wait longer with --wait-for-cluster SECONDS."
            )
            raise self.error
        if told != self._said or (not running and now - self._said_at > AGAIN_SECONDS):
            self._say(f"waiting for machines since {now - self._full:.0f} s: {told}")
            self._said, self._said_at = told, now


def told_of(waiting: Sequence[Any], running: int, has: Mapping[str, float], autoscaler: str) -> str:
    """How many trials wait, for what, beside what there is."""
    asked = Counter(amounts(trial.placement_group_factory.required_resources) for trial in waiting)
    each = "; ".join(f"{count} for {what}" for what, count in asked.items())
    return f"trials that wait: {each}; that run: {running}; the cluster has {amounts(has)}. {autoscaler}"


def amounts(resources: Mapping[str, float]) -> str:
    """``8 CPU, 0.5 GPU``; without those that Ray makes of a node's address and memory."""
    told = {name: amount for name, amount in resources.items() if ":" not in name and "memory" not in name}
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(told.items())) or "no CPU and no GPU"


class Autoscaler:
    """The autoscaler of the cluster that this process has joined, as far as the GCS, or a log on this machine, knows of it."""

    def __init__(self) -> None:
        self._version, self._since = -1, time.monotonic()

    def __call__(self) -> str:
        """What it does, or that it is dead."""
        try:
            state, older = _reported()
        except Exception as error:  # of Ray's a dozen kinds
            return f"Its GCS says nothing of an autoscaler ({type(error).__name__})."
        if older and time.time() - older["time"] < DEAD_SECONDS:
            return doing_of_v1(older)
        if state.autoscaler_state_version != self._version:
            self._version, self._since = state.autoscaler_state_version, time.monotonic()
        silent = time.monotonic() - self._since
        if self._version == 0 or silent > DEAD_SECONDS:
            how = "has not reported" if self._version == 0 else f"has not reported for {silent:.0f} s"
            return f"Its autoscaler {how}: there is none, or it has died.{last_words(_logs())}"
        return doing(state)


def doing(state: Any) -> str:
    """An ``AutoscalingState`` of Ray's protocol as a sentence."""
    asked = Counter[str]()
    for request in state.pending_instance_requests:
        asked[request.ray_node_type_name] += request.count
    coming = Counter(instance.ray_node_type_name for instance in state.pending_instances)
    told = [f"starts {count} x {name}" for name, count in coming.items()]
    told += [f"asks for {count} x {name}" for name, count in asked.items()]
    told += [f"could not get {f.count} x {f.ray_node_type_name} ({f.reason})" for f in state.failed_instance_requests]
    unfit = len(state.infeasible_resource_requests) + len(state.infeasible_gang_resource_requests)
    told += [f"has no type of machine for {unfit} of them"] if unfit else []
    return f"Its autoscaler {', '.join(told) or 'starts no machine'}."


def doing_of_v1(report: Mapping[str, Any]) -> str:
    """What Ray's older autoscaler writes down of itself, as a sentence."""
    found = report.get("autoscaler_report") or {}
    told = [f"starts {count} x {name}" for name, count in (found.get("pending_launches") or {}).items()]
    told += [f"sets up {name} at {address}" for address, name, _ in found.get("pending_nodes") or []]
    told += [f"lost {name} at {address}" for address, name in found.get("failed_nodes") or []]
    return f"Its autoscaler {', '.join(told) or 'starts no machine'}."


def last_words(logs: Path | None) -> str:
    """How the autoscaler ended, by its own logs where they lie on this machine: the last error, if there is one."""
    for name in ("monitor.err", "monitor.log"):
        try:
            lines = (logs / name).read_text(errors="replace").splitlines() if logs else []
        except OSError:
            continue
        told = [line.strip() for line in lines if "Error" in line and not line.startswith((" ", "\t"))]
        if told:
            return f" {logs}/{name}: {told[-1][-300:]}"
    return ""


def _reported() -> tuple[Any, dict[str, Any] | None]:
    """The state that Ray's autoscaler reports, and what the older one (v1) writes in its place."""
    import ray
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply  # type: ignore[attr-defined]

    client = GcsClient(ray.get_runtime_context().gcs_address)
    reply = GetClusterStatusReply()
    reply.ParseFromString(client.get_cluster_status(timeout_s=5))
    older = client.internal_kv_get(DEBUG_AUTOSCALING_STATUS.encode(), timeout=5)
    return reply.autoscaling_state, json.loads(older) if older else None


def _logs() -> Path | None:
    from ray._private.worker import global_worker

    return Path(global_worker.node.get_logs_dir_path()) if global_worker.node else None


def _cluster() -> Mapping[str, float]:
    import ray

    return dict(ray.cluster_resources())


def _to_stderr(sentence: str) -> None:
    print(f"fsg: {sentence}", file=sys.stderr, flush=True)
