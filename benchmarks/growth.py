"""How something grows with the trials of a study: what has ended so far, and a slope with its interval."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scipy import stats


def ended_trials(ledger: Path) -> Iterator[int]:
    """How many trials have ended, at each call; the ledger is read once, as it grows."""
    count, read = 0, 0
    while True:
        if ledger.exists():
            with ledger.open("rb") as file:
                file.seek(read)
                whole, newline, _ = file.read().rpartition(b"\n")
            read += len(whole) + len(newline)
            count += whole.count(b'"event":"finished"') + whole.count(b'"event":"failed"')
        yield count


def slope(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Change per 100 trials and the half-width of its 95 % interval."""
    x, y = zip(*points, strict=True)
    fit = stats.linregress(x, y)
    return 100 * float(fit.slope), 100 * float(stats.t.ppf(0.975, len(points) - 2) * fit.stderr)
