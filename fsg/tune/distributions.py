"""The domains of a space as Optuna's distributions."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from fsg.study.space import Domain


def distribution(domain: Domain) -> BaseDistribution:
    """Optuna's distribution of a domain; both ends belong to it."""
    low, high = domain.low, domain.high
    match domain.kind:
        case "uniform":
            return FloatDistribution(low, high)  # type: ignore[arg-type]
        case "loguniform":
            return FloatDistribution(low, high, log=True)  # type: ignore[arg-type]
        case "quniform":
            return FloatDistribution(low, high, step=domain.q)  # type: ignore[arg-type]
        case "randint":
            return IntDistribution(low, high)  # type: ignore[arg-type]
        case "lograndint":
            return IntDistribution(low, high, log=True)  # type: ignore[arg-type]
        case _:
            return CategoricalDistribution(domain.choices)
