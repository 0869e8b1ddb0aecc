"""Designs in order: one option over a range of values, and a path from a baseline to the full method.

Proof: ``tests/study/test_designs.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from fsg.config import Overrides, TrialConfig, merge, nested, read_at
from fsg.nearest import did_you_mean_path
from fsg.parts import register
from fsg.scalars import by_field
from fsg.study.designs.base import DesignArm, DesignBase, Problem
from fsg.yaml_source import field_names

Dose = str | int | float | bool


def _values(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"is {value!r}, expected a list of values.")
    for index, dose in enumerate(value):
        if not isinstance(dose, Dose) or (isinstance(dose, float) and not math.isfinite(dose)):
            raise ValueError(f"holds {dose!r}, expected finite numbers, text, true or false.")
        if any(type(dose) is type(other) and dose == other for other in value[:index]):
            raise ValueError(f"holds {dose!r} twice.")
    if len(value) < 2:
        raise ValueError("a response needs at least 2 values.")
    return tuple(value)


class DoseResponse(DesignBase):
    """One option over several values: an arm ``<last part of the path>_<value>`` for each.

    Args:
        path: The option, by its path in a trial.
        values: Its values.
    """

    kind: Literal["dose_response"]
    path: str
    values: Annotated[tuple[Any, ...], BeforeValidator(_values)]

    @classmethod
    def spelt(cls, tree: Mapping[str, Any]) -> dict[str, Any]:
        """The plain data of this section: doses are read as their path takes them."""
        found = by_field(tree, cls)
        if isinstance(found.get("path"), str) and "values" in tree:
            found["values"] = read_at(found["path"], tree["values"])
        return found

    def problems(self, base: TrialConfig) -> Iterator[Problem]:
        """A path that is no option of a trial."""
        known = field_names(TrialConfig)
        if self.path not in known:
            hint = did_you_mean_path(self.path, known)
            yield ("path",), f'the trial configuration has no "{self.path}".{hint}'
        elif self.path in ("seed", "device"):
            yield ("path",), f'"{self.path}" cannot be a dose: it is the same in every arm.'

    def doses(self) -> tuple[str, dict[str, Any]]:
        """``path``, and arm -> its value."""
        return self.path, {f"{self.path.rpartition('.')[2]}_{_as_written(value)}": value for value in self.values}

    def arms(self) -> list[DesignArm]:
        """In the order of the values."""
        return [
            DesignArm(name, nested(self.path, value), ("values", index))
            for index, (name, value) in enumerate(self.doses()[1].items())
        ]


def _as_written(value: Dose) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _steps(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(
            f"is {value!r}, expected a list of named overrides, as in [ste: {{gradient: ste}}, full: {{}}]."
        )
    names = []
    for step in value:
        if not isinstance(step, Mapping) or len(step) != 1 or not isinstance(next(iter(step.values())), Mapping):
            raise ValueError(f"holds {step!r}, expected one name with its overrides, as in ste: {{gradient: ste}}.")
        names += list(step)
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f'step "{repeated[0]}" is given twice.')
    if len(names) < 2:
        raise ValueError("a path needs at least 2 steps: the baseline, and the full method.")
    return tuple(dict(step) for step in value)


class Path(DesignBase):
    """From a baseline to the full method, one change at a time: each step keeps what the steps before it changed.

    The first step is the baseline and the last the reference, unless the analysis names others.

    Args:
        steps: ``NAME: overrides``, one after the other.
    """

    kind: Literal["path"]
    steps: Annotated[tuple[dict[str, Overrides], ...], Field(min_length=2), BeforeValidator(_steps)]

    def arms(self) -> list[DesignArm]:
        """In the order of the steps."""
        found, overrides = [], dict[str, Any]()
        for index, step in enumerate(self.steps):
            for name, change in step.items():
                overrides = merge(overrides, change)
                found.append(DesignArm(name, overrides, ("steps", index, name)))
        return found

    def ends(self) -> tuple[str, str] | None:
        """The last step and the first."""
        return next(iter(self.steps[-1])), next(iter(self.steps[0]))


register("design", DoseResponse)
register("design", Path)
