"""What a sweep has cost so far, from its ledger's events, and whether a cap is reached. Pure accounting.

Time counts while a trial runs: from its start to its last event. A study that lies idle between two runs costs nothing.
Proof: ``tests/search/test_budget.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsg.errors import StudyError
from fsg.execution.devices import OF_CLUSTER
from fsg.record.follow import LedgerFollower
from fsg.record.ledger import ENDED
from fsg.study.search import BudgetSpec

OTHERWISE = "default"


@dataclass(frozen=True)
class Spent:
    """Trials begun, seconds during which at least one ran, GPU-hours, and money."""

    trials: int = 0
    wall_time: float = 0.0
    gpu_hours: float = 0.0
    cost: float = 0.0


@dataclass
class Meter:
    """Counts events. ``cpus`` and ``gpus`` are what one trial takes, fractions allowed; ``prices`` by part of a device."""

    cpus: float = 1
    gpus: float = 0
    prices: Mapping[str, float] = field(default_factory=dict)
    _keys: set[str] = field(default_factory=set)
    _open: dict[str, list[float]] = field(default_factory=dict)  # key -> start and last event of what runs
    _devices: dict[str, str] = field(default_factory=dict)
    _runs: list[tuple[float, float]] = field(default_factory=list)  # disjoint, in order
    _hours: float = 0.0
    _money: float = 0.0

    def see(self, event: Mapping[str, Any]) -> None:
        """One event of the ledger, in order."""
        key, name, time = event.get("key"), event["event"], float(event["time"])
        if key is None or name == "planned":
            return
        if name == "device":  # of a cluster's trials it is known with their first epoch
            self._devices[key] = str(event["device"])
        if name == "started":
            self._close(key)
            self._keys.add(key)
            self._devices[key] = str(event["device"])
            self._open[key] = [time, time]
        elif key in self._open:
            self._open[key][1] = max(self._open[key][1], time)
            if name in ENDED:
                self._close(key)

    def spent(self) -> Spent:
        """Up to the last event of each trial."""
        running = [(start, last, self._price(self._devices[key])) for key, (start, last) in self._open.items()]
        hours = self._hours + sum(last - start for start, last, _ in running) / 3600
        money = self._money + sum((last - start) / 3600 * price for start, last, price in running)
        wall = sum(end - start for start, end in _union([*self._runs, *((s, e) for s, e, _ in running)]))
        return Spent(len(self._keys), wall, hours * self.gpus, money)

    def _close(self, key: str) -> None:
        if key in self._open:
            start, last = self._open.pop(key)
            self._runs = _union([*self._runs, (start, last)])
            self._hours += (last - start) / 3600
            self._money += (last - start) / 3600 * self._price(self._devices[key])

    def _price(self, device: str) -> float:
        return hourly_price(self.prices, device) * (self.gpus or self.cpus)


def hourly_price(prices: Mapping[str, float], device: str) -> float:
    """Of one GPU or core of that device, by the longest name in ``prices`` that is part of its own; 0 without prices.

    What a cluster is about to give counts as its dearest until it is known: a cap is hard.
    """
    if not prices:
        return 0.0
    if device in OF_CLUSTER.values():
        return max(prices.values())
    named = [name for name in prices if name != OTHERWISE and name.lower() in device.lower()]
    if not named and OTHERWISE not in prices:
        known = ", ".join(prices)
        raise StudyError(f'budget.prices has no price for "{device}", only for {known}; add it, or a "{OTHERWISE}".')
    return prices[max(named, key=len) if named else OTHERWISE]


def used(budget: BudgetSpec, spent: Spent) -> str:
    """What of each cap is used, in one line: ``12 of 40 trials, 0.31 of 2 h``."""
    parts, hour = [], 3600
    named = (("trials", "trials", 1), ("wall_time", "h", hour), ("gpu_hours", "GPU-hours", 1), ("cost", "cost", 1))
    for name, unit, scale in named:
        cap = getattr(budget, name)
        if cap is not None:
            parts.append(f"{getattr(spent, name) / scale:.3g} of {cap / scale:.3g} {unit}")
    return ", ".join(parts)


def reached(budget: BudgetSpec | None, spent: Spent) -> str | None:
    """The first cap that is reached, as a sentence; None if there is room for another trial."""
    if budget is None:
        return None
    for name, unit in (("trials", ""), ("wall_time", " s"), ("gpu_hours", " h"), ("cost", "")):
        cap, used = getattr(budget, name), getattr(spent, name)
        if cap is not None and used >= cap:
            return f"budget.{name}: {used:.4g}{unit} of {cap:.4g}{unit} used"
    return None


class FollowingMeter:
    """Feeds a meter the events that were added to a ledger since it last looked."""

    def __init__(self, path: Path, meter: Meter) -> None:
        self.meter = meter
        self._ledger = LedgerFollower(path)

    def spent(self) -> Spent:
        """As of the ledger's last whole line."""
        for event in self._ledger.read():
            self.meter.see(event)
        return self.meter.spent()


def _union(runs: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for start, end in sorted(runs):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
