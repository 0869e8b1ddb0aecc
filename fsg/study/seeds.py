"""Seeds of an ablation: a list, a number, or as many as it takes.

``seeds: {min: 3, max: 20, until: half_width <= 0.3}`` starts with the seeds 0 to min - 1 and adds one at a time until every
paired difference is known that closely. What comes next is decided in ``fsg/record/remaining.py``.
Proof: ``tests/study/test_seeds.py``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from fsg.section import Section, WrittenAs

MOST_SEEDS = 10_000
MOST_LOOKS = 200  # fsg.stats.sequential plans no more
_UNTIL = re.compile(r"\s*half_width\s*<=\s*(\S+)\s*")


class Until(Section):
    """Stop when every interval is narrow enough.

    Args:
        half_width: The widest that an interval may be to either side, in the metric's unit.
    """

    half_width: Annotated[float, Field(gt=0)]


class SequentialSeeds(Section):
    """The seeds 0 to ``min`` - 1, then one more at a time.

    Args:
        min: Seeds that run in any case.
        max: The most seeds.
        until: When to stop: ``{half_width: 0.3}`` or ``half_width <= 0.3``.
    """

    min: Annotated[int, Field(ge=2)]
    max: Annotated[int, Field(le=MOST_LOOKS)]
    until: Annotated[Until, WrittenAs(lambda: Until | str)]

    @property
    def first(self) -> tuple[int, ...]:
        """The seeds that run in any case."""
        return tuple(range(self.min))


def parse_seeds(value: Any) -> tuple[int, ...] | SequentialSeeds:
    """``n`` means the seeds 0 to n - 1. ValueError says what is wrong."""
    if isinstance(value, SequentialSeeds):
        return value
    if isinstance(value, Mapping):
        return _sequential(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 < value <= MOST_SEEDS:
            raise ValueError(f"is {value}, expected 1 to {MOST_SEEDS:,} seeds: a list of them, or how many.")
        return tuple(range(value))
    if isinstance(value, list | tuple):
        return _listed(value)
    raise ValueError(f"is {value!r}, expected a list of seeds, how many, or {{min: 3, max: 20, until: ...}}.")


def written(seeds: tuple[int, ...] | SequentialSeeds) -> list[int] | dict[str, Any]:
    """Seeds as a YAML has them."""
    return seeds.model_dump() if isinstance(seeds, SequentialSeeds) else list(seeds)


def _listed(value: Sequence[Any]) -> tuple[int, ...]:
    if not value:
        raise ValueError("zero seeds; give at least one, as in seeds: [0, 1, 2].")
    repeated = [seed for seed, times in Counter(map(repr, value)).items() if times > 1]
    if repeated:
        raise ValueError(f"seed {repeated[0]} is given twice; a seed is one repetition.")
    for seed in value:
        if type(seed) is not int or not 0 <= seed < 2**63:
            raise ValueError(f"holds {seed!r}; a seed is a whole number from 0 to 2^63 - 1.")
    return tuple(value)


def _sequential(value: Mapping[str, Any]) -> SequentialSeeds:
    known = tuple(SequentialSeeds.model_fields)
    for key in value:
        if key not in known:
            raise ValueError(f'has an unknown key "{key}"; allowed: {", ".join(known)}.')
    for key in ("min", "max", "until"):
        if key not in value:
            raise ValueError(f'"{key}" is missing, as in {{min: 3, max: 20, until: half_width <= 0.3}}.')
    least, most = value["min"], value["max"]
    for key in ("min", "max"):
        if type(value[key]) is not int:
            raise ValueError(f"{key} is {value[key]!r}, expected a whole number.")
    if not 2 <= least < most <= MOST_LOOKS:
        raise ValueError(f"min is {least} and max is {most}, expected 2 <= min < max <= {MOST_LOOKS}.")
    until = value["until"]
    rest = {key: until[key] for key in until if key != "half_width"} if isinstance(until, Mapping) else {}
    return SequentialSeeds(**{**value, "until": Until(half_width=_half_width(until), **rest)})


def _half_width(until: Any) -> float:
    width = until
    if isinstance(until, Mapping) and "half_width" in until and until.keys() <= Until.model_fields.keys():
        width = until["half_width"]
    elif isinstance(until, str) and (match := _UNTIL.fullmatch(until)):
        try:
            width = float(match[1])
        except ValueError:
            width = None
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width < math.inf or width is until:
        raise ValueError(
            f"until is {until!r}, expected a positive width, as in {{half_width: 0.3}} or half_width <= 0.3."
        )
    return float(width)
