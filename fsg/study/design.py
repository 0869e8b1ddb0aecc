"""From a specification to its plan: which arms, in which blocks, and how they are read.

A design says which overrides of the base make an arm; explicit arms and baselines stand beside it, in every block. An arm
must be a valid trial, and no two arms the same one. Proof: ``tests/study/test_design.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fsg.config import DEFAULT_NAMES, TrialConfig, digest, merge
from fsg.errors import ConfigError
from fsg.fusing import settled
from fsg.parts import has_part, names, part_of
from fsg.study.designs import ARM_NAME, DesignBase
from fsg.study.designs.base import leaves
from fsg.study.plan import Block, Plan
from fsg.yaml_source import Location, did_you_mean

if TYPE_CHECKING:
    from fsg.study.spec import AblationSpec

FULL = "full"


@dataclass(frozen=True, slots=True)
class _Arm:
    """An arm before it is checked: its overrides, where they are written, and the estimator it is named by."""

    name: str
    overrides: Mapping[str, Any]
    place: Location
    estimator: str | None = None


def resolve(spec: AblationSpec) -> Plan:
    """The plan of an ablation.

    ConfigError, at the line of the arm, for a design that cannot be, an arm that is no valid trial, that changes nothing,
    that is named or configured like another, that sets what every arm must share, or when there are fewer than two.
    """
    arms = _arms(spec)
    names = [arm.name for arm in _unchecked(spec)]
    reference, baseline = ends(spec, names)
    blocks = []
    for block in _blocks(spec):
        prefix = f"{block}/" if block else ""
        whole = tuple(prefix + name for name in names)
        blocks.append(Block(block, whole, prefix + reference, None if baseline is None else prefix + baseline))
    return Plan(spec.name, arms, tuple(names), tuple(blocks), reference, baseline, spec.first_seeds)


def _arms(spec: AblationSpec) -> dict[str, TrialConfig]:
    """Every arm by name, ``block/arm`` in a cross: the design's, the explicit ones, the baselines; with the base's seed."""
    _check_design(spec)
    arms = list(_unchecked(spec))
    resolved: dict[str, TrialConfig] = {}
    for block, overrides in _blocks(spec).items():
        base = _block_base(spec, block, overrides)
        for arm in arms:
            name = f"{block}/{arm.name}" if block else arm.name
            if name in resolved:
                raise spec.refuse(arm.place, f'arm "{name}" is given twice; every arm needs a name of its own.')
            resolved[name] = _resolve(spec, base, arm, name)
    if len(resolved) < 2:
        found = f'only "{next(iter(resolved))}"' if resolved else "none"
        raise spec.refuse((), f"an ablation compares at least 2 arms, found {found}; add a design, arms or baselines.")
    _check_different(spec, arms, resolved)
    return _budgeted(spec, resolved, [arm.name for arm in arms]) | spec.tuned


def ends(spec: AblationSpec, names: list[str]) -> tuple[str, str | None]:
    """Reference and baseline, without their block: the analysis', else the design's, else ``full`` and ``ste``."""
    first, last = spec.design.ends() or (None, None) if spec.design else (None, None)
    reference = spec.analysis.reference or first or (FULL if FULL in names else names[0])
    baseline = spec.analysis.baseline or last or ("ste" if "ste" in names else None)
    return reference, baseline if spec.analysis.baseline or baseline != reference else None


def left_out(spec: AblationSpec) -> list[str]:
    """The combinations of components that are no arms because their rules forbid them: ``no_hgs: lre requires hgs``."""
    return spec.design.left_out() if spec.design else []


def aliases(design: DesignBase | None) -> list[str]:
    """What a fraction cannot tell apart: ``I = a*b*c``, ``a = b*c``, ...; empty for any other design."""
    return design.aliases() if design else []


def factor_levels(spec: AblationSpec, block: Block) -> tuple[tuple[str, ...], dict[str, tuple[bool, ...]]]:
    """The factors of the design, and which are on in each of the block's arms; empty for a design without factors."""
    if spec.design is None:
        return (), {}
    prefix = f"{block.name}/" if block.name else ""
    return spec.design.factors(), {prefix + name: on for name, on in spec.design.levels().items()}


def doses(spec: AblationSpec, block: Block) -> tuple[str, dict[str, Any]]:
    """The option that a dose-response design varies, and its value in each of the block's arms; ("", {}) for any other."""
    path, values = spec.design.doses() if spec.design else ("", {})
    prefix = f"{block.name}/" if block.name else ""
    return path, {prefix + name: value for name, value in values.items()}


def _blocks(spec: AblationSpec) -> dict[str, dict[str, Any]]:
    return spec.design.blocks() if spec.design else {"": {}}


def _unchecked(spec: AblationSpec) -> Iterator[_Arm]:
    for arm in spec.design.arms() if spec.design else ():
        yield _Arm(arm.name, arm.overrides, ("design", *arm.place))
    for name, over in spec.arms.items():
        yield _Arm(name, over, ("arms", name))
    listed = spec.source is not None and isinstance(spec.source.data.get("baselines"), list)
    for index, (name, over) in enumerate(spec.baselines.items()):
        place: Location = ("baselines", index if listed else name)
        if not has_part("gradient", name):
            known = names("gradient")
            hint = did_you_mean(name, known)
            message = f'baseline "{name}" is no gradient estimator.{hint} Allowed: {", ".join(known)}.'
            raise spec.refuse(place, message)
        yield _Arm(name, merge({"gradient": {"name": name}}, over), place, estimator=name)


