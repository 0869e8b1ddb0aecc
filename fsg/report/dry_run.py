"""The plan of a study before it starts: its arms, its trials, and how long they would take here."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from fsg.catalogue.data import DataConfig
from fsg.config import TrialConfig
from fsg.cores import usable_cores
from fsg.execution.devices import OF_CLUSTER
from fsg.files import as_size
from fsg.parts import part_of
from fsg.report.exercised import percent
from fsg.report.plain import add_row
from fsg.report.progress import clock
from fsg.stats.exercised import LEAST
from fsg.study.design import aliases, left_out
from fsg.study.layers import check_layers
from fsg.study.optimizers import check_optimizers
from fsg.study.population import is_population, population_of
from fsg.study.pretrained import check_pretrained
from fsg.study.search import constraints_of, describe_budget, drawn, require
from fsg.study.space import describe
from fsg.study.spec import AblationSpec, SweepSpec

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fsg.execution.engine import Resources
    from fsg.train.probe import Probe

CHECKPOINTS = {"last": 1, "best+last": 2}  # of a trial that has finished
PROBED = 5  # points of a space
TRIAL_OVERHEAD = 0.2  # seconds of Ray and ledger for each trial with a reused actor, measured
_ALIKE = {"epochs": "epochs", "time": "training time, as measured here", "flops": "floating-point operations"}
START_UP = 15.0  # seconds to start Ray and its first workers, measured


def describe_plan(spec: AblationSpec | SweepSpec, resources: Resources) -> RenderableType:
    """Arms, trials and an estimate from a few timed steps of each arm. Trains on this machine, writes nothing.

    A sweep's trials are as long as PROBED of them, drawn at random from its space, are on average.
    """
    if isinstance(spec, SweepSpec):
        require(spec.search)
    check_optimizers(spec)
    check_layers(spec)
    check_pretrained(spec)
    import torch
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    torch.set_num_threads(max(1, int(resources.cpus_per_trial)))  # as a trial's worker does
    groups = _groups(spec)
    seeds = len(spec.first_seeds) if isinstance(spec, AblationSpec) else spec.search.trials

    title = Text(spec.name, style="table.title")
    table = Table("trials of" if isinstance(spec, SweepSpec) else "arm", title=title, title_justify="left")
    for name in ("trials", "epochs", "step", "trial"):
        table.add_column(name, justify="right")
    total, stored, lengths = 0.0, 0.0, set()
    for (group, configs), found in zip(groups.items(), _probes(groups.values()), strict=True):
        epochs = [config.epochs for config in configs]
        times = [p.seconds * p.steps * n + TRIAL_OVERHEAD for p, n in zip(found, epochs, strict=True)]
        total += fmean(times) * seeds
        stored += CHECKPOINTS[spec.keep] * fmean(p.checkpoint_bytes for p in found) * seeds
        lengths |= set(epochs)
        steps = _spread([f"{1000 * p.seconds:.1f}" for p in sorted(found)], " ms")
        add_row(table, group, str(seeds), _spread(sorted(epochs)), steps, _spread([clock(t) for t in sorted(times)]))
    cores = usable_cores()
    slots = max(1, int(cores / resources.cpus_per_trial))
    trials = len(groups) * seeds
    of = f" of {spec.base.epochs} epochs" if lengths == {spec.base.epochs} else ""
    lines = [
        f"{trials} trials{of}, {slots} side by side on {cores} cores: "
        f"about {clock(START_UP + total / min(slots, trials))}.",
        _costs(spec, total / 3600, stored, resources),
        *_data_notes(config.data for configs in groups.values() for config in configs),
        *sentences(spec),
    ]
    if isinstance(spec, AblationSpec):
        lines += _idle(spec)
    return Group(
        table, *(Text(line) for line in lines), Text("Dry run: nothing was started, nothing was written.", style="dim")
    )


def sentences(spec: AblationSpec | SweepSpec) -> Iterator[str]:
    """What a plan is besides its numbers: the space and its rules, or seeds, fairness, aliases and the search before it."""
    if isinstance(spec, SweepSpec):
        yield "Searched: " + "; ".join(f"{path} {domain}" for path, domain in describe(spec.space))
        yield from (f"Tried first: {start.label}." for start in spec.start_from)
        yield from (f"Only where {constraint}." for constraint in spec.constraints)
        if spec.seeds_per_config > 1:
            yield f"Up to {spec.seeds_per_config} times that: a configuration runs on as many seeds if it keeps up."
        if spec.budget:
            yield describe_budget(spec.budget)
        if spec.scheduler.name != "none":
            yield _scheduled(spec)
        return
    if spec.fairness.equal is not None:
        yield f"Every arm has the same {_ALIKE[spec.fairness.equal]}."
    yield f"Seeds {', '.join(map(str, spec.first_seeds))}, the same in every arm."
    if found := aliases(spec.design):
        yield f"Aliased in this fraction: {', '.join(found)}."
    yield from (f"Left out, its rules forbid it: {why}." for why in left_out(spec))
    if spec.retune is not None:
        most = spec.retune.seeds_per_config
        seeds = f", each on up to {most} seeds" if most > 1 else ""
        yield f"Before that, {spec.retune.trials_per_arm} trials of search for each arm{seeds}, not counted here."


def _groups(spec: AblationSpec | SweepSpec) -> dict[str, list[TrialConfig]]:
    """What to time, by the row it stands in: each arm, or some points of a space."""
    if isinstance(spec, AblationSpec):
        return {arm: [config] for arm, config in spec.plan.arms.items()}
    points = list(itertools.islice(drawn(spec.space, spec.base, constraints_of(spec)[0]), PROBED))
    return {f"the space, at {len(points)} points": points}


def _probes(groups: Iterable[list[TrialConfig]]) -> Iterator[list[Probe]]:
    """A few timed steps of each; a data set is loaded or made up once, and none is downloaded."""
    from fsg.data import stand_in
    from fsg.train.probe import probe

    load = functools.cache(stand_in)
    for configs in groups:
        yield [probe(config, load(config.data.model_copy(update={"batch_size": 1}))) for config in configs]


def _idle(spec: AblationSpec) -> Iterator[str]:
    """What hardly acts in the reference arms, by some hundred steps of their first seed; images must be there for it."""
    from fsg.data import load_data, to_download
    from fsg.train.probe import tried

    for arm in dict.fromkeys(block.reference for block in spec.plan.blocks if block.reference is not None):
        config = spec.plan.arms[arm].model_copy(update={"seed": spec.first_seeds[0]})
        if to_download(config.data) is not None or part_of("data", config.data).fact("missing", config.data):
            continue
        if (found := tried(config, load_data(config.images.model_copy(update={"download": False})))) is None:
            continue
        if idle := [f"{name} {percent(change)} %" for name, change in found.changes.items() if change < LEAST]:
            yield (
                f"Hardly acts: after {found.steps} of {found.whole} steps of {arm} the direction changes by {', '.join(idle)} "
                f"without it. No verdict is given on what moves it by less than {percent(LEAST)} %: raise the rates of the "
                "networks that generate it, or train for longer."
            )


def _data_notes(data: Iterable[DataConfig]) -> list[str]:
    """Of each data set: what will be downloaded or is missing when the study begins, and whether steps had other images."""
    from fsg.data import to_download

    notes: list[str] = []
    for config in dict.fromkeys(data):
        part, folder = part_of("data", config), to_download(config)
        notes += [f"{config.name} is downloaded into {folder} when it begins."] if folder is not None else []
        if why := part.fact("missing", config):
            notes.append(f"It cannot begin yet. {why}")
        if part.fact("stand_in", config) is not None:
            notes.append(f"Steps were timed on made-up images of the shape of {config.name}: nothing was downloaded.")
    return list(dict.fromkeys(notes))


def _spread(values: Sequence[object], unit: str = "") -> str:
    """The middle one of sorted values, and where they go apart, from where to where."""
    middle, (low, high) = values[len(values) // 2], (values[0], values[-1])
    return f"{middle}{unit}" if low == high else f"{middle}{unit} ({low} to {high})"


def _costs(spec: AblationSpec | SweepSpec, hours: float, stored: float, resources: Resources) -> str:
    """Hours of GPUs or cores, money where the study knows prices, and storage."""
    from fsg.execution.engine import device_of
    from fsg.search.budget import hourly_price

    cpus, gpus = resources.cpus_per_trial, resources.gpus_per_trial
    parts = [f"{hours * gpus:.2g} GPU-hours" if gpus else f"{hours * cpus:.2g} core-hours"]
    budget = spec.budget if isinstance(spec, SweepSpec) else None
    if budget is not None and budget.prices:
        device = device_of(resources)
        at_most = "at most " if device in OF_CLUSTER.values() else ""
        price = hourly_price(budget.prices, device) * (gpus or cpus)
        parts.append(f"a cost of {at_most}{hours * price:.2g} on {device}")
    return f"It takes about {', '.join(parts)}, and {as_size(stored)} of checkpoints."


def _scheduled(spec: SweepSpec) -> str:
    """What the scheduler does to the plan."""
    if is_population(spec):
        scheduler = population_of(spec)
        return (
            f"Every {scheduler.perturb_epochs} epochs the worst {scheduler.quantile:.0%} go on from copies of the best."
        )
    return "Early stopping ends it sooner."
