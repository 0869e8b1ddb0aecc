"""What MLflow should hold, as a function of the ledger's events: study run > arm run > seed run. Pure; no mlflow here.

A run's *identity* is (level, key) with key the study's id, the arm's name or the trial's key. Metric points only ever
get appended, with times from the ledger, so a copy made live and a copy made afterwards are the same. An epoch that ran
again after a restart is a second point of that step; the newer one is what MLflow shows. A sweep has no arms: study >
trial. Proof: ``tests/tracking/test_runs.py``.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fsg.errors import StudyError
from fsg.metrics import meaning

Identity = tuple[str, str]
NOTE = "mlflow.note.content"  # the tag that MLflow shows as a run's or an experiment's description
OVER = {"finished": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}


class Point(NamedTuple):
    """One metric value. ``time_ms`` is the ledger's, ``step`` the epoch (from 1)."""

    name: str
    value: float
    time_ms: int
    step: int


@dataclass
class Run:
    """One run as MLflow should show it. ``points`` still to be written follow the ``written`` ones."""

    identity: Identity
    name: str
    parent: Identity | None
    start_ms: int
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    written: int = 0
    state: str = "running"
    status: str = "RUNNING"
    end_ms: int | None = None
    last_ms: int = 0
    last_epoch: dict[str, Any] = field(default_factory=dict)


class Plan(NamedTuple):
    """What is kept of a planned trial; ``params`` is its whole configuration."""

    arm: str | None
    seed: int | None
    params: dict[str, str]


@dataclass
class Tally:
    """How many trials of a study or arm are planned, over, and over by failure; when the last one ended."""

    planned: int = 0
    over: int = 0
    failed: int = 0
    end_ms: int = 0


