"""Components that a design switches on and off: single switches, groups of them, or any two sets of overrides.

``requires`` and ``excludes`` forbid combinations: these are left out of the design, and listed. Everything off is no
component's rule broken. Proof: ``tests/study/test_designs.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, product
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from fsg.config import Overrides, TrialConfig, merge
from fsg.section import Section, WrittenAs, as_tuple
from fsg.study.designs.base import ARM_NAME, DesignArm, DesignBase, Problem, leaves
from fsg.study.designs.fractions import MOST_FACTORS
from fsg.yaml_source import Location, did_you_mean

Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]


class Component(Section):
    """Switches of the gradient estimator that go on and off together, or the overrides ``on`` and ``off``.

    Args:
        switches: The switches; a list alone is short for this.
        on: What it changes in the base when it is on; left out: nothing.
        off: What it changes when it is off; left out: nothing.
        requires: Components that must be on wherever this one is.
        excludes: Components that must not.
    """

    switches: Annotated[Names, Field(min_length=1)] | None = None
    on: Overrides | None = None
    off: Overrides | None = None
    requires: Names = ()
    excludes: Names = ()

    @model_validator(mode="after")
    def _has_one_meaning(self) -> Component:
        if (self.switches is None) == (self.on is None and self.off is None):
            raise ValueError("a component is a list of switches, or overrides {on: ..., off: ...}; give one of them.")
        return self

    @model_serializer(mode="wrap")
    def _without_blanks(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value}

    def overrides(self, on: bool) -> dict[str, Any]:
        """What the component changes in the base when it is ``on``, or off."""
        if self.switches is not None:
            return {"gradient": dict.fromkeys(self.switches, on)}
        return (self.on if on else self.off) or {}


def _component(value: Any) -> Any:
    return {"switches": value} if isinstance(value, list) else value


_Named = Annotated[Component, BeforeValidator(_component), WrittenAs(lambda: Component | list[str])]


class Factors(DesignBase):
    """A design over components.

    Args:
        switches: Short for one component per switch of the gradient estimator, named by it.
        components: Name -> component.
    """

    switches: Annotated[Names, Field(min_length=1)] | None = None
    components: Annotated[dict[str, _Named], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _has_one_form(self) -> Factors:
        if (self.switches is None) == (self.components is None):
            raise ValueError("name its factors in one way: switches: [hgs, lre], or components: {memory: [hgs, lre]}.")
        return self

    def factors(self) -> tuple[str, ...]:
        """The components' names, in order."""
        return tuple(self.members())

    def members(self) -> dict[str, Component]:
        """Name -> component."""
        if self.components is not None:
            return dict(self.components)
        return {name: Component(switches=(name,)) for name in self.switches or ()}

    def runs(self) -> Iterable[tuple[bool, ...]]:
        """Which components are on in each arm, before any is left out."""
        raise NotImplementedError

    def arm_name(self, levels: tuple[bool, ...]) -> str:
        """``full``, or ``no_`` and what is off."""
        off = [name for name, on in zip(self.factors(), levels, strict=True) if not on]
        return "_".join(["no", *off]) if off else "full"

    def levels(self) -> dict[str, tuple[bool, ...]]:
        """Arm -> which components are on."""
        return {self.arm_name(levels): levels for levels in self.runs() if not self._broken(levels)}

    def arms(self) -> list[DesignArm]:
        """One for each run that breaks no rule."""
        return [self._arm(levels, name) for name, levels in self.levels().items()]

    def left_out(self) -> list[str]:
        """The runs that break a rule, and which."""
        return [f"{self.arm_name(levels)}: {why}" for levels in self.runs() if (why := self._broken(levels))]

    def forbidden(self) -> Iterator[DesignArm]:
        """All combinations that break a rule, in this design or not."""
        for levels in product((True, False), repeat=len(self.factors())):
            if why := self._broken(levels):
                yield self._arm(levels, why)

    def parts(self) -> Iterator[tuple[Location, str, Mapping[str, Any]]]:
        """The overrides of each component."""
        for name, component in self.members().items():
            for key, on in (("on", True), ("off", False)):
                yield (*self._place(name), key), f'component "{name}": ', component.overrides(on)

    def problems(self, base: TrialConfig) -> Iterator[Problem]:
        """Components that do not exist, change nothing, meddle with each other, or can never be on."""
        found = list(self._component_problems(base))
        yield from found
        if found:
            return
        levels = self.levels()
        if not levels:
            yield (), f"every arm of the design is left out: {'; '.join(self.left_out())}."
            return
        for index, name in enumerate(self.factors()):
            if not any(on[index] for on in levels.values()):
                why = "; ".join(self.left_out())
                yield self._place(name), f'the component "{name}" is on in no arm, so nothing is learnt of it ({why}).'

    def _component_problems(self, base: TrialConfig) -> Iterator[Problem]:
        members = self.members()
        if len(members) > MOST_FACTORS:
            yield (), f"{len(members)} components; a design takes up to {MOST_FACTORS}. Group what belongs together."
            return
        if self.switches is not None:
            for index, name in enumerate(self.switches):
                if name in self.switches[:index]:
                    yield ("switches", index), f'the switch "{name}" is given twice.'
                    return
        gradient = base.gradient
        known = [name for name, field in type(gradient).model_fields.items() if field.annotation is bool]
        for name, component in members.items():
            place = self._place(name)
            if self.components is not None and not ARM_NAME.fullmatch(name):
                yield place, f'"{name}" cannot name a component; use up to 64 letters, digits, "_", "-" and ".".'
            for switch in component.switches or ():
                if switch not in known:
                    has = f"its switches are {', '.join(known)}" if known else "it has none"
                    hint = did_you_mean(switch, known)
                    message = f'the base\'s gradient estimator "{gradient.name}" has no switch "{switch}"; {has}.{hint}'
                    yield self._switch_place(name, switch), message
            yield from self._rule_problems(name, component)
            as_data = base.model_dump()
            if merge(as_data, component.overrides(True)) == merge(as_data, component.overrides(False)):
                yield place, f'the component "{name}" is empty: on and off are the same trial.'
        for (a, one), (b, other) in combinations(members.items(), 2):
            if path := _shared_path(one, other):
                yield self._place(b), f'the components "{a}" and "{b}" both set "{path}"; one would hide the other.'

    def _rule_problems(self, name: str, component: Component) -> Iterator[Problem]:
        others = [other for other in self.factors() if other != name]
        for rule, named in (("requires", component.requires), ("excludes", component.excludes)):
            for index, other in enumerate(named):
                if other not in others:
                    hint = did_you_mean(other, others)
                    message = f'the component "{name}" {rule} "{other}", which is no other component.{hint}'
                    yield (*self._place(name), rule, index), message

    def _broken(self, levels: tuple[bool, ...]) -> str | None:
        """The first rule that this combination breaks: ``lre requires hgs``."""
        on = {name for name, is_on in zip(self.factors(), levels, strict=True) if is_on}
        for name, component in self.members().items():
            if name in on:
                for other in component.requires:
                    if other not in on:
                        return f"{name} requires {other}"
                for other in component.excludes:
                    if other in on:
                        return f"{name} excludes {other}"
        return None

    def _arm(self, levels: tuple[bool, ...], name: str) -> DesignArm:
        overrides: dict[str, Any] = {}
        for component, on in zip(self.members().values(), levels, strict=True):
            overrides = merge(overrides, component.overrides(on))
        return DesignArm(name, overrides)

    def _place(self, name: str) -> Location:
        return ("components", name) if self.components is not None else ("switches", self.factors().index(name))

    def _switch_place(self, name: str, switch: str) -> Location:
        if self.components is None:
            return self._place(name)
        index = (self.components[name].switches or ()).index(switch)
        # A group written as a bare list has no key "switches" in the file; the line is then the component's own.
        return ("components", name, "switches", index)


def _shared_path(one: Component, other: Component) -> str | None:
    """A path that both set, or that one sets within what the other replaces."""
    paths = [{path for on in (True, False) for path in leaves(c.overrides(on))} for c in (one, other)]
    for a, b in product(*paths):
        short = min(a, b, key=len)
        if a[: len(short)] == b[: len(short)]:
            return ".".join(short)
    return None
