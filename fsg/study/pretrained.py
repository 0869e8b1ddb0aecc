"""Weights that trials of a study start from, and that are not there or are another network's: found before anything starts.

They are read once, with torch; a study that names none reads none. Proof: ``tests/train/test_two_steps.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsg.config import TrialConfig
from fsg.errors import ConfigError
from fsg.study.optimizers import searched
from fsg.study.space import trial_at
from fsg.yaml_source import places

if TYPE_CHECKING:
    from fsg.study.spec import AblationSpec, SweepSpec

_NAMING = ("model", "model.name", "model.pretrained")  # the paths that decide which weights a trial starts from


def check_pretrained(spec: AblationSpec | SweepSpec) -> None:
    """ConfigError, with file and line, for weights that this machine has not, or whose names are not the network's."""
    found: dict[tuple[str, str], TrialConfig] = {}
    for config, space in searched(spec):
        trials = [config]
        for settings in space.corners(_NAMING) if space is not None else ():
            try:
                trials.append(trial_at(config, {p: v for p, v in settings.items() if p in _NAMING}))
            except ConfigError:
                continue  # a combination that no point has: the space was checked
        for trial in trials:
            if weights := getattr(trial.model, "pretrained", None):
                found.setdefault((weights, trial.model.name), trial)
    for (weights, _), trial in found.items():
        from fsg.train.bits import unfilled_model
        from fsg.train.pretrained import stored_weights

        try:
            stored_weights(unfilled_model(trial), weights)
        except ConfigError as error:
            here = (
                place
                for place, value in places(spec.source.data if spec.source else {})
                if str(value) == weights and "pretrained" in str(place)
            )
            raise spec.refuse(next(here, ()), str(error)) from None