class StudyRuns:
    """Folds events into runs. ``changed`` names the runs touched since the caller last cleared it."""

    def __init__(self, header: Mapping[str, Any]) -> None:
        missing = [name for name in ("study_id", "name") if not header.get(name)]
        if missing:
            raise StudyError(
                f"The ledger's first line has no {' and no '.join(missing)}. It must be the study's header: "
                "restore the ledger, or start the study again under another name."
            )
        self.study_id, self.name = str(header["study_id"]), str(header["name"])
        self.is_sweep = header.get("kind") == "sweep"
        self.root: Identity = ("study", self.study_id)
        self.runs: dict[Identity, Run] = {}
        self.changed: set[Identity] = set()
        self.last_ms = _ms(header.get("time", 0.0))
        self._planned: dict[str, Plan] = {}
        self._forgotten: set[str] = set()
        self._values: defaultdict[str, set[str]] = defaultdict(set)
        self._tallies: defaultdict[Identity, Tally] = defaultdict(Tally)
        versions = {f"fsg.version.{name}": str(version) for name, version in (header.get("versions") or {}).items()}
        commit = header.get("git_commit")
        about = {"fsg.kind": str(header.get("kind", "ablation")), "fsg.spec_digest": str(header.get("spec_digest", ""))}
        self._common = {
            "fsg.study": self.name,
            "fsg.study_id": self.study_id,
            "mlflow.source.name": "fsg",
            **({"fsg.git_commit": str(commit), "mlflow.source.git.commit": str(commit)} if commit else {}),
            **versions,
        }
        self._open(self.root, self.name, None, self.last_ms, about)

    def fold(self, event: Mapping[str, Any]) -> None:
        """Take in the next event. Each is to be given once: what is held grows with the trials, not with their epochs."""
        kind, key = str(event["event"]), str(event.get("key", ""))
        now = _ms(event["time"])
        self.last_ms = max(self.last_ms, now)
        if kind == "planned":
            self._plan(key, event)
        elif kind in ("started", "device", "epoch", "exploited", *OVER) and key not in self._forgotten:
            run = self._trial(key, now)
            if run.state == "finished":
                return
            self.changed.add(run.identity)
            # Of one step MLflow shows the latest point, and of one millisecond the largest: what comes later gets a later time.
            now = run.last_ms = max(now, run.last_ms + 1)
            if kind == "started":
                self._start(run, event)
            elif kind == "device":
                run.tags["fsg.device"] = str(event["device"])
            elif kind == "epoch":
                self._epoch(run, event, now)
            elif kind == "exploited":
                self._exploit(run, event, now)
            else:
                self._end(run, event, now)

    def forget(self, run: Run) -> bool:
        """Let go of a finished trial, of which nothing more is to be written; True if it is one."""
        level, key = run.identity
        if level != "seed" or run.state != "finished":
            return False
        self._forgotten.add(key)
        self._planned[key] = self._planned[key]._replace(params={})
        del self.runs[run.identity]
        return True

    @property
    def arms(self) -> list[str]:
        """The arms that trials are planned of; one has a run once a trial of it has begun."""
        return [key for level, key in self._tallies if level == "arm"]

    @property
    def shared(self) -> dict[str, str]:
        """Dotted parameters that all planned trials have alike, with their value."""
        return {name: value for name, seen in self._values.items() if len(seen) == 1 for value in seen}

    @property
    def varied(self) -> list[str]:
        """Dotted parameters that differ between planned trials, ``seed`` left out: a sweep's columns."""
        return sorted(name for name, seen in self._values.items() if len(seen) > 1 and name not in ("seed", "device"))

    def _plan(self, key: str, event: Mapping[str, Any]) -> None:
        if key in self._planned:
            return
        plan = self._planned[key] = Plan(event.get("arm"), event.get("seed"), flat(event["config"]))
        for name, value in plan.params.items():
            self._values[name].add(value)
        for identity in self._ancestors(plan):
            self._tallies[identity].planned += 1
            self._settle(identity)

    def _ancestors(self, plan: Plan) -> list[Identity]:
        return [self.root] if self.is_sweep or not plan.arm else [self.root, ("arm", plan.arm)]

    def _trial(self, key: str, now: int) -> Run:
        """The run of a trial, made with its arm's run when its first event comes."""
        identity: Identity = ("seed", key)
        if identity in self.runs:
            return self.runs[identity]
        plan = self._planned.get(key)
        if plan is None:
            raise StudyError(
                f"Trial {key} has events but was never planned: the ledger's beginning is missing. Export it whole."
            )
        arm, seed = plan.arm, plan.seed
        params = {name: value for name, value in plan.params.items() if name != "device"}
        for parent in self._ancestors(plan)[1:]:
            if parent not in self.runs:
                self._open(parent, str(arm), self.root, now, {"fsg.arm": str(arm)})
                self.runs[parent].params = {name: v for name, v in params.items() if name != "seed"}
        name = f"{arm}/seed{seed}" if arm and not self.is_sweep else str(arm or f"trial-{key[:8]}")
        tags = {"fsg.trial_key": key, "fsg.seed": str(seed), **({"fsg.arm": str(arm)} if arm else {})}
        self._open(identity, name, self._ancestors(plan)[-1], now, tags)
        self.runs[identity].params = params
        return self.runs[identity]

    def _open(self, identity: Identity, name: str, parent: Identity | None, now: int, tags: dict[str, str]) -> None:
        tags = {"fsg.level": identity[0], **self._common, **tags}
        self.runs[identity] = Run(identity, name, parent, now, tags)
        self.changed.add(identity)

    def _start(self, run: Run, event: Mapping[str, Any]) -> None:
        about = {"fsg.attempts": event.get("attempt"), "fsg.node": event.get("node"), "fsg.device": event.get("device")}
        run.tags.update({name: str(value) for name, value in about.items() if value is not None})
        run.tags.pop("fsg.reason", None)
        self._turn(run, "running", None)

    def _epoch(self, run: Run, event: Mapping[str, Any], now: int) -> None:
        metrics = _metrics(event)
        run.last_epoch = dict(metrics)
        run.points += points(metrics, now, int(metrics["epoch"]))

    def _exploit(self, run: Run, event: Mapping[str, Any], now: int) -> None:
        """What a population changed: numbers as metrics ``schedule.<path>``, the whole as a tag; params stay the first."""
        epoch, values = int(event["epoch"]), event["values"]
        told = json.loads(run.tags.get("fsg.schedule", "[]"))
        told = [change for change in told if change["epoch"] != epoch]
        if not told:
            first = {path: _number(run.params.get(path)) for path in values}
            run.points += points({f"schedule.{path}": value for path, value in first.items()}, run.start_ms, 0)
        told.append({"epoch": epoch, "donor": event["donor"], "values": values})
        run.tags["fsg.schedule"] = json.dumps(told, sort_keys=True)
        run.points += points({f"schedule.{path}": value for path, value in values.items()}, now, epoch)

    def _end(self, run: Run, event: Mapping[str, Any], now: int) -> None:
        kind = str(event["event"])
        if event.get("reason"):
            run.tags["fsg.reason"] = str(event["reason"])
        metrics = _metrics(event)
        new = {name: value for name, value in metrics.items() if run.last_epoch.get(name) != value}
        run.points += points(new, now, int(metrics.get("epoch") or run.last_epoch.get("epoch") or 0))
        reported = points({**run.last_epoch, **metrics}, now, 0)
        run.tags[NOTE] = described({point.name: meaning(point.name) for point in reported})
        run.last_epoch = {}
        self._turn(run, kind, now)

    def _turn(self, run: Run, state: str, end_ms: int | None) -> None:
        """Move a trial to ``state`` and keep count in its study and arm."""
        for identity in self._ancestors(self._planned[run.identity[1]]):
            tally = self._tallies[identity]
            tally.over += (end_ms is not None) - (run.end_ms is not None)
            tally.failed += (state == "failed") - (run.state == "failed")
            tally.end_ms = max(tally.end_ms, end_ms or 0)
        run.state, run.status, run.end_ms = state, OVER.get(state, "RUNNING"), end_ms
        for identity in self._ancestors(self._planned[run.identity[1]]):
            self._settle(identity)

    def _settle(self, identity: Identity) -> None:
        """A study or arm is over when every planned trial of it is, and has failed when all of them have."""
        run, tally = self.runs.get(identity), self._tallies[identity]
        if run is None:
            return
        before = run.state, run.end_ms
        if tally.over < tally.planned:
            run.state, run.status, run.end_ms = "running", "RUNNING", None
        elif tally.failed == tally.planned:
            run.state, run.status, run.end_ms = "failed", "FAILED", tally.end_ms
        else:
            run.state, run.status, run.end_ms = "finished", "FINISHED", tally.end_ms
        if (run.state, run.end_ms) != before:
            self.changed.add(identity)


def described(meanings: Mapping[str, str]) -> str:
    """What each metric of a run is, as markdown; "" for none."""
    return "\n".join(f"- `{name}`: {what}" for name, what in meanings.items())


def points(metrics: Mapping[str, Any], time_ms: int, step: int) -> list[Point]:
    """The finite numbers among ``metrics``; ``epoch`` is the step and no metric of its own."""
    return [
        Point(name, float(value), time_ms, step)
        for name, value in metrics.items()
        if name != "epoch" and isinstance(value, int | float) and math.isfinite(value)
    ]


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """``{"a": {"b": 1}}`` as ``{"a.b": "1"}``; equal texts are one, as trials differ in little (2 kB of 8 kB each)."""
    leaves: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= flat(value, f"{prefix}{name}.")
        else:
            leaves[sys.intern(f"{prefix}{name}")] = sys.intern(str(value)[:6000])
    return leaves


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _metrics(event: Mapping[str, Any]) -> Mapping[str, Any]:
    return event.get("metrics") or {}


def _ms(time: float) -> int:
    return round(time * 1000)
