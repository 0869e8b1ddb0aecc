"""The plan of a study before it starts: its arms, its trials, and how long they would take here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fsg.report.progress import clock
from fsg.study.design import aliases, arms_of, left_out
from fsg.study.population import Pb2, Pbt
from fsg.study.search import describe_budget
from fsg.study.space import describe
from fsg.study.spec import AblationSpec, SweepSpec

if TYPE_CHECKING:
    from rich.console import RenderableType

CHECKPOINTS = 2  # a trial keeps its newest and the one before
TRIAL_OVERHEAD = 0.2  # seconds of Ray and ledger for each trial with a reused actor, measured
_ALIKE = {"epochs": "epochs", "time": "training time, as measured here", "flops": "floating-point operations"}
START_UP = 15.0  # seconds to start Ray and its first workers, measured


def describe_plan(spec: AblationSpec | SweepSpec, cpus_per_trial: float, gpus_per_trial: float) -> RenderableType:
    """Arms, trials and an estimate from a few timed steps of each arm. Trains on this machine, writes nothing."""
    import torch
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from fsg.data import load_data
    from fsg.train.probe import probe

    torch.set_num_threads(max(1, int(cpus_per_trial)))  # as a trial's worker does
    arms = arms_of(spec) if isinstance(spec, AblationSpec) else {"the base": spec.base}
    data = {config.data: None for config in arms.values()}
    loaded = {key: load_data(key) for key in data}
    seeds = len(spec.first_seeds) if isinstance(spec, AblationSpec) else spec.search.trials

    table = Table("arm", title=spec.name, title_justify="left")
    for name in ("trials", "epochs", "step", "trial"):
        table.add_column(name, justify="right")
    total, stored = 0.0, 0
    for arm, config in arms.items():
        found = probe(config, loaded[config.data])
        seconds = found.seconds * found.steps * config.epochs + TRIAL_OVERHEAD
        total += seconds * seeds
        stored += CHECKPOINTS * found.checkpoint_bytes * seeds
        table.add_row(arm, str(seeds), str(config.epochs), f"{1000 * found.seconds:.1f} ms", clock(seconds))
    slots = max(1, int((os.cpu_count() or 1) / cpus_per_trial))
    trials = len(arms) * seeds
    lengths = {config.epochs for config in arms.values()}
    of = f" of {spec.base.epochs} epochs" if lengths == {spec.base.epochs} else ""
    lines = [
        f"{trials} trials{of}, {slots} side by side on {os.cpu_count()} cores: "
        f"about {clock(START_UP + total / min(slots, trials))}.",
        _costs(spec, total / 3600, stored, cpus_per_trial, gpus_per_trial),
    ]
    if isinstance(spec, SweepSpec):
        lines.append("Searched: " + "; ".join(f"{path} {domain}" for path, domain in describe(spec.space)))
        lines += [f"Tried first: {start.label}." for start in spec.start_from]
        lines += [f"Only where {constraint}." for constraint in spec.constraints]
        if spec.seeds_per_config > 1:
            lines.append(
                f"Up to {spec.seeds_per_config} times that: a configuration runs on as many seeds if it keeps up."
            )
        lines += [describe_budget(spec.budget)] if spec.budget else []
        lines += [_scheduled(spec)] if spec.scheduler.name != "none" else []
    else:
        if spec.fairness.equal is not None:
            lines.append(f"Every arm has the same {_ALIKE[spec.fairness.equal]}.")
        lines.append(f"Seeds {', '.join(map(str, spec.first_seeds))}, the same in every arm.")
        lines += [f"Aliased in this fraction: {', '.join(found)}." for found in [aliases(spec.design)] if found]
        lines += [f"Left out, its rules forbid it: {why}." for why in left_out(spec)]
        if spec.retune is not None:
            lines.append(f"Before that, {spec.retune.trials_per_arm} trials of search for each arm, not counted here.")
    return Group(
        table, *(Text(line) for line in lines), Text("Dry run: nothing was started, nothing was written.", style="dim")
    )


def _costs(spec: AblationSpec | SweepSpec, hours: float, stored: int, cpus: float, gpus: float) -> str:
    """Hours of GPUs or cores, money where the study knows prices, and storage."""
    from fsg.tune.budget import hourly_price
    from fsg.tune.runner import Resources, device_name

    parts = [f"{hours * gpus:.2g} GPU-hours" if gpus else f"{hours * cpus:.2g} core-hours"]
    budget = spec.budget if isinstance(spec, SweepSpec) else None
    if budget is not None and budget.prices:
        device = device_name(Resources(cpus, gpus))
        parts.append(f"a cost of {hours * hourly_price(budget.prices, device) * (gpus or cpus):.2g} on {device}")
    return f"It takes about {', '.join(parts)}, and {_size(stored)} of checkpoints."


def _scheduled(spec: SweepSpec) -> str:
    """What the scheduler does to the plan."""
    scheduler = spec.scheduler
    if isinstance(scheduler, Pbt | Pb2):
        return (
            f"Every {scheduler.perturb_epochs} epochs the worst {scheduler.quantile:.0%} go on from copies of the best."
        )
    return "Early stopping ends it sooner."


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