def _block_base(spec: AblationSpec, block: str, overrides: Mapping[str, Any]) -> TrialConfig:
    try:
        return spec.base.derive(overrides, spec.source, ("design",), f'block "{block}": ' if block else "")
    except ConfigError:
        _blame_part(spec, spec.base)
        raise


def _resolve(spec: AblationSpec, base: TrialConfig, arm: _Arm, name: str) -> TrialConfig:
    if not ARM_NAME.fullmatch(arm.name):
        message = f'"{arm.name}" cannot name an arm; use up to 64 letters, digits, "_", "-" and ".".'
        raise spec.refuse(arm.place, message)
    subject = f'arm "{name}": '
    if "seed" in arm.overrides:
        message = f'{subject}it sets "seed", but every arm runs the seeds of "seeds"; remove it.'
        raise spec.refuse((*arm.place, "seed"), message)
    if "epochs" in arm.overrides and spec.fairness.equal is not None:
        message = f'{subject}it sets "epochs", but fairness.equal is {spec.fairness.equal}; remove one of them.'
        raise spec.refuse((*arm.place, "epochs"), message)
    try:
        config = base.derive(arm.overrides, spec.source, arm.place, subject)
    except ConfigError:
        if arm.place[0] == "design":
            _blame_part(spec, base)
        raise
    if arm.estimator and config.gradient.name != arm.estimator:
        message = f'{subject}it is named by its estimator, but sets gradient.name to "{config.gradient.name}".'
        raise spec.refuse((*arm.place, "gradient"), message)
    return settled(config)


def _budgeted(spec: AblationSpec, arms: Mapping[str, TrialConfig], names: list[str]) -> dict[str, TrialConfig]:
    """Each arm with the epochs that its block's reference pays for."""
    if not spec.fairness.by_cost:
        return dict(arms)
    reference, _ = ends(spec, names)
    found = {}
    for name, config in arms.items():
        block, slash, _arm = name.rpartition("/")
        found[name] = spec.fairness.budgeted(name, config, block + slash + reference)
    return found


def _blame_part(spec: AblationSpec, base: TrialConfig) -> None:
    """Refuse the first part of the design that is no trial by itself, at its own line."""
    for place, subject, overrides in spec.design.parts() if spec.design else ():
        base.derive(overrides, spec.source, ("design", *place), subject)


def _check_design(spec: AblationSpec) -> None:
    for place, message in spec.design.problems(spec.base) if spec.design else ():
        raise spec.refuse(("design", *place), message)


def _check_different(spec: AblationSpec, arms: list[_Arm], resolved: Mapping[str, TrialConfig]) -> None:
    """No arm is empty, another arm again, or a combination that the design forbids."""
    places = dict(zip(resolved, arms * len(_blocks(spec)), strict=True))
    bases = {block: spec.base.derive(over) for block, over in _blocks(spec).items()}
    empty = {arm.name for arm in arms if arm.place[0] == "arms" and arm.overrides and not _names_a_kind(arm.overrides)}
    names: dict[str, str] = {}
    base_effect = {block: _effect(base) for block, base in bases.items()}
    forbidden = _forbidden(spec, bases) if spec.arms else {}
    for name, config in resolved.items():
        effect, arm = _effect(config), places[name]
        same = names.setdefault(effect, name)
        if same != name:
            raise spec.refuse(arm.place, f'arm "{name}" is the same trial as arm "{same}"; change or remove one.')
        if arm.place[0] == "arms" and effect in forbidden:
            message = f'arm "{name}" is a combination that the design forbids: {forbidden[effect]}.'
            raise spec.refuse(arm.place, message)
        if effect != base_effect[name.rpartition("/")[0]]:
            empty.discard(arm.name)
    for arm in arms:
        if arm.name in empty:
            message = f'arm "{arm.name}" is empty: what it sets is what the base has. Write {{}} if the base is meant.'
            raise spec.refuse(arm.place, message)


def _names_a_kind(overrides: Mapping[str, Any]) -> bool:
    """Whether an arm says which model, estimator, ... it is, as in ``fsg: {gradient: fsg}``: the base may be just that."""
    return any(path[-1] == "name" or path[-1] in DEFAULT_NAMES for path in leaves(overrides))


def _forbidden(spec: AblationSpec, bases: Mapping[str, TrialConfig]) -> dict[str, str]:
    """What a forbidden combination does -> the rule that it breaks."""
    found = {}
    for arm in spec.design.forbidden() if spec.design else ():
        for base in bases.values():
            try:
                found[_effect(base.derive(arm.overrides))] = arm.name
            except ConfigError:
                continue  # forbidden because it is no trial
    return found


def _effect(config: TrialConfig) -> str:
    """What tells two arms apart. What is switched off has no options, and a history of length 1 is none."""
    identity = settled(config).identity() | {"seed": 0}
    identity["gradient"] |= part_of("gradient", config.gradient).fact("unused", config.gradient)
    return digest(identity, 64)
