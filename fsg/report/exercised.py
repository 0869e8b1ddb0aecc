"""What each arm's estimator changed in the direction, and which comparisons that leaves nothing to compare.

    found = exercises(state.trials.values())          # arm -> ArmExercise
    refusal(found["full"], found["no_hgs"])           # "hgs" if the two differ in nothing that acted, else None

Two arms that differ in a switch which moved the direction by nothing are one optimiser twice: of these no difference is taken and
no verdict given, not even "equivalent". Trials of fsg 0.1 recorded nothing of it; nothing is refused there.
Proof: ``tests/report/test_exercised_arms.py``; the rule: ``fsg/stats/exercised.py``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from fsg.metrics import FLIPS_OTHER, MOVED, MOVED_BY
from fsg.record.ledger import finite
from fsg.report.cells import NONE, Cell, Grid
from fsg.stats.exercised import LEAST, Exercise, exercise

if TYPE_CHECKING:
    from fsg.record.ledger import TrialRecord

WHOLE = "the estimator"  # beside its parts: all of it against the straight-through one
REFUSED = "not exercised"  # in place of a difference
_SHOWN = ("cosine", "gain", "history_share", "slow_share", FLIPS_OTHER)


@dataclass(frozen=True, slots=True)
class ArmExercise:
    """What the finished trials of an arm recorded of its estimator.

    ``parts``: by the switch of each component, and WHOLE for all of it; empty where nothing was recorded. ``means``: of _SHOWN,
    those that were recorded. ``config``: of its trials, without the seed.
    """

    arm: str
    parts: Mapping[str, Exercise]
    means: Mapping[str, float]
    config: Mapping[str, Any]

    @property
    def idle(self) -> tuple[str, ...]:
        """Its parts that did not act."""
        return tuple(name for name, found in self.parts.items() if found.acted is False)


def exercises(records: Iterable[TrialRecord]) -> dict[str, ArmExercise]:
    """Of each arm that has a finished trial."""
    arms: dict[str, list[TrialRecord]] = defaultdict(list)
    for record in records:
        if record.status == "finished" and record.epochs:
            arms[record.arm].append(record)
    return {arm: _of_arm(arm, found) for arm, found in arms.items()}


def _of_arm(arm: str, records: Sequence[TrialRecord]) -> ArmExercise:
    config = {key: value for key, value in records[0].config.items() if key != "seed"}
    names = sorted({name for record in records for epoch in record.epochs for name in epoch})
    by_name = {name: _by_seed(records, name) for name in names if name in (MOVED, *_SHOWN) or name.startswith(MOVED_BY)}
    if _name(config) == "ste":
        by_name.pop(MOVED, None)  # it is what the others are held against
    parts = {
        WHOLE if name == MOVED else name.removeprefix(MOVED_BY): exercise(values)
        for name, values in by_name.items()
        if values and name not in _SHOWN
    }
    means = {name: fmean(by_name[name]) for name in _SHOWN if by_name.get(name)}
    return ArmExercise(arm, dict(sorted(parts.items(), key=lambda part: part[0] == WHOLE)), means, config)


def _by_seed(records: Sequence[TrialRecord], name: str) -> list[float]:
    """The mean over the epochs of each seed that recorded it."""
    found = []
    for record in records:
        values = [value for value in map(finite, (epoch.get(name) for epoch in record.epochs)) if value == value]
        found += [fmean(values)] if values else []
    return found


def _name(config: Mapping[str, Any]) -> str:
    gradient = config.get("gradient")
    return str(gradient.get("name", "fsg") if isinstance(gradient, Mapping) else gradient)


# What may be compared -------------------------------------------------------------------------------------------------
def refusal(one: ArmExercise | None, other: ArmExercise | None) -> str | None:
    """Why no verdict on the two: the parts they differ in, none of which acted. None where they may be compared.

    They may where they differ in anything else, where a part did act or the seeds do not tell, and where nothing was recorded.
    """
    if one is None or other is None or _without_gradient(one) != _without_gradient(other):
        return None
    named = {_name(arm.config): arm for arm in (one, other)}
    if len(named) == 2 and "ste" in named:
        found = [arm.parts.get(WHOLE) for name, arm in named.items() if name != "ste"]
        return WHOLE if found[0] is not None and found[0].acted is False else None
    if len(named) == 2:
        return None
    switched = _differences(one, other)
    judged = [one.parts.get(name) or other.parts.get(name) for name in switched]
    idle = switched and all(found is not None and found.acted is False for found in judged)
    return " and ".join(switched) if idle else None


def _without_gradient(arm: ArmExercise) -> dict[str, Any]:
    return {key: value for key, value in arm.config.items() if key != "gradient"}


def _differences(one: ArmExercise, other: ArmExercise) -> list[str]:
    """The options of the estimator that two arms of one kind set otherwise."""
    ours, theirs = (dict(arm.config.get("gradient") or {}) for arm in (one, other))
    return [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]


def idle_switches(found: Mapping[str, ArmExercise], levels: Mapping[str, Sequence[bool]]) -> frozenset[int]:
    """The factors of a design, by place, that turned nothing that acted on or off in any pair of its arms."""
    arms_of = {tuple(on): arm for arm, on in levels.items()}
    idle = set()
    for place in range(len(next(iter(levels.values()), ()))):
        pairs = [
            (found.get(arm), found.get(arms_of.get((*on[:place], False, *on[place + 1 :]), "")))
            for on, arm in arms_of.items()
            if on[place] and (*on[:place], False, *on[place + 1 :]) in arms_of
        ]
        if pairs and all(refusal(*pair) is not None for pair in pairs):
            idle.add(place)
    return frozenset(idle)


# What is said ---------------------------------------------------------------------------------------------------------
def sentences(found: Mapping[str, ArmExercise]) -> Iterator[str]:
    """A sentence for each component that did not act, and for each arm whose whole estimator did not."""
    for name in dict.fromkeys(part for arm in found.values() for part in arm.parts if part != WHOLE):
        having = [arm for arm in found.values() if name in arm.parts]
        idle = [arm for arm in having if name in arm.idle]
        if idle:
            where = "" if len(idle) == len(having) else f" in {', '.join(arm.arm for arm in idle)}"
            most = max(arm.parts[name].change for arm in idle)
            yield f"{name} was not exercised{where}: removing it changes the direction by {_below(most, len(idle))}"
    for arm in found.values():
        if WHOLE in arm.idle:
            yield f"{arm.arm} was not exercised: its direction is ste's but for {_below(arm.parts[WHOLE].change, 1)}"


def _below(most: float, arms: int) -> str:
    many = "" if arms == 1 else f" at most, over {arms} arms"
    return f"{percent(most)} %{many}, and below {percent(LEAST)} % no verdict is given on what it is worth."


def exercise_grid(found: Mapping[str, ArmExercise], title: str, caption: str) -> Grid | None:
    """What each arm changed in the direction, part by part; None where no trial recorded it."""
    names = list(dict.fromkeys(name for arm in found.values() for name in arm.parts if name != WHOLE))
    if not any(arm.parts for arm in found.values()):
        return None
    means = {"cosine": ("cosine", 1, 4), "gain": ("gain", 1, 2), "history_share": ("past %", 100, 1)}
    means |= {"slow_share": ("slow %", 100, 0), FLIPS_OTHER: ("other flips %", 100, 0)}
    shown = {name: how for name, how in means.items() if any(name in arm.means for arm in found.values())}

    def cell(arm: ArmExercise, part: str) -> Cell:
        judged = arm.parts.get(part)
        if judged is None:
            return Cell(NONE)
        mark = {True: "", False: "idle", None: "?"}[judged.acted]
        return Cell(percent(judged.change), mark=mark)

    def mean(arm: ArmExercise, name: str) -> Cell:
        _, factor, digits = shown[name]
        return Cell(f"{factor * arm.means[name]:.{digits}f}" if name in arm.means else NONE)

    rows = tuple(
        (
            Cell(arm.arm),
            *(mean(arm, name) for name in shown if name != FLIPS_OTHER),
            *(cell(arm, name) for name in names),
            cell(arm, WHOLE),
            *(mean(arm, name) for name in shown if name == FLIPS_OTHER),
        )
        for arm in found.values()
    )
    headers = [how[0] for name, how in shown.items() if name != FLIPS_OTHER]
    last = [how[0] for name, how in shown.items() if name == FLIPS_OTHER]
    return Grid(
        title=f"{title}: what acted",
        headers=("arm", *headers, *(f"{name} %" for name in names), "vs ste %", *last),
        rows=rows,
        notes=(
            "A part in %: by how much of its length the generated direction changes without it; vs ste: all of it against the "
            "straight-through one. Geometric means over seeds; under Adam a layer's scale does not count. idle: below "
            f"{percent(LEAST)} % at 0.95; ?: the seeds do not tell.",
            "past: share of the slow gradient that older ones made; slow: share of the slow gradient in the mix; other flips: of "
            "the weights that this or a straight-through step flips, those that the other does not.",
        ),
        caption=caption,
    )


def percent(share: float) -> str:
    """A share in percent, two figures."""
    value = 100 * share
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}" if value >= 0.01 else "0" if value < 1e-4 else "<0.01"
