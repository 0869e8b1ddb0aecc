"""``--set a.b=v`` on a study: laid over its base, so it must reach every trial.

What an arm, the design or a space sets itself hides the base, and the setting with it: that is refused, at its line.
Proof: ``tests/study/test_settings.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fsg.config import nested, parse_setting
from fsg.study.designs.base import leaves
from fsg.yaml_source import Location

if TYPE_CHECKING:
    from fsg.study.spec import AblationSpec, SweepSpec


def hidden_settings(spec: AblationSpec | SweepSpec, settings: Iterable[str]) -> Iterator[tuple[Location, str]]:
    """(place, reason) of whatever in the file hides one of the settings from a trial."""
    for setting in settings:
        path, value = parse_setting(setting)
        wanted = _paths(nested(path, value))
        for place, subject, own in _own_values(spec):
            if common := sorted(wanted & own):
                message = f'{subject} sets "{common[0]}" itself, so --set {setting} would not reach it; change it here.'
                yield place, message


def _own_values(spec: AblationSpec | SweepSpec) -> Iterator[tuple[Location, str, set[str]]]:
    """(place, what it is, the paths that it sets) of all that is laid over the base."""
    if spec.kind == "sweep":
        for path in spec.space.root:
            yield ("space", path), "the space", {_section(path)}
        return
    for name, overrides in spec.arms.items():
        yield ("arms", name), f'arm "{name}"', _paths(overrides)
    for name, overrides in spec.baselines.items():
        yield ("baselines", name), f'baseline "{name}"', _paths(overrides)
    if spec.design is not None:
        for arm in spec.design.arms():
            yield ("design", *arm.place), f'the design\'s arm "{arm.name}"', _paths(arm.overrides)
        for block, overrides in spec.design.blocks().items():
            yield ("design",), f'the block "{block}"', _paths(overrides)


def _paths(overrides: Mapping[str, Any]) -> set[str]:
    return {_section(".".join(path)) for path in leaves(overrides)}


def _section(path: str) -> str:
    """``gradient`` and ``gradient.name`` are one."""
    return path.removesuffix(".name")
