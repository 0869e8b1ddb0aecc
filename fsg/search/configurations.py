"""Configurations of a sweep and their seeds: what each came to, as the searcher is told. Pure functions of the ledger.

Proof: ``tests/search/test_search_logic.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from fsg.config import TrialConfig, parse_trial
from fsg.parts import part_of
from fsg.record.ledger import TrialRecord, finite
from fsg.search.outcomes import Infeasible, Outcome, Point
from fsg.search.racing import Values, next_seed
from fsg.study.constraints import Constraint, values_of
from fsg.study.plan import PlannedTrial, planned, sweep_config, sweep_trial
from fsg.study.search import BITS, constraints_of, feasible
from fsg.study.spec import SweepSpec


@dataclass
class Configuration:
    """One point of the space. ``key`` is that of its trial with the first seed; ``finals``: metrics by finished seed.

    A search holds thousands. Of the metrics it keeps those that ``led_by`` names, a whole result being 10 kB, and the trial's
    configuration, 4 kB, it makes anew from the point in 0.06 ms.
    """

    key: str
    point: Point
    finals: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    def finish(self, spec: SweepSpec, seed: int, metrics: Mapping[str, Any]) -> None:
        """One of its seeds came to its last epoch, with these metrics."""
        self.finals[seed] = {name: metrics[name] for name in led_by(spec) & metrics.keys()}

    def trial(self, spec: SweepSpec, seed: int) -> PlannedTrial:
        """Its trial with one of the seeds."""
        first = sweep_trial(spec, self.point)
        return planned(spec.name, first.arm, seed, first.config)

    def values(self, spec: SweepSpec) -> Values:
        """The metric by seed, larger being better; without seeds where it was not finite."""
        sign = 1 if spec.metric.mode == "max" else -1
        found = {seed: finite(final.get(spec.metric.name)) for seed, final in self.finals.items()}
        return {seed: sign * value for seed, value in found.items() if not math.isnan(value)}

    def told(self, spec: SweepSpec) -> tuple[dict[str, float], dict[str, float]]:
        """What a search hears of it, with the seeds that it has."""
        return told(spec, sweep_config(spec, self.point), self.finals)


def told(
    spec: SweepSpec, config: TrialConfig, finals: Mapping[int, Mapping[str, Any]]
) -> tuple[dict[str, float], dict[str, float]]:
    """The mean over the seeds of every number a search is led by, ``bits`` as the quantizer has them, or as the trials report
    them where layers differ; and by how much each constraint on a metric is broken at these means.
    """
    means: dict[str, float] = {BITS: bits(config)}
    for name in led_by(spec):
        values = [finite(final.get(name)) for final in finals.values()]
        if values and not any(map(math.isnan, values)):
            means[name] = mean(values)
    return means, violations(constraints_of(spec)[1], config, means)


def led_by(spec: SweepSpec) -> set[str]:
    """The metrics that a search looks at."""
    objectives = {spec.metric.name, *(o.name for o in spec.objectives)}
    return objectives | {name for c in constraints_of(spec)[1] for name in c.names}


def violations(
    constraints: tuple[Constraint, ...], config: TrialConfig, metrics: Mapping[str, float]
) -> dict[str, float]:
    """By how much each constraint is broken; 0 or less where it holds."""
    data = config.model_dump()
    return {c.text: c.violation(values_of(data, metrics, c.names)) for c in constraints}


def bits(config: TrialConfig) -> float:
    """Bits per quantised weight."""
    found = part_of("quantizer", config.quantizer).fact("bits", config.quantizer)
    if found is None:
        return 64.0 if config.dtype == "float64" else 32.0
    return float(found)


def own_bits(config: TrialConfig) -> bool:
    """Whether layers have bits of their own, so that a trial reports how many a weight has on average."""
    return part_of("quantizer", config.quantizer).fact("per_layer", config.quantizer) is not None


def configuration(spec: SweepSpec, point: Point) -> Configuration:
    """The configuration at a point. Infeasible where it breaks a constraint; ConfigError for no valid trial."""
    trial = sweep_trial(spec, point)
    for constraint in constraints_of(spec)[0]:
        if not feasible((constraint,), trial.config):
            raise Infeasible(constraint.text)
    return Configuration(trial.key, point)


def group(spec: SweepSpec, records: Mapping[str, TrialRecord]) -> dict[str, dict[int, TrialRecord]]:
    """The ledger's trials by configuration (the key of its first seed) and seed."""
    found: dict[str, dict[int, TrialRecord]] = {}
    for key, record in records.items():
        if record.seed == spec.seed:
            found.setdefault(key, {})[record.seed] = record
        else:
            config = parse_trial(record.config, format=spec.format)
            found.setdefault(planned(spec.name, record.arm, spec.seed, config).key, {})[record.seed] = record
    return found


def recalled(spec: SweepSpec, records: Mapping[str, TrialRecord]) -> dict[str, Configuration]:
    """The configurations of a ledger with the results of their finished seeds."""
    found = {}
    for key, seeds in group(spec, records).items():
        configuration = Configuration(key, spec.space.point_of(next(iter(seeds.values())).config))
        for seed, record in sorted(seeds.items()):
            if record.status == "finished" and record.final:
                configuration.finish(spec, seed, record.final)
        found[key] = configuration
    return found


def outcome(
    spec: SweepSpec, configuration: Configuration, seeds: Mapping[int, TrialRecord], others: list[Values]
) -> Outcome:
    """What became of a configuration, from its trials; ``others``: the values of all configurations, its own too."""
    first = seeds.get(spec.seed)
    epochs = first.epochs if first else []
    for record in seeds.values():
        if record.status in ("pruned", "failed"):
            return Outcome(configuration.point, record.status, epochs, reason=record.reason)
    if any(record.status != "finished" for record in seeds.values()) or first is None:
        return Outcome(configuration.point, "open", epochs)
    if following(spec, configuration, others) is not None:
        return Outcome(configuration.point, "open", epochs)
    return Outcome(configuration.point, "finished", epochs, *configuration.told(spec), seeds=len(configuration.finals))


def outcomes(spec: SweepSpec, records: Mapping[str, TrialRecord]) -> dict[str, Outcome]:
    """What became of each configuration of a ledger, by its key."""
    found, seeds = recalled(spec, records), group(spec, records)
    values = [c.values(spec) for c in found.values()]
    return {key: outcome(spec, c, seeds[key], values) for key, c in found.items()}


def settled(spec: SweepSpec, records: Mapping[str, TrialRecord]) -> int:
    """How many configurations have come to their end, seeds that are not worth running included."""
    return sum(outcome.status != "open" for outcome in outcomes(spec, records).values())


def following(spec: SweepSpec, configuration: Configuration, others: list[Values]) -> int | None:
    """The seed that a configuration runs next; None if it has all it needs. Several objectives are not raced."""
    if spec.objectives:
        return next((seed for seed in spec.seeds if seed not in configuration.finals), None)
    values = configuration.values(spec)
    if len(values) < len(configuration.finals):
        return None  # a metric that was not finite makes it a failure, whatever the other seeds
    return next_seed(values, others, spec.seeds)
