"""How far a running study is: counted from its ledger's events, shown in place on a terminal and line by line elsewhere."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from statistics import mean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from fsg.study.ledger import StudyState


class Progress:
    """The counts behind the display. ``trials`` and ``epochs`` are what the whole study asks for."""

    def __init__(self, name: str, trials: int, epochs: int, metric: str, mode: str) -> None:
        self.name, self.trials, self.epochs_per_trial = name, trials, epochs
        self.metric, self.mode = metric, mode
        self.arm_of: dict[str, tuple[str, int]] = {}
        self.running: dict[str, int] = {}
        self.ended: dict[str, str] = {}
        self.values: dict[str, list[float]] = defaultdict(list)
        self.epochs_here = 0  # since this run began, for the time left
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def recall(self, state: StudyState) -> None:
        """Count what an earlier run of the study left."""
        for record in state.trials.values():
            self.arm_of[record.key] = (record.arm, record.seed)
            if record.status in ("finished", "pruned", "failed"):
                self.ended[record.key] = record.status
                if record.final and record.final.get(self.metric) is not None:
                    self.values[record.arm].append(record.final[self.metric])

    def see(self, event: Mapping[str, Any]) -> None:
        """One event of the ledger."""
        with self._lock:
            key = event.get("key", "")
            match event["event"]:
                case "planned":
                    self.arm_of[key] = (event["arm"], event["seed"])
                    self.trials = max(self.trials, len(self.arm_of))  # seeds can be added
                case "started":
                    self.running.setdefault(key, 0)
                case "epoch":
                    self.running[key] = event["metrics"]["epoch"]
                    self.epochs_here += 1
                case "finished" | "pruned" | "failed" as status:
                    self.running.pop(key, None)
                    self.ended[key] = status
                    value = event.get("metrics", {}).get(self.metric)
                    if value is not None:
                        self.values[self.arm_of[key][0]].append(value)

    @property
    def done(self) -> int:
        """Trials that have ended, however."""
        return len(self.ended)

    def best(self) -> tuple[str, float, int] | None:
        """Best arm so far: its name, mean of the metric over its finished trials, and how many these are."""
        with self._lock:
            means = {arm: (mean(values), len(values)) for arm, values in self.values.items() if values}
        if not means:
            return None
        arm = (max if self.mode == "max" else min)(means, key=lambda a: means[a][0])
        return arm, *means[arm]

    def seconds_left(self) -> float | None:
        """At the pace of this run so far; None before its first epoch. Early stopping ends a study sooner."""
        if not self.epochs_here:
            return None
        with self._lock:
            left = (self.trials - self.done) * self.epochs_per_trial - sum(self.running.values())
        return (time.monotonic() - self._began) * max(0, left) / self.epochs_here

    def lines(self, status: str = "") -> list[str]:
        """The display as text: counts and time, what is running, the best arm, the tracking copy."""
        with self._lock:
            counts = {s: sum(v == s for v in self.ended.values()) for s in ("pruned", "failed")}
            running = [f"{self._label(key)} {epoch}/{self.epochs_per_trial}" for key, epoch in self.running.items()]
        waiting = max(0, self.trials - self.done - len(running))
        elapsed, left = time.monotonic() - self._began, self.seconds_left()
        ended = "".join(f" · {n} {name}" for name, n in counts.items() if n)
        lines = [
            f"{self.done} of {self.trials} trials done{ended} · {len(running)} running · {waiting} left",
            f"{clock(elapsed)} elapsed · " + (f"about {clock(left)} left" if left is not None else "starting"),
            "running: " + (", ".join(running) or "nothing yet"),
        ]
        best = self.best()
        if best:
            arm, value, n = best
            what = "best arm so far" if len(self.values) > 1 else f"mean {self.metric} so far"
            lines.append(
                f"{what}: {arm} {value:.2f} (n = {n})" if len(self.values) > 1 else f"{what}: {value:.2f} (n = {n})"
            )
        return [*lines, status] if status else lines

    def _label(self, key: str) -> str:
        arm, seed = self.arm_of.get(key, (key, 0))
        return f"{arm}/{seed}"


class Display:
    """Shows a Progress while it runs: redrawn in place on a terminal, else one line whenever a trial ends."""

    def __init__(self, progress: Progress, console: Console, status: Callable[[], str]) -> None:
        self.progress, self.console, self.status = progress, console, status
        self._live: Any = None

    def __enter__(self) -> Display:
        if self.console.is_terminal:
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
        if self._live is None and event["event"] in ("finished", "pruned", "failed"):
            first, second, *_ = self.progress.lines()
            self.console.print(f"{first} · {second}", highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        first, *rest = self.progress.lines(self.status())
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(self.progress.name, style="bold"),
            ProgressBar(total=self.progress.trials, completed=self.progress.done, width=30),
            Text(first),
        )
        return Group(head, *(Text(line, style="dim", overflow="ellipsis", no_wrap=True) for line in rest))


def clock(seconds: float) -> str:
    """``1:05:09`` or ``4:09``."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
