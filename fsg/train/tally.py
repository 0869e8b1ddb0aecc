"""What an epoch adds up to, kept on the device: no step waits for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fsg.errors import TrialDiverged
from fsg.train.step import StepResult


class EpochTally:
    """Sums over the steps of one epoch; survives a checkpoint in its middle."""

    def __init__(self, layers: int, device: torch.device) -> None:
        real = {"dtype": torch.float64, "device": device}
        self.sums: dict[str, Tensor] = {name: torch.zeros((), **real) for name in ("loss", "correct")}  # type: ignore[call-overload]
        for name in ("flips", "gain", "cosine", "uphill"):
            self.sums[name] = torch.zeros(layers, **real)  # type: ignore[call-overload]
        self.sums["norms"] = torch.zeros(2, **real)  # type: ignore[call-overload]
        self.sums["measured"] = torch.zeros((), **real)  # type: ignore[call-overload]
        self.last_good = torch.full((), float("nan"), **real)  # type: ignore[call-overload]
        self.good_steps = torch.zeros((), dtype=torch.int64, device=device)
        self.steps = self.generated = 0
        self.seconds = 0.0
        self._since: float | None = None

    def start(self) -> None:
        """The clock runs."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """The clock stands, as it may already."""
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
        self._since = None

    def add(self, result: StepResult) -> None:
        """One step."""
        loss = result.loss.double()
        good = torch.isfinite(loss) & (self.good_steps == self.steps)
        self.last_good = torch.where(good, loss, self.last_good)
        self.good_steps += good
        self.sums["loss"] += loss
        self.sums["correct"] += result.correct
        self.sums["flips"] += result.flips
        self.steps += 1
        if result.norms is not None:
            self.sums["norms"] += result.norms
            self.sums["measured"] += 1
        if result.gain is not None and result.cosine is not None:
            self.sums["gain"] += result.gain
            self.sums["cosine"] += result.cosine
            self.sums["uphill"] += result.cosine < 0
            self.generated += 1

    def check(self, epoch: int, suspects: dict[str, Tensor]) -> None:
        """TrialDiverged, with step, layers and last good loss, if a loss was not finite or a weight is not.

        Waits for the device.
        """
        good = int(self.good_steps)
        bad = [name for name, weight in suspects.items() if not torch.isfinite(weight).all()]
        if good == self.steps and not bad:
            return
        last = f"the last finite loss was {self.last_good.item():.4g} at step {good}" if good else "no loss was finite"
        what = (
            f"the loss is not finite at step {good + 1}"
            if good < self.steps
            else f"a weight is not finite at step {good}"
        )
        where = f"; not finite: {', '.join(bad)}" if bad else "; all latent weights are finite"
        raise TrialDiverged(f"epoch {epoch}: {what}; {last}{where}. Lower the learning rate, or bound the gain.")

    @classmethod
    def stacked(cls, tallies: Sequence[EpochTally]) -> EpochTally:
        """Of several trials that are at the same step, what each has in a row of its own; what follows counts from here."""
        first = tallies[0]
        whole = cls(0, first.last_good.device)
        whole.sums = {name: torch.stack([tally.sums[name] for tally in tallies]) for name in first.sums}
        whole.last_good = torch.stack([tally.last_good for tally in tallies])
        whole.good_steps = torch.stack([tally.good_steps for tally in tallies])
        whole.steps = first.steps
        return whole

    def give(self, tallies: Sequence[EpochTally], own: Sequence[float]) -> None:
        """The clock stands; each of ``tallies`` gets its row of a ``stacked`` one, and its share of the time.

        That is what it took alone, ``own`` seconds, and as much as any other of what all took together.
        """
        self.stop()
        common = max(0.0, self.seconds - sum(own)) / len(tallies)
        for k, tally in enumerate(tallies):
            tally.sums = {name: rows[k].clone() for name, rows in self.sums.items()}
            tally.last_good, tally.good_steps = self.last_good[k].clone(), self.good_steps[k].clone()
            tally.steps = self.steps
            tally.generated += self.generated
            tally.seconds += common + own[k]
        self.generated, self.seconds = 0, 0.0

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        return {
            "sums": self.sums,
            "last_good": self.last_good,
            "good_steps": self.good_steps,
            "counts": [self.steps, self.generated, self.seconds],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """On this tally's device."""
        device = self.last_good.device
        self.sums |= {name: value.to(device).clone() for name, value in state["sums"].items()}  # 0.1 measured no norms
        self.last_good = state["last_good"].to(device).clone()
        self.good_steps = state["good_steps"].to(device).clone()
        self.steps, self.generated, self.seconds = state["counts"]
