"""What Ray Tune keeps of us: in its snapshots nothing, and of a trial that has ended next to nothing.

The ledger, the checkpoints and the searcher's journal are the memory. Left alone, Ray holds some 100 kB of every trial until
the run ends: six averages of each metric, the last result, and all of it once more as the JSON of its next snapshot.
Proof: ``tests/tune/test_snapshots.py``, ``benchmarks/soak.py``.
"""

from __future__ import annotations

from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial


class NotInSnapshots:
    """Pickles as an empty object: locks, files and Optuna studies stay with the driver."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _nothing() -> tuple[str, str]:
    return "{}", "{}"


class Forget(NotInSnapshots, Callback):
    """Empties what Ray keeps of a trial once it is over, and everyone has been told."""

    def __init__(self) -> None:
        self._over: list[Trial] = []

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Ray's snapshots shall hold of it that it was. Ray has no switch for that, hence the ignored type."""
        trial.get_json_state = _nothing  # type: ignore[method-assign]

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Over, but Ray is not done with it before the step's end."""
        self._over.append(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """As one that is complete."""
        self._over.append(trial)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Let go of those that Ray has finished with."""
        for trial in [trial for trial in self._over if trial.is_finished()]:
            self._over.remove(trial)
            trial.config, trial.evaluated_params, kept = {}, {}, trial.run_metadata
            kept.metric_analysis, kept.metric_n_steps, kept.last_result = {}, {}, {"done": True}
