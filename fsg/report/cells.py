"""The text of every cell, decided once: terminal, markdown, LaTeX and CSV differ only in how they set it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from fsg.stats.paired import Interval

if TYPE_CHECKING:
    from fsg.report.comparison import EpochsToTarget, Verdict

NONE = "–"
MINUS = "−"


@dataclass(frozen=True, slots=True)
class Cell:
    """``value ± spread mark``. ``mark``: * differs, ≈ equivalent; ``verdict``: which way; ``best`` marks one arm."""

    value: str
    spread: str = ""
    mark: str = ""
    verdict: Literal["better", "worse", ""] = ""
    best: bool = False

    @property
    def text(self) -> str:
        """The cell on one line."""
        return " ".join(filter(None, (self.value, self.spread and f"± {self.spread}", self.mark)))


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of cells with its caption lines. The first column holds names, the others numbers.

    ``kept``: so many of the first columns are shown however narrow the terminal is.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    caption: str
    kept: int = 2


def number(value: float, digits: int, sign: bool = False) -> str:
    """A number with a true minus; no sign on what rounds to zero."""
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def p_value(p: float) -> str:
    """Three figures, for an exact p such as 0.0625 should be told from 0.06."""
    return NONE if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3g}"


def decimals(intervals: Sequence[Interval], unit: str) -> int:
    """Decimals that show one to two figures of the typical half-width, the same in the whole table."""
    least = 1 if unit == "%" else 2
    halves = [i.half_width for i in intervals if i.half_width > 0]
    if not halves:
        return least + 1
    return min(6, max(least, -math.floor(math.log10(median(halves) / 3))))


def estimate(interval: Interval | None, digits: int, best: bool = False) -> Cell:
    """An estimate with its half-width, without where there is no interval; a dash for None."""
    if interval is None:
        return Cell(NONE)
    spread = "" if math.isnan(interval.half_width) else number(interval.half_width, digits)
    return Cell(number(interval.estimate, digits), spread, best=best)


def difference_cell(interval: Interval | None, found: Verdict | None, digits: int, mode: str) -> Cell:
    """A signed difference with its spread, its marks and which way it is told; a dash where there is none."""
    if interval is None:
        return Cell(NONE)
    spread = "" if math.isnan(interval.half_width) else number(interval.half_width, digits)
    verdict: Literal["better", "worse", ""] = ""
    if found and found.differs:
        verdict = "better" if (interval.estimate > 0) == (mode == "max") else "worse"
    mark = ("*" if found and found.differs else "") + ("≈" if found and found.equivalent else "")
    return Cell(number(interval.estimate, digits, sign=True), spread, mark, verdict)


def epochs_cell(found: EpochsToTarget | None) -> Cell:
    """Median epochs to the target, and how many seeds of how many reached it where not all did."""
    if found is None:
        return Cell(NONE)
    value = NONE if found.median is None else f"{found.median:g}"
    return Cell(value if found.reached == found.n else f"{value} ({found.reached}/{found.n})")


def parameter(value: Any) -> str:
    """A value of a configuration: four figures of a number, a dash for none."""
    if value is None:
        return NONE
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def short(paths: Iterable[str]) -> tuple[str, ...]:
    """The last part of each dotted path, or as many parts as keep it apart from the others; a number alone is no name."""
    paths = tuple(paths)

    def shortest(path: str) -> str:
        parts = path.split(".")
        for take in range(1, len(parts)):
            tail = ".".join(parts[-take:])
            if not tail.isdigit() and sum(other == tail or other.endswith("." + tail) for other in paths) == 1:
                return tail
        return path

    return tuple(map(shortest, paths))
