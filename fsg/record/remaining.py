"""The trials that a study has left to run, by its ledger; of sequential seeds, whether another is added.

When to stop is decided outside, by intervals that account for every look. Proof: ``tests/study/test_seeds.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from fsg.record.ledger import StudyState
from fsg.study.plan import PlannedTrial
from fsg.study.seeds import SequentialSeeds
from fsg.study.spec import AblationSpec

# Whether paired differences are known well enough: (differences of one contrast, half width asked for) -> yes or no.
Enough = Callable[[Sequence[float], float], bool]


def next_seeds(spec: AblationSpec, state: StudyState, enough: Enough) -> list[PlannedTrial]:
    """The trials to run now; empty when the study is over.

    Those that have not ended, of the seeds begun so far; when all have, those of the next seed, unless ``enough`` says of
    every contrast that it is known (``max`` seeds end it in any case). A contrast is an arm less its block's reference or
    baseline, over the seeds both finished. With fewer than ``min`` pairs it is not known; without any it stays out: a
    trial that always fails will not stop. Call again with the new state. Pure.
    """
    rule = spec.seeds
    if not isinstance(rule, SequentialSeeds):
        return _left(spec.plan.trials(), state)
    begun = max([rule.min, *(trial.seed + 1 for trial in state.trials.values() if trial.seed < rule.max)])
    left = _left(spec.plan.trials(range(begun)), state)
    if left or begun == rule.max:
        return left
    contrasts = [differences for differences in _contrasts(spec, state) if differences]
    if all(len(d) >= rule.min and enough(d, rule.until.half_width) for d in contrasts):
        return []
    return spec.plan.trials([begun])


def _left(trials: list[PlannedTrial], state: StudyState) -> list[PlannedTrial]:
    ended = {key for key, record in state.trials.items() if record.over}
    return [trial for trial in trials if trial.key not in ended]


def _contrasts(spec: AblationSpec, state: StudyState) -> list[list[float]]:
    """The paired differences of each arm to its reference, and to its baseline."""
    values: dict[str, dict[int, float]] = {}
    for record in state.trials.values():
        if not math.isnan(value := record.final_value(spec.metric.name)):
            values.setdefault(record.arm, {})[record.seed] = value
    found = []
    for block in spec.plan.blocks:
        for other in filter(None, (block.reference, block.baseline)):
            theirs = values.get(other, {})
            for arm in block.arms:
                if arm != other:
                    ours = values.get(arm, {})
                    found.append([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])
    return found
