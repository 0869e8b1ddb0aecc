"""Samplers: who proposes the points of a sweep. ``auto`` stands for one of the others (``fsg.study.search.sampler_of``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from fsg.parts import register
from fsg.section import Section

# Points of a grid: 3 s, 0.2 GB; values of one path that Optuna's gp lays out at each proposal: 8 MB.
MOST_LISTED = 1_000_000
Unfit = Iterator[tuple[str | None, str]]


class AutoSampler(Section):
    """``curves`` where its model fits, else ``tpe``."""

    name: Literal["auto"] = "auto"


class CurvesSampler(Section):
    """Learns from every epoch of every trial by a Gaussian process, and tells ASHA and Hyperband which will end well."""

    name: Literal["curves"] = "curves"


class OptunaSampler(Section):
    """One of Optuna's.

    Args:
        name: ``tpe``: tree of Parzen estimators; ``gp``: Gaussian process; ``cmaes``: CMA-ES; ``qmc``: a low-discrepancy
            sequence; ``nsga2``: evolution for several objectives; ``random``.
    """

    name: Literal["tpe", "gp", "cmaes", "qmc", "nsga2", "random"] = "tpe"


class GridSampler(Section):
    """Every point of a space without continuous ranges, in an order that the seed shuffles."""

    name: Literal["grid"] = "grid"


SamplerConfig = AutoSampler | CurvesSampler | OptunaSampler | GridSampler


def _unfit_for_grid(config: GridSampler, space: Any) -> Unfit:
    endless = [path for path, domain in space.domains.items() if domain.count is None]
    for path in endless:
        yield (
            path,
            f'a grid has no end in a {space.root[path].kind}; use quniform, randint or choice for "{path}".',
        )
    if not endless and space.size > MOST_LISTED:
        yield (
            None,
            f"grid, and the space has {space.size:,} points, more than the {MOST_LISTED:,} of a grid; use larger steps, or the "
            "sampler qmc or random.",
        )


def _unfit_for_gp(config: OptunaSampler, space: Any) -> Unfit:
    for path, domain in space.domains.items():
        if domain.count is not None and domain.count > MOST_LISTED:
            yield (
                None,
                f"gp, which lays out every value of {path}, {domain.count:,} of them, and can do so with {MOST_LISTED:,}; use "
                "curves or tpe, or a range without steps.",
            )


def _unfit_for_cmaes(config: OptunaSampler, space: Any) -> Unfit:
    if all(domain.choices for domain in space.domains.values()):
        yield None, "cmaes, which searches numbers, and this space has choices alone; use tpe."


# Optuna imports cmaes from there, and searches the acquisition of a Gaussian process from several starts at once by greenlet:
# without it one after the other, which takes twice as long and rounds to other proposals.
_HOME = "fsg.search.samplers"
register("sampler", CurvesSampler, f"{_HOME}:curves", conditional=True)
register("sampler", OptunaSampler, f"{_HOME}:tpe", names=["tpe"], conditional=True, objectives=True)
register(
    "sampler", OptunaSampler, f"{_HOME}:gp", names=["gp"], objectives=True, package="greenlet", unfit=_unfit_for_gp
)
register(
    "sampler",
    OptunaSampler,
    f"{_HOME}:cmaes",
    names=["cmaes"],
    constraints=False,
    package="cmaes",
    unfit=_unfit_for_cmaes,
)
register("sampler", OptunaSampler, f"{_HOME}:qmc", names=["qmc"], objectives=True, resumable=True, adapts=False)
register("sampler", OptunaSampler, f"{_HOME}:nsga2", names=["nsga2"], objectives=True)
register(
    "sampler",
    OptunaSampler,
    f"{_HOME}:at_random",
    names=["random"],
    conditional=True,
    objectives=True,
    adapts=False,
)
register(
    "sampler",
    GridSampler,
    f"{_HOME}:at_random",
    conditional=True,
    objectives=True,
    exhaustive=True,
    adapts=False,
    unfit=_unfit_for_grid,
)
register("sampler", AutoSampler, f"{_HOME}:tpe", conditional=True, objectives=True)
