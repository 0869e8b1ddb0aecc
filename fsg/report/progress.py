"""How far a running study is: counted from its ledger's events, shown in place on a terminal and line by line elsewhere."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from statistics import mean
from typing import TYPE_CHECKING, Any, Literal

from fsg.config import digest
from fsg.record.ledger import finite
from fsg.report.plain import add_row, say

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from fsg.record.ledger import StudyState


class Progress:
    """The counts behind the display. ``trials`` and ``epochs`` are what the whole study asks for.

    ``sweep``: the best is a configuration, not an arm. ``budget`` says what is used of it. ``at_most``: further seeds of a
    configuration may be spared, so ``trials`` is the most that can be.
    """

    def __init__(
        self,
        name: str,
        trials: int,
        epochs: int,
        metric: str,
        mode: str,
        sweep: bool = False,
        budget: Callable[[], str] = lambda: "",
        at_most: bool = False,
    ) -> None:
        self.at_most = at_most
        self.name, self.trials, self.epochs_per_trial = name, trials, epochs
        self.metric, self.mode, self.sweep, self.budget = metric, mode, sweep, budget
        self.latest: dict[str, float | None] = {}
        self.ended_here = 0
        self._label_of: dict[str, str] = {}  # a configuration of a sweep -> the key of its first trial
        self.arm_of: dict[str, tuple[str, int]] = {}
        self.running: dict[str, int] = {}
        self._reached: dict[str, int] = {}  # the last epoch of each trial that has not ended
        self.ended: dict[str, str] = {}
        self.values: dict[str, list[float]] = defaultdict(list)
        self.retried = 0  # attempts of this run that were interrupted
        self.epochs_here = 0  # since this run began
        self.stopped: str | None = None  # why no further trial is begun
        self._pace = _Pace()
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def recall(self, state: StudyState) -> None:
        """Count what an earlier run of the study left."""
        self.stopped = state.stopped
        for record in state.trials.values():
            self.arm_of[record.key] = (self._group(record.key, record.arm, record.config), record.seed)
            if record.over:
                self.ended[record.key] = record.status
                if not math.isnan(value := record.final_value(self.metric)):
                    self.values[self.arm_of[record.key][0]].append(value)
            else:
                self._reached[record.key] = max((metrics["epoch"] for metrics in record.epochs), default=0)

    def see(self, event: Mapping[str, Any]) -> None:
        """One event of the ledger."""
        with self._lock:
            key = event.get("key", "")
            self._pace.see(event["event"], key)
            match event["event"]:
                case "planned":
                    self.arm_of[key] = (self._group(key, event["arm"], event.get("config") or {}), event["seed"])
                    self.trials = max(self.trials, len(self.arm_of))  # seeds can be added
                case "started":
                    self.running.setdefault(key, 0)
                case "epoch":
                    self.running[key] = self._reached[key] = event["metrics"]["epoch"]
                    self.latest[key] = event["metrics"].get(self.metric)
                    self.epochs_here += 1
                case "stopped":
                    self.stopped = event["reason"]
                case "paused":
                    self.running.pop(key, None)
                case "retried":
                    self.running.pop(key, None)
                    self.retried += 1
                case "finished" | "pruned" | "failed" as status:
                    self.running.pop(key, None)
                    self._reached.pop(key, None)
                    self.ended[key] = status
                    self.ended_here += 1
                    value = finite(event.get("metrics", {}).get(self.metric))
                    if not math.isnan(value):
                        self.values[self.arm_of[key][0]].append(value)

    @property
    def done(self) -> int:
        """Trials that have ended, however."""
        return len(self.ended)

    def best(self) -> tuple[str, float, int] | None:
        """Best arm or configuration so far: its name, mean of the metric over its finished trials, and how many these are."""
        with self._lock:
            means = {arm: (mean(values), len(values)) for arm, values in self.values.items() if values}
        if not means:
            return None
        arm = (max if self.mode == "max" else min)(means, key=lambda a: means[a][0])
        return arm, *means[arm]

    def seconds_left(self) -> float | None:
        """At the pace of this run so far; None before an epoch that tells it. Early stopping ends a study sooner."""
        with self._lock:
            trials = (len(self.arm_of) if self.stopped else self.trials) - self.done
            left = max(0, trials * self.epochs_per_trial - sum(self._reached.values()))
            each = self._pace.seconds()
            return None if each is None else each * left / max(1, min(self._pace.side_by_side, trials))

    def lines(self, status: str = "") -> list[str]:
        """The display as text: counts and time, what is running, the best arm, the tracking copy."""
        with self._lock:
            counts = {s: sum(v == s for v in self.ended.values()) for s in ("pruned", "failed")}
            counts["retried"] = self.retried
            running = [f"{self._label(key)} {epoch}/{self.epochs_per_trial}" for key, epoch in self.running.items()]
        waiting = max(0, self.trials - self.done - len(running))
        coming = "none to come" if self.stopped else f"{'at most ' * self.at_most}{waiting} left"
        elapsed, left = time.monotonic() - self._began, self.seconds_left()
        ended = "".join(f" · {n} {name}" for name, n in counts.items() if n)
        lines = [
            f"{self.done} of {self.trials} trials done{ended} · {len(running)} running · {coming}",
            f"{clock(elapsed)} elapsed"
            + (f" · about {clock(left)} left" if left is not None else "" if self.epochs_here else " · starting"),
            "running: " + (", ".join(running) or "nothing yet"),
        ]
        best = self.best()
        if best:
            arm, value, n = best
            if self.sweep:
                lines.append(f"best so far: {arm} {value:.2f} (n = {n})")
            elif len(self.values) > 1:
                lines.append(f"best arm so far: {arm} {value:.2f} (n = {n})")
            else:
                lines.append(f"mean {self.metric} so far: {value:.2f} (n = {n})")
        budget = self.budget()
        lines += [f"used: {budget}"] if budget else []
        return [*lines, status] if status else lines

    def throughput(self) -> str:
        """Trials that ended and epochs per minute of this run."""
        minutes = (time.monotonic() - self._began) / 60
        if not self.epochs_here or minutes <= 0:
            return ""
        return f"{self.ended_here / minutes:.3g} trials and {self.epochs_here / minutes:.3g} epochs a minute"

    def table(self) -> list[tuple[str, str, str]]:
        """Of each running trial: which, how far, and its newest value."""
        with self._lock:
            return [
                (self._label(key), f"{epoch}/{self.epochs_per_trial}", _shown(self.latest.get(key)))
                for key, epoch in self.running.items()
            ]

    def summary(self) -> dict[str, Any]:
        """The counts as data, for a script."""
        with self._lock:
            counts = {s: sum(v == s for v in self.ended.values()) for s in ("finished", "pruned", "failed")}
            running = len(self.running)
        best = self.best()
        return {
            "done": self.done,
            "trials": self.trials,
            **counts,
            "running": running,
            "stopped": self.stopped,
            "best": {"name": best[0], self.metric: best[1], "n": best[2]} if best else None,
            "elapsed_s": round(time.monotonic() - self._began, 1),
        }

    def _group(self, key: str, arm: str, config: Mapping[str, Any]) -> str:
        """What a trial is a seed of: its arm, or in a sweep the first trial of its configuration."""
        return self._label_of.setdefault(digest({**config, "seed": 0}), key) if self.sweep else arm

    def _label(self, key: str) -> str:
        arm, seed = self.arm_of.get(key, (key, 0))
        return f"{arm}/{seed}"


class _Pace:
    """How long an epoch takes, without those that a new worker process began with: imports and numba's compilation, 8 s or so
    for 0.1 s of training, would be counted for every epoch to come.

    A trial that starts after another has left its worker takes that worker over, so its first epoch counts; one that is tried
    again gets a new process.
    """

    def __init__(self) -> None:
        self.side_by_side = 0  # the most trials that ran at once
        self._since: dict[str, float] = {}  # of what runs: its start, or its last epoch's end
        self._new: set[str] = set()  # of these, in a process that has not trained yet
        self._left = False  # whether any trial has left its worker
        self._interrupted: set[str] = set()
        self._sum, self._count = 0.0, 0

    def see(self, event: str, key: str) -> None:
        now = time.monotonic()
        match event:
            case "started":
                self._since[key] = now
                self.side_by_side = max(self.side_by_side, len(self._since))
                if not self._left or key in self._interrupted:
                    self._new.add(key)
            case "epoch":
                if key not in self._new and key in self._since:
                    self._sum, self._count = self._sum + now - self._since[key], self._count + 1
                self._new.discard(key)
                self._since[key] = now
            case "retried":
                self._since.pop(key, None)
                self._interrupted.add(key)
            case "paused" | "finished" | "pruned" | "failed":
                self._since.pop(key, None)
                self._interrupted.discard(key)
                self._left = True

    def seconds(self) -> float | None:
        """Of one epoch on one worker; None where only first ones were seen."""
        return self._sum / self._count if self._count else None


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


Output = Literal["text", "quiet", "json"]


class Display:
    """Shows a Progress while it runs: redrawn in place on a terminal, else one line whenever a trial ends.

    ``quiet`` shows nothing; ``json`` prints an object a line, whenever a trial starts or ends.
    """

    def __init__(
        self, progress: Progress, console: Console, status: Callable[[], str], output: Output = "text"
    ) -> None:
        self.progress, self.console, self.status, self.output = progress, console, status, output
        self._live: Any = None

    def __enter__(self) -> Display:
        if self.console.is_terminal and self.output == "text":
            from rich.live import Live

            self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=2, transient=True)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def see(self, event: dict[str, Any]) -> None:
        """One event of the ledger."""
        self.progress.see(event)
        if self.output == "json" and event["event"] in ("started", "finished", "pruned", "failed", "stopped"):
            self.say(event["event"], **_about(event, self.progress), **self.progress.summary())
        if self.output != "text":
            return
        if self._live is None and event["event"] in ("finished", "pruned", "failed"):
            first, second, *_ = self.progress.lines()
            say(self.console, f"{first} · {second}")
        if event["event"] == "retried":
            arm = "/".join(map(str, self.progress.arm_of.get(event["key"], (event["key"],))))
            self._warn(f"{arm}: {event['reason']} It goes on from its checkpoint.")
        elif event["event"] == "stopped":
            self._warn(f"No further trial is begun: {event['reason']}.")
        elif event["event"] == "damaged":
            self._warn(event["detail"])

    def _warn(self, text: str) -> None:
        say(self.console, text, "yellow")

    def say(self, event: str, **fields: Any) -> None:
        """One JSON object on a line of its own; nothing unless that was asked for."""
        if self.output == "json":
            print(json.dumps({"event": event, "study": self.progress.name, **fields}), flush=True)

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        first, time_line, _, *rest = self.progress.lines(self.status())
        running = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("running", "epoch", self.progress.metric):
            running.add_column(name, justify="left" if name == "running" else "right")
        for row in self.progress.table():
            add_row(running, *row)
        pace = " · ".join(filter(None, (time_line, self.progress.throughput())))
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(self.progress.name, style="bold"),
            ProgressBar(total=self.progress.trials, completed=self.progress.done, width=30),
            Text(first),
        )
        below = (Text(line, style="dim", overflow="ellipsis", no_wrap=True) for line in (pace, *rest))
        return Group(head, *([running] if running.row_count else []), *below)


def _about(event: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Which trial an event is of, its value if it has one, and why it ended."""
    key = event.get("key")
    arm, seed = progress.arm_of.get(key or "", (None, None))
    value = (event.get("metrics") or {}).get(progress.metric)
    found = {"key": key, "arm": arm, "seed": seed, progress.metric: value, "reason": event.get("reason")}
    return {name: value for name, value in found.items() if value is not None}


def clock(seconds: float) -> str:
    """``1:05:09`` or ``4:09``."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
