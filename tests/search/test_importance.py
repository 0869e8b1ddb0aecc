"""PED-ANOVA, against the evaluator of Optuna that it is a twin of."""

import math
import random

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from fsg.search.importance import Cells, density, ped_anova
from fsg.search.insights import cells

DISTRIBUTIONS = {
    "range": FloatDistribution(-1.0, 3.0),
    "decades": FloatDistribution(1e-5, 1e-1, log=True),
    "steps": FloatDistribution(0.0, 1.0, step=0.1),
    "fine steps": FloatDistribution(0.0, 1.0, step=0.001),
    "whole": IntDistribution(1, 8),
    "many whole": IntDistribution(0, 1000),
    "whole decades": IntDistribution(2, 4096, log=True),
    "choice": CategoricalDistribution(["a", None, 3]),
    "one choice": CategoricalDistribution(["alone"]),
}


@pytest.mark.parametrize("count", [16, 40, 300])
def test_the_shares_are_those_of_optuna(count):
    sampler = optuna.samplers.RandomSampler(seed=count)
    study = optuna.create_study(sampler=sampler)
    for _ in range(count):
        trial = study.ask(DISTRIBUTIONS)
        whole = trial.params["whole"] + 2 * math.log10(trial.params["decades"]) + (trial.params["choice"] == "a")
        study.tell(trial, whole + random.Random(trial.number).random())
    trials = study.get_trials(deepcopy=False)
    target = count // 4
    evaluator = PedAnovaImportanceEvaluator(target_quantile=(target - 0.5) / count)
    expected = get_param_importances(study, evaluator=evaluator, params=list(DISTRIBUTIONS))
    values = np.array([trial.value for trial in trials])
    best = values <= np.sort(values)[target - 1]
    of = {name: cells(d, [trial.params[name] for trial in trials]) for name, d in DISTRIBUTIONS.items()}
    found = ped_anova(of, best)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert list(found) == sorted(found, key=found.__getitem__, reverse=True)


def test_values_that_all_lie_in_one_cell_are_a_hump_over_it():
    grid = Cells(np.full(12, 3), 9, ordered=True)
    found = density(grid.cells, grid)
    assert found.sum() == pytest.approx(1)
    assert found.argmax() == 3 and found[2] == pytest.approx(found[4], rel=0.1)


def test_parameters_that_tell_nothing_share_alike():
    alone = Cells(np.zeros(6, dtype=np.intp), 1, ordered=False)
    assert ped_anova({"a": alone, "b": alone}, np.arange(6) < 2) == {"a": 0.5, "b": 0.5}
