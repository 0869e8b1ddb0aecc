"""What Ray Tune keeps of us: in its snapshots nothing, and of a trial that has ended next to nothing.

The ledger, the checkpoints and the searcher's journal are the memory. Left alone, Ray holds some 100 kB of every trial until
the run ends: six averages of each metric, the last result, and all of it once more as the JSON of its next snapshot.
Proof: ``tests/ray_engine/test_snapshots.py``, ``benchmarks/soak.py``.
"""

from __future__ import annotations

from typing import Any

from ray import ObjectRef
from ray.tune import Callback
from ray.tune.experiment import Trial


class NotInSnapshots:
    """Pickles as an empty object: locks, files and Optuna studies stay with the driver."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Unrecorded(Trial):
    """One of which Ray's snapshots hold that it was. Ray has no switch for that."""

    def get_json_state(self) -> tuple[str, str]:
        """Nothing."""
        return "{}", "{}"


class Forget(NotInSnapshots, Callback):
    """Has Ray forget a trial once it is over, and everyone has been told; but for the first, which stays as a shell."""

    def __init__(self) -> None:
        self._over: list[Trial] = []

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
            _empty(trial)
            trial.storage = trials[0].storage  # nobody asks where Ray would have put files of this one
            # From Tune's own list, which every step looks through, and which must not be empty.
            if trial in trials[1:]:
                trials.remove(trial)


def _empty(trial: Trial) -> None:
    """Leave what says that the trial was and is over: 2 kB."""
    trial.set_ray_actor(None)
    for name, value in vars(trial).items():
        if isinstance(value, dict):  # configurations
            value.clear()
        elif isinstance(value, ObjectRef):  # an answer of the actor's that nobody fetched
            setattr(trial, name, None)
    trial.experiment_tag, kept = "", trial.run_metadata
    kept.metric_analysis, kept.metric_n_steps, kept.last_result = {}, {}, {"done": True}
