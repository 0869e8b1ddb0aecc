"""What Ray keeps of our trials: nothing in its snapshots, and in the driver nothing of one that is over."""

import json

from ray.tune.experiment import Trial

from fsg.ray_engine.snapshots import Forget


def ray_trial():
    return Trial("FsgTrainable", stub=True, config={"key": "a"}, evaluated_params={"key": "a"})


def test_rays_snapshots_hold_nothing_of_a_study(twin):
    study, _ = twin
    (snapshot,) = study.folder.ray.rglob("experiment_state*.json")
    trials = json.loads(snapshot.read_text())["trial_data"]
    assert trials and all(trial == ["{}", "{}"] for trial in trials)


def test_no_trial_is_saved_a_second_time_at_its_end(twin):
    """Ray makes a folder for a checkpoint at a trial's end unless it is told not to; the study has its own."""
    study, _ = twin
    assert not list(study.folder.ray.rglob("checkpoint_*"))


def test_a_trial_that_is_over_is_emptied_at_the_end_of_the_step_and_not_before():
    """Everyone who is told of its end may still read it."""
    forget, trials = Forget(), [ray_trial(), ray_trial()]
    running, over = trials
    for trial in trials:
        forget.on_trial_start(0, [], trial)
        trial.update_last_result({"val_accuracy": 0.5, "training_iteration": 1})
    forget.on_trial_complete(0, [], over)
    forget.on_step_end(0, trials)
    assert over.last_result["val_accuracy"] == 0.5, "Ray has not ended it yet"

    over.set_status(Trial.TERMINATED)
    forget.on_step_end(0, trials)
    assert not over.metric_analysis and not over.metric_n_steps and "val_accuracy" not in over.last_result
    assert not over.config and not over.evaluated_params
    assert running.metric_analysis["val_accuracy"]["last"] == 0.5 and running.config == {"key": "a"}
    assert trials == [running], "Tune would look through it at every step"


def test_the_first_trial_stays_as_tune_ends_with_none_otherwise():
    forget, trials = Forget(), [ray_trial(), ray_trial()]
    kept = trials[0]
    for trial in (*trials,):
        trial.set_status(Trial.TERMINATED)
        forget.on_trial_complete(0, [], trial)
    forget.on_step_end(0, trials)
    assert trials == [kept] and not kept.config


def test_a_trial_that_failed_is_forgotten_too():
    forget, trial = Forget(), ray_trial()
    forget.on_trial_error(0, [], trial)
    trial.set_status(Trial.ERROR)
    forget.on_step_end(0, [trial])
    assert not trial.config
