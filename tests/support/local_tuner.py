"""Trains in this process where Ray Tune would have workers: the same calls, in the same order, with the same errors.

One trial at a time. What is imitated of Ray 2.60 (tune/execution/tune_controller.py): who is told of a result, and when; that
an exception in a scheduler's or searcher's hand when a trial ends becomes that trial's failure, of which the scheduler is
told next; and that any other, while a result is looked at, ends the run as a TuneError that holds its traceback as text.
"""

import itertools
import traceback
from pathlib import Path

from fsg.tune.recorder import StartRecorder
from fsg.tune.watch import Watch
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher


class LocalTrial:
    """What the study's own parts ask of a trial of Ray's."""

    numbers = itertools.count()

    def __init__(self, trial_id, config, folder):
        self.trial_id, self.config, self.status, self.last_result = trial_id, config, Trial.PENDING, {}
        self.error_file = str(folder / f"{trial_id}.error.txt")

    @property
    def __class__(self):
        """May be set, as the study does for Ray's snapshots; there are none here."""
        return LocalTrial

    @__class__.setter
    def __class__(self, other):
        pass

    def get_ray_actor_ip(self):
        return "127.0.0.1"


class LocalTuner:
    """``fit`` runs a searcher's trials to their end. ``errors`` is where Ray's text of a trial's error lies."""

    errors: Path

    def __init__(self, trainable, tune_config, run_config):
        self.trainable, self.searcher, self.scheduler = trainable, tune_config.search_alg, tune_config.scheduler
        # The others empty Ray's own trials, and ask whether Ray's processes live.
        self.callbacks = [one for one in run_config.callbacks if isinstance(one, StartRecorder | Watch)]
        self.worker, self.trial, self.trials, self.finished = None, None, [], False

    def fit(self):
        self.scheduler.set_search_properties(None, None)
        for iteration in itertools.count():
            self._tell("on_step_begin")
            if self.trial is None:
                self._next(iteration)
            if self.trial is None and self.finished:
                return
            if self.trial is not None:
                self._train()
            self._tell("on_step_end")

    def _tell(self, what, **about):
        for callback in self.callbacks:
            getattr(callback, what)(iteration=0, trials=self.trials, **about)

    def _next(self, number):
        trial_id = f"trial{number}"
        config = self.searcher.suggest(trial_id)
        if config == Searcher.FINISHED:
            self.finished = True
        elif config is not None:
            self.trial = LocalTrial(trial_id, config, self.errors)
            self.trials = [self.trial]
            self.scheduler.on_trial_add(None, self.trial)
            self._start()

    def _start(self):
        """A worker that is there is used again, as Ray's are; one that failed is not."""
        if self.worker is None:
            self.worker = self.trainable(dict(self.trial.config))
        else:
            self.worker.reset_config(dict(self.trial.config))
        self._tell("on_trial_start", trial=self.trial)
        self.trial.status = Trial.RUNNING

    def _train(self):
        try:
            result = self.worker.step()
        except Exception as error:
            self.worker = None
            self._handed(self._failed, error)
        else:
            self._handed(self._heard, result)

    def _handed(self, handler, about):
        try:
            handler(about)
        except Exception:
            raise TuneError(traceback.format_exc())  # noqa: B904 - as Ray does, and so its context is there

    def _heard(self, result):
        trial = self.trial
        decision = TrialScheduler.STOP if result["done"] else self.scheduler.on_trial_result(None, trial, result)
        if decision == TrialScheduler.STOP:
            result = result | {"done": True}
        else:
            self.searcher.on_trial_result(trial.trial_id, result)
        self._tell("on_trial_result", trial=trial, result=result)
        trial.last_result = result
        if decision == TrialScheduler.STOP:
            self._stop(result)

    def _stop(self, result):
        try:
            self.scheduler.on_trial_complete(None, self.trial, result)
            self.searcher.on_trial_complete(self.trial.trial_id, result=result)
            self._tell("on_trial_complete", trial=self.trial)
            self.trial.status, self.trial = Trial.TERMINATED, None
        except Exception as error:
            self._failed(error)

    def _failed(self, error):
        trial, self.trial = self.trial, None
        text = "".join(traceback.format_exception(error))
        with Path(trial.error_file).open("a") as file:
            file.write(f"Failure # 1\n{text}\n")
        self.scheduler.on_trial_error(None, trial)
        self.searcher.on_trial_complete(trial.trial_id, error=True)
        trial.status = Trial.ERROR
        self._tell("on_trial_error", trial=trial)
