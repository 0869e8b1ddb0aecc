#!/usr/bin/env bash
# In Optuna a completed trial that no constraint was set for counts as feasible, in the result and in the search.
#
# Date: 2026-11-28
# Packages: optuna 5.0.0
# Guess: in a study whose trials have constraints, a completed trial without any is unknown: best_trial passes over
#   it, or at least says so.
# Seen: best_trial takes it for feasible and, if its value is good, returns it; trials that are known to break the
#   constraint are left out at the same time. TPE, too, ranks it among the feasible ones: told again and again that
#   such a point is good, it proposes mostly infeasible points. A constraint that is set twice keeps its first value.
# Means: whoever tells Optuna a result that was measured before (a repeated point, an import from another study, a
#   retry) must set its constraints again, or the search comes back with a configuration that breaks them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'optuna==5.0.0'
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys
import warnings

import optuna

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
print(f"optuna {optuna.__version__}")
SPACE = {"x": optuna.distributions.FloatDistribution(0, 1)}


def search(with_constraints):
    """20 trials, larger x being better and above 0.5 forbidden; the same once more; then 40 that TPE proposes."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    points = [(7 * n % 20) / 20 + 0.01 for n in range(20)]
    for repeat in (False, True):
        for x in points:
            known = {"x <= 0.5": x - 0.5} if with_constraints or not repeat else None
            trial = optuna.trial.create_trial(params={"x": x}, distributions=SPACE, value=x, constraints=known)
            study.add_trial(trial)
    best = study.best_trial
    proposed = []
    for _ in range(40):
        trial = study.ask(SPACE)
        x = trial.params["x"]
        trial.set_constraint("x <= 0.5", x - 0.5)
        proposed.append(x)
        study.tell(trial, x)
    return best, sum(x > 0.5 for x in proposed)


best, broken = search(with_constraints=True)
careless_best, careless_broken = search(with_constraints=False)
print(f"repeats with their constraints:    best x {best.params['x']:.2f}, {broken} of 40 proposals break it")
print(f"repeats without their constraints: best x {careless_best.params['x']:.2f}, {careless_broken} of 40")
if not (best.params["x"] <= 0.5 < careless_best.params["x"] and careless_broken > 2 * broken):
    sys.exit("changed: a completed trial without constraints is no longer taken for feasible.")
PY
