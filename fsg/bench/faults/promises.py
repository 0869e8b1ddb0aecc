"""What a study promises whatever was killed when, checked on what it left behind. Each finding is a sentence.

1. A trial the ledger calls finished is never run again and never missing.
2. A trial that was running loses at most the work since its last checkpoint, and its result is the one an uninterrupted run
   gives, bit for bit.
3. One trial is one MLflow run, and none stays RUNNING; a copy made anew from the ledger is the same.
4. The searcher remembers: no configuration is forgotten, told twice or left RUNNING.

Proof: tests/faults/test_promises.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fsg.config import TrialConfig
from fsg.record.ledger import Event, TrialRecord, fold

TIMES = ("step_ms", "images_per_s")  # of the machine, not of the trial
TOLD_AS = {"finished": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "running": "RUNNING", "planned": "RUNNING"}
Final = Mapping[str, Any]


def uninterrupted(config: Mapping[str, Any]) -> dict[str, Any]:
    """The last metrics of a trial trained in this process, on one thread, with nothing around it."""
    import torch

    from fsg.train import Trainer

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer = Trainer(TrialConfig.model_validate(config, strict=False))
        last: dict[str, Any] = {}
        for result in trainer:
            last = dict(result.metrics)
    finally:
        torch.set_num_threads(threads)
    return last


def of_the_ledger(
    events: Iterable[Event], twin: Callable[[Mapping[str, Any]], Final] = uninterrupted, planned: int | None = None
) -> list[str]:
    """What the ledger of a complete study breaks. ``twin`` gives a trial's result from its configuration."""
    events = list(events)
    state, found = fold(events), []
    if planned is not None and len(state.trials) != planned:
        found.append(f"{len(state.trials)} trials in the ledger, {planned} in the plan")
    ended: set[str] = set()
    for event in events:
        key = event.get("key")
        if key in ended and event["event"] in ("started", "epoch", "finished"):
            found.append(f'trial {key}: "{event["event"]}" after it had finished')
        if event["event"] == "finished":
            ended.add(str(key))
    for key, trial in state.trials.items():
        if trial.status != "finished":
            if trial.status in ("planned", "running"):
                found.append(f"trial {key}: left {trial.status}")
            elif trial.status == "failed":
                found.append(f"trial {key}: failed: {trial.reason}")
            continue
        missing = set(range(1, trial.config["epochs"] + 1)) - {epoch["epoch"] for epoch in trial.epochs}
        if missing:
            found.append(f"trial {key}: finished without epochs {sorted(missing)}")
        found += _differences(key, trial.final or {}, twin(trial.config))
    return found


def _differences(key: str, got: Final, wanted: Final) -> list[str]:
    names = [name for name in wanted if name not in TIMES and got.get(name) != wanted[name]]
    return [f"trial {key}: {name} is {got.get(name)}, uninterrupted {wanted[name]}" for name in names]


def epochs_run_again(events: Iterable[Event]) -> int:
    """How many epochs were recorded more than once: the work that the faults cost."""
    seen = Counter((event["key"], event["metrics"]["epoch"]) for event in events if event["event"] == "epoch")
    return sum(count - 1 for count in seen.values())


def of_tracking(held: Mapping[Any, Iterable[Any]], anew: Mapping[Any, Iterable[Any]]) -> list[str]:
    """What the MLflow copy breaks; both are ``fsg.tracking.contents``: of the copy, and of one made anew from the ledger."""
    found = []
    for identity, runs in held.items():
        copies = list(runs)
        if len(copies) > 1:
            found.append(f"{' '.join(identity)}: {len(copies)} MLflow runs")
        found += [f"{' '.join(identity)}: left RUNNING in MLflow" for run in copies if run.status == "RUNNING"]
    for identity in sorted({*held, *anew}):
        if list(held.get(identity, ())) != list(anew.get(identity, ())):
            found.append(f"{' '.join(identity)}: the MLflow copy differs from one made anew")
    return found


def of_memory(told: Iterable[tuple[str | None, str]], trials: Mapping[str, TrialRecord]) -> list[str]:
    """What the searcher's memory breaks; ``told`` is ``fsg.search.memory.told``, ``trials`` the ledger's."""
    told = list(told)
    times = Counter(key for key, _ in told if key is not None)
    found = [f"trial {key}: the searcher was told of it {count} times" for key, count in times.items() if count > 1]
    found += [f"trial {key}: forgotten by the searcher" for key in trials if key not in times]
    for key, state in told:
        if state == "RUNNING":
            found.append(f"trial {key}: left RUNNING in the searcher's memory")
        elif key is not None and key in trials and state != TOLD_AS[trials[key].status]:
            found.append(f"trial {key}: {trials[key].status} in the ledger, {state} in the searcher's memory")
    return found
