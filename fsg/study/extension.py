"""Whether a changed study is the same one with more in it, so that what has run still counts.

Proof: ``tests/study/test_extension.py``.
"""

from __future__ import annotations

from typing import Any

from fsg.study.seeds import SequentialSeeds
from fsg.study.spec import AblationSpec, SweepSpec


def extends(old: AblationSpec | SweepSpec, new: AblationSpec | SweepSpec) -> bool:
    """Whether ``new`` keeps every trial of ``old``, by its key, and only adds arms or seeds to them.

    Another question, analysis or published table is no other study. Of a rule that adds seeds nothing may change: its
    intervals hold for the looks planned from the beginning. Of a tuning only the spaces of new arms may be added.
    """
    if isinstance(old, AblationSpec) and isinstance(new, AblationSpec):
        return (
            (old.name, old.metric) == (new.name, new.metric)
            and _keeps_rule(old.seeds, new.seeds)
            and _tuning(old, old) == _tuning(new, old)
            and {trial.key for trial in old.plan.trials()} <= {trial.key for trial in new.plan.trials()}
        )
    if isinstance(old, SweepSpec) and isinstance(new, SweepSpec):
        return old.identity() | {"question": ""} == new.identity() | {"question": ""}
    return False


def _keeps_rule(old: tuple[int, ...] | SequentialSeeds, new: tuple[int, ...] | SequentialSeeds) -> bool:
    return old == new or not isinstance(old, SequentialSeeds)


def _tuning(spec: AblationSpec, old: AblationSpec) -> Any:
    """How the arms of ``old`` are tuned in ``spec``."""
    if spec.retune is None:
        return None
    tuning = spec.retune.model_dump(mode="json")
    known = old.plan.names
    return tuning | {"spaces": {arm: space for arm, space in tuning["spaces"].items() if arm in known}}
