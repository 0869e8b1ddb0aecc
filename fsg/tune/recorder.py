"""The one door to the ledger: a scheduler around the scheduler that writes every event before anyone decides on it.

Ray Tune tells its scheduler about a result first, then its searcher, then its callbacks. Standing around the scheduler, the
recorder is told before all of them, and sees the decision come back: a stop before the last epoch is a pruned trial.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from fsg.study.ledger import Ledger
from fsg.tune.snapshots import NotInSnapshots
from fsg.tune.trainable import CHECKPOINT, FAILED, FINGERPRINT, LAYERS, METRICS, PAUSED


class Recorder(NotInSnapshots, TrialScheduler):
    """Decides nothing: delegates to ``inner`` and appends to the ledger."""

    def __init__(self, ledger: Ledger, inner: TrialScheduler) -> None:
        super().__init__()
        self.ledger = ledger
        self.inner = inner
        self._ended: set[str] = set()

    @property
    def supports_buffered_results(self) -> bool:
        """Never: an epoch is written when it happens."""
        return False

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Pass on."""
        self._metric = metric
        return self.inner.set_search_properties(metric, mode, **spec)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Pass on."""
        self.inner.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Write the epoch, then ask; write the pruning if that is the answer."""
        self._write_epoch(trial, result)
        decision = self.inner.on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            reason = getattr(self.inner, "reason", None) or type(self.inner).__name__
            self._end(trial, "pruned", epoch=result["epoch"], reason=reason)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Write the last epoch and the end, then pass on."""
        reason = result.get(FAILED)
        if reason:
            self._end(trial, "failed", reason=reason)
        elif METRICS in result and trial.config["key"] not in self._ended:
            if result.get(PAUSED):
                self._write_epoch(trial, result, ("paused", {"epoch": result["epoch"]}))
            else:
                self._write_epoch(trial, result, ("finished", {"metrics": json.loads(result[METRICS])}))
                self._ended.add(trial.config["key"])
        self.inner.on_trial_complete(tune_controller, trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Write what Ray knows of the crash, then pass on."""
        self._end(trial, "failed", reason=_crash(trial))
        self.inner.on_trial_error(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Pass on."""
        self.inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any, **options: Any) -> Trial | None:
        """Pass on."""
        return self.inner.choose_trial_to_run(tune_controller, **options)

    def debug_string(self) -> str:
        """The inner scheduler's."""
        return self.inner.debug_string()

    def _write_epoch(self, trial: Trial, result: dict[str, Any], *ends: tuple[str, dict[str, Any]]) -> None:
        """All that a result says, in one append."""
        events: list[tuple[str, dict[str, Any]]] = []
        if FINGERPRINT in result:
            events.append(("fingerprint", json.loads(result[FINGERPRINT])))
        events.append(("epoch", {"metrics": json.loads(result[METRICS])}))
        if result[LAYERS] != "{}":
            events.append(("layers", {"epoch": result["epoch"], "layers": json.loads(result[LAYERS])}))
        events.append(("checkpoint", {"epoch": result["epoch"], "path": result[CHECKPOINT]}))
        key = trial.config["key"]
        self.ledger.append_all((name, {"key": key, **fields}) for name, fields in [*events, *ends])

    def _end(self, trial: Trial, event: str, **fields: Any) -> None:
        key = trial.config["key"]
        if key not in self._ended:
            self._ended.add(key)
            self.ledger.append(event, key=key, **fields)


class StartRecorder(NotInSnapshots, Callback):
    """Writes that a trial has started, on which node and device: a scheduler is not told."""

    def __init__(self, ledger: Ledger, attempts: Mapping[str, int], device: str) -> None:
        self.ledger = ledger
        self.attempts = Counter(attempts)
        self.device = device

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """One more attempt."""
        key = trial.config["key"]
        self.attempts[key] += 1
        node = (trial.get_ray_actor_ip() if hasattr(trial, "get_ray_actor_ip") else None) or "127.0.0.1"
        self.ledger.append("started", key=key, attempt=self.attempts[key], node=node, device=self.device)


def _crash(trial: Trial) -> str:
    """What Ray kept of the error in one line: who ended the worker, or else the last line of the traceback."""
    written = Path(trial.error_file or "")  # beside the driver; trial.get_error() looks where it is copied to later
    text = written.read_text(errors="replace") if written.is_file() else ""
    memory = re.search(r"running low on memory.*? was (\S+) used / (\S+) limit", text, re.DOTALL)
    if memory:
        used = f"{memory[1]} of {memory[2]}"
        return (
            f"crashed: no memory was left ({used} used), so Ray ended it; more --cpus-per-trial runs fewer at a time."
        )
    if "worker process has died" in text:
        return "crashed: its process died: killed from outside, out of memory, or a fault below Python."
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"crashed: {lines[-1] if lines else 'the worker ended without a word'}"
