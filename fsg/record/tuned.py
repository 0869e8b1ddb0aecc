"""What the search of an arm found, by its ledger. Proof: ``tests/study/test_tuned.py``."""

from __future__ import annotations

from fsg.config import TrialConfig, parse_trial
from fsg.errors import StudyError
from fsg.record.folder import best_trial
from fsg.record.ledger import StudyState
from fsg.study.spec import SweepSpec


def tuned_config(sweep: SweepSpec, state: StudyState) -> TrialConfig:
    """The best configuration of a finished search. StudyError if none of its trials finished."""
    best = best_trial(state, sweep.metric)
    if best is None:
        raise StudyError(f'arm "{sweep.name}" could not be tuned: none of its {len(state.trials)} trials finished.')
    return parse_trial(best.last_config, format=sweep.format)
