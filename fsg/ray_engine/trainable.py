"""A trial as Ray Tune sees it: one Tune iteration is one epoch, actors are reused from trial to trial.

A trial that diverges ends as an ordinary result that says so: the reason arrives whole and the actor lives on. Any other
end is an exception that names its cause, and the process is not used again. SIGTERM, as a machine sends it that is about
to be taken away, makes the trial save its state after the step under way and hand itself back.
Proof: ``tests/ray_engine/test_trainable.py``.
"""

from __future__ import annotations

from typing import Any

from ray import tune

from fsg.execution.process import Leaving
from fsg.execution.reports import ASSIGNMENT, as_result
from fsg.execution.retry import as_ended
from fsg.execution.trial_run import TrialRun
from fsg.ray_engine.worker import follow_raylet


class FsgTrainable(tune.Trainable):
    """Runs one trial. A member of a population is one of Ray's trials from each pause to the next."""

    def setup(self, config: dict[str, Any]) -> None:
        """Remember the trial. ``config`` holds its assignment."""
        if not hasattr(self, "leaving"):  # one for all trials of this process
            self.leaving = Leaving()
            follow_raylet(self.leaving)
        given = self.trial_resources.required_resources if self.trial_resources else {}
        self.run = TrialRun(config[ASSIGNMENT], given.get("CPU", 1), given.get("GPU", 0), self.leaving)

    def step(self) -> dict[str, Any]:
        """One epoch."""
        with self.leaving:
            try:
                return as_result(self.run.epoch())
            except Exception as error:
                raise as_ended(error) from error

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in this process."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Leave nothing open."""
        self.run.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: checkpoints are the study's own."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: the trial loads the study's own."""
