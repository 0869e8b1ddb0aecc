"""A design repeated for each model, data set, quantizer and optimizer: a block for each combination.

Arms keep their names; the block stands before: ``resnet20-sgd/full``. Arms are compared within a block only.
Proof: ``tests/study/test_designs.py``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fsg.config import TrialConfig, read_at
from fsg.parts import held_by, register
from fsg.scalars import by_field
from fsg.section import WrittenAs
from fsg.study.designs.base import ARM_NAME, DesignArm, DesignBase, Problem
from fsg.study.designs.factorial import AddOneIn, FractionalFactorial, FullFactorial, LeaveOneOut
from fsg.study.designs.sequence import DoseResponse, Path
from fsg.yaml_source import Location

SingleDesign = LeaveOneOut | AddOneIn | FullFactorial | FractionalFactorial | DoseResponse | Path
AXES = {"models": "model", "datasets": "data", "quantizers": "quantizer", "optimizers": "optimizer"}


def _axis(value: Any) -> Any:
    """A list of names is short for kinds with nothing else changed; a label that names no kind is one itself."""
    if isinstance(value, list):
        for index, name in enumerate(value):
            if not isinstance(name, str):
                raise ValueError(f"holds {name!r}, expected names, or a mapping of labels to options.")
            if name in value[:index]:
                raise ValueError(f'"{name}" is given twice.')
        value = {name: {} for name in value}
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"is {value!r}, expected a list of names, or a mapping of labels to options.")
    named = {label: {"name": options} if isinstance(options, str) else options for label, options in value.items()}
    return {label: {"name": label, **o} if isinstance(o, Mapping) else o for label, o in named.items()}


_Written = list[str] | dict[str, str | dict[str, Any]]
Axis = Annotated[dict[str, dict[str, Any]], BeforeValidator(_axis), WrittenAs(lambda: _Written)] | None


class Cross(DesignBase):
    """A design repeated in each block: for each combination of the axes that are given.

    Args:
        of: The design; left out: the explicit arms and baselines alone.
        models: Networks: names, or label -> options.
        datasets: Data sets, likewise.
        quantizers: Quantizers, likewise.
        optimizers: Optimizers, likewise.
    """

    kind: Literal["cross"]
    of: Annotated[SingleDesign, Field(discriminator="kind")] | None = None  # any design but a cross
    models: Axis = None
    datasets: Axis = None
    quantizers: Axis = None
    optimizers: Axis = None

    @model_validator(mode="after")
    def _has_an_axis(self) -> Cross:
        if not self._axes():
            raise ValueError(f"a cross needs something to cross with: {', '.join(AXES)}.")
        return self

    @classmethod
    def spelt(cls, tree: Mapping[str, Any]) -> dict[str, Any]:
        """The plain data of this section: the options of a label are read as its axis' section of a trial takes them."""
        found = by_field(tree, cls)
        for key in AXES.keys() & tree.keys():
            axis = tree[key]
            if isinstance(axis, Mapping):
                found[key] = {label: read_at(AXES[key], options) for label, options in axis.items()}
        return found

    def problems(self, base: TrialConfig) -> Iterator[Problem]:
        """Labels that cannot name a block, and what is wrong with ``of``."""
        for key, axis in self._axes().items():
            for label in axis:
                if not ARM_NAME.fullmatch(label):
                    yield (key, label), f'"{label}" cannot name a block; use letters, digits, "_", "-" and ".".'
        if self.of is not None:
            for place, message in self.of.problems(base):
                yield ("of", *place), message
        blocks = self.blocks()
        if len(blocks) < math.prod(map(len, self._axes().values())):
            yield (), 'two blocks have the same name; labels are joined by "-", so give others.'
        for name in blocks:
            if not ARM_NAME.fullmatch(name):
                yield (), f'"{name}" cannot name a block: more than 64 letters. Give shorter labels.'

    def blocks(self) -> dict[str, dict[str, Any]]:
        """One for each combination, named by its labels."""
        axes = self._axes()
        found = {}
        for labels in itertools.product(*axes.values()):
            chosen = zip(axes.items(), labels, strict=True)
            found["-".join(labels)] = {AXES[key]: axis[label] for (key, axis), label in chosen}
        return found

    def arms(self) -> list[DesignArm]:
        """Those of ``of``, without their block."""
        return [DesignArm(a.name, a.overrides, ("of", *a.place)) for a in (self.of.arms() if self.of else ())]

    def parts(self) -> Iterator[tuple[Location, str, Mapping[str, Any]]]:
        """Each label of an axis, then what ``of`` is made of."""
        for key, axis in self._axes().items():
            for label, options in axis.items():
                yield (key, label), f'{key} "{label}": ', {AXES[key]: options}
        for place, subject, overrides in self.of.parts() if self.of else ():
            yield ("of", *place), subject, overrides

    def factors(self) -> tuple[str, ...]:
        """Those of ``of``."""
        return self.of.factors() if self.of else ()

    def levels(self) -> dict[str, tuple[bool, ...]]:
        """Those of ``of``: the same in every block."""
        return self.of.levels() if self.of else {}

    def left_out(self) -> list[str]:
        """The same in every block."""
        return self.of.left_out() if self.of else []

    def forbidden(self) -> Iterator[DesignArm]:
        """The same in every block."""
        yield from self.of.forbidden() if self.of else ()

    def aliases(self) -> list[str]:
        """Those of ``of``."""
        return self.of.aliases() if self.of else []

    def ends(self) -> tuple[str, str] | None:
        """Those of ``of``, in every block."""
        return self.of.ends() if self.of else None

    def doses(self) -> tuple[str, dict[str, Any]]:
        """Those of ``of``: the same in every block."""
        return self.of.doses() if self.of else ("", {})

    def _axes(self) -> dict[str, dict[str, dict[str, Any]]]:
        return {key: axis for key in AXES if (axis := getattr(self, key)) is not None}


held_by("design", Cross, "of", optional=True, without=("cross",))
register("design", Cross)
