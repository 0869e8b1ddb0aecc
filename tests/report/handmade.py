"""Folded ledgers made by hand: the state of a study whose answer is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fsg.record.ledger import StudyState, TrialRecord


@dataclass(frozen=True)
class Metric:
    name: str = "val_accuracy"
    mode: str = "max"
    unit: str = "%"


HEADER = {"name": "components", "kind": "ablation", "versions": {"fsg": "0.1.0"}, "git_commit": "21bbb10aa"}


def trial(
    arm: str,
    seed: int,
    accuracy: float | None,
    *,
    test: float | None = 90.0,
    losses: tuple[float | None, ...] = (2.0, 1.0, 0.5),
    step_ms: tuple[float | None, ...] = (9.0, 4.0, 4.0),
    status: str = "finished",
    reason: str | None = None,
    config: dict[str, Any] | None = None,
    key: str | None = None,
) -> TrialRecord:
    epochs = [
        {"epoch": e, "train_loss": loss, "val_accuracy": accuracy, "step_ms": ms}
        for e, (loss, ms) in enumerate(zip(losses, step_ms, strict=True), start=1)
    ]
    final = {"val_accuracy": accuracy, "test_accuracy": test} if status == "finished" else None
    return TrialRecord(
        key or f"{arm}-{seed}", arm, seed, config or {"seed": seed}, status, epochs, final, reason, 0.0, 1.8e9
    )


def state(*trials: TrialRecord, header: dict[str, Any] | None = HEADER) -> StudyState:
    return StudyState(header, {t.key: t for t in trials})


def arms(**values: tuple[float, ...]) -> StudyState:
    """One finished trial per arm and value, of seeds 0, 1, ..."""
    return state(*(trial(arm, seed, v) for arm, of_seed in values.items() for seed, v in enumerate(of_seed)))
