"""What the reader of any table of trials must know of how they ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fsg.record.ledger import TrialRecord


def interruptions(records: Iterable[TrialRecord]) -> tuple[str, ...]:
    """How often a trial was interrupted and went on, by cause; nothing where none was."""
    causes = Counter(retry["cause"] for record in records for retry in record.retries)
    if not causes:
        return ()
    listed = ", ".join(f"{count} {cause}" for cause, count in sorted(causes.items()))
    return (f"Trials that were interrupted and went on from their checkpoints, by cause: {listed}.",)
