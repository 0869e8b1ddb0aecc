"""What every design answers: its arms, in which blocks, what it leaves out, and what is wrong with it.

Pure and cheap: a design knows the base configuration only where it is asked for problems. Places are relative to the
design's own section of the file. Proof: ``tests/study/test_designs.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer

from fsg.config import TrialConfig
from fsg.section import Section
from fsg.yaml_source import Location

ARM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
Problem = tuple[Location, str]


@dataclass(frozen=True, slots=True)
class DesignArm:
    """One arm of a design: what it changes in the base, and where that is written."""

    name: str
    overrides: Mapping[str, Any]
    place: Location = ()


class DesignBase(Section):
    """A design without factors, with one block, that leaves nothing out."""

    @model_serializer(mode="wrap")
    def _without_blanks(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}

    def problems(self, base: TrialConfig) -> Iterator[Problem]:
        """(place, reason) for what makes this design impossible over ``base``."""
        yield from ()

    def arms(self) -> list[DesignArm]:
        """The arms, in the order of the table."""
        raise NotImplementedError

    def parts(self) -> Iterable[tuple[Location, str, Mapping[str, Any]]]:
        """(place, what it is, overrides) of what arms and blocks are made of: who is to blame when one is no trial."""
        return ()

    def blocks(self) -> dict[str, dict[str, Any]]:
        """Block name -> what it changes in the base; arms are compared within a block. One block has no name."""
        return {"": {}}

    def factors(self) -> tuple[str, ...]:
        """The factors whose effects the design can tell; none for a design that is no factorial."""
        return ()

    def levels(self) -> dict[str, tuple[bool, ...]]:
        """Arm -> which of ``factors`` are on in it."""
        return {}

    def left_out(self) -> list[str]:
        """The arms that ``requires`` and ``excludes`` of its components forbid: ``no_hgs: lre requires hgs``."""
        return []

    def forbidden(self) -> Iterator[DesignArm]:
        """Every combination of the components that their rules forbid, named by the rule it breaks."""
        yield from ()

    def aliases(self) -> list[str]:
        """Effects that cannot be told apart, one line for each class."""
        return []

    def ends(self) -> tuple[str, str] | None:
        """(reference, baseline) that this design is read by unless the analysis names others."""
        return None

    def doses(self) -> tuple[str, dict[str, Any]]:
        """The option that is varied, by its path, and its value in each arm; ("", {}) where arms are no doses."""
        return "", {}


def leaves(overrides: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every value in ``overrides``."""
    for key, value in overrides.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*prefix, key))
        else:
            yield (*prefix, key)
