"""Under which packages, and on what, the trials of a study were trained: numerics that differ are not mixed in silence.

Proof: ``tests/record/test_versions.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fsg.record.ledger import StudyState, TrialRecord

NUMERIC = ("fsg", "torch", "numpy")  # the packages that decide a trial's numbers


def numerics(versions: Mapping[str, str]) -> str:
    """The packages that decide numbers, as a reader wants them: ``fsg 0.1.0, torch 2.15.0``."""
    return ", ".join(f"{name} {versions[name]}" for name in NUMERIC if name in versions)


def change(state: StudyState, now: Mapping[str, str], device: str | None = None) -> str | None:
    """What a study that goes on under the packages ``now`` is to say first; None where its numbers come from the same.

    ``device``: what it goes on on, None where that is not known yet. A version that was not written down is no other one.
    """
    trained = [trial for trial in state.trials.values() if trial.epochs]
    earlier = [versions for trial in trained for versions in trial.versions]
    others = [
        f"{name} {old}, now {now[name]}"
        for name in NUMERIC
        for old in dict.fromkeys(versions[name] for versions in earlier if name in versions)
        if name in now and old != now[name]
    ]
    devices = dict.fromkeys(trial.device for trial in trained if trial.device)
    if device and devices and list(devices) != [device]:
        others.append(f"{' and '.join(devices)}, now {device}")
    if not others:
        return None
    return (
        f"The first trials of this study were trained otherwise: {'; '.join(others)}. Numbers may differ in their last digits; "
        "its table says which seeds ran under what."
    )


def mixtures(records: Iterable[TrialRecord]) -> tuple[str, ...]:
    """A note for each set of packages and device, where the finished trials had more than one: which seeds ran under it."""
    ran: dict[str, dict[str, list[int]]] = {}
    for record in records:
        if record.status == "finished":
            packages = " and then ".join(dict.fromkeys(numerics(versions) for versions in record.versions))
            place = f"{packages or 'packages not recorded'} on {record.device or 'a device not recorded'}"
            ran.setdefault(place, {}).setdefault(record.arm, []).append(record.seed)
    if len(ran) < 2:
        return ()
    return tuple(f"NOT ALL UNDER THE SAME: {_seeds(arms)} ran under {place}." for place, arms in ran.items())


def _seeds(arms: Mapping[str, Sequence[int]]) -> str:
    """The arms by what seeds they have: ``seeds 0, 1 of full, ste and seed 2 of ema``."""
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for arm, seeds in arms.items():
        by_seeds.setdefault(tuple(sorted(seeds)), []).append(arm)
    parts = [
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))} of {', '.join(names)}"
        for seeds, names in by_seeds.items()
    ]
    return " and ".join(parts)
