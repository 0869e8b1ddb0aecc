"""Designs over components: one left out at a time, one added at a time, all combinations, a balanced fraction of them.

A fraction pays for its fewer runs with aliases: effects that it cannot tell apart. They are computed, and a fraction that
hides an effect which the study asks for is refused. Proof: ``tests/study/test_design_fractions.py``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field

from fsg.config import TrialConfig
from fsg.parts import register
from fsg.study.designs.base import Problem
from fsg.study.designs.components import Factors, Names
from fsg.study.designs.fractions import Fraction, Word, available, smallest_fraction
from fsg.yaml_source import did_you_mean

_GENERATOR = re.compile(r"\s*(?P<made>[^\s=*]+)\s*=\s*(?P<sign>-?)\s*(?P<term>[^\s=*]+(\s*\*\s*[^\s=*]+)+)\s*")


class LeaveOneOut(Factors):
    """``full``, and ``no_<component>`` for each component: n + 1 arms."""

    kind: Literal["leave_one_out"]

    def runs(self) -> Iterable[tuple[bool, ...]]:
        """All on, then each one off."""
        n = len(self.factors())
        return [(True,) * n, *(tuple(i != out for i in range(n)) for out in range(n))]


class AddOneIn(Factors):
    """``none``, and ``only_<component>`` for each component: n + 1 arms."""

    kind: Literal["add_one_in"]

    def runs(self) -> Iterable[tuple[bool, ...]]:
        """All off, then each one on."""
        n = len(self.factors())
        return [(False,) * n, *(tuple(i == added for i in range(n)) for added in range(n))]

    def arm_name(self, levels: tuple[bool, ...]) -> str:
        """``none``, or ``only_`` and what is on."""
        on = [name for name, is_on in zip(self.factors(), levels, strict=True) if is_on]
        return "_".join(["only", *on]) if on else "none"


class FullFactorial(Factors):
    """Every combination of the components: 2^n arms, from ``full`` to ``no_<all of them>``."""

    kind: Literal["full_factorial"]

    def runs(self) -> Iterable[tuple[bool, ...]]:
        """All on first, all off last."""
        return itertools.product((True, False), repeat=len(self.factors()))


class FractionalFactorial(Factors):
    """2^(n-p) of the combinations, balanced: by generators, or the fewest runs of at least some resolution.

    Args:
        generators: As ``d = a*b*c`` or ``d = -a*b*c``.
        resolution: At least this one; 3 keeps main effects apart, 4 also from interactions of two, 5 also these from each
            other.
        effects: Effects and interactions that the study is about, as ``hgs`` or ``hgs*lre``: each must be told from all others
            of up to two components. Without them only main effects are kept apart from each other.
    """

    kind: Literal["fractional_factorial"]
    generators: Annotated[Names, Field(min_length=1)] | None = None
    resolution: int | None = None
    effects: Annotated[Names, Field(min_length=1)] | None = None

    def fraction(self) -> Fraction:
        """The fraction of a design that has no problems."""
        if self.resolution is not None:
            found = smallest_fraction(len(self.factors()), self.resolution)
            assert found is not None
            return found
        return Fraction(len(self.factors()), tuple(self._generator(text) for text in self.generators or ()))

    def runs(self) -> Iterable[tuple[bool, ...]]:
        """The runs of the fraction."""
        return self.fraction().runs()

    def aliases(self) -> list[str]:
        """The defining relation (``I = ...``), then each class with an effect of up to two components."""
        lines = []
        for members in self.fraction().classes():
            if members[0][0].bit_count() <= 2:
                lines.append(" = ".join(map(self._text, members)))
        return lines

    def problems(self, base: TrialConfig) -> Iterator[Problem]:
        """No such fraction, or one that cannot answer."""
        found = list(self._component_problems(base)) or list(self._fraction_problems())
        yield from found or self._answer_problems()

    def _fraction_problems(self) -> Iterator[Problem]:
        names = self.factors()
        if (self.generators is None) == (self.resolution is None):
            yield (), "a fraction is chosen in one way: generators: [d = a*b*c], or resolution: 4."
        elif self.resolution is not None:
            if self.resolution < 3 or smallest_fraction(len(names), self.resolution) is None:
                have = ", ".join(f"{r} in {runs} runs" for r, runs in available(len(names)).items())
                exist = f"there are {have}" if have else "there is none of so few; use full_factorial"
                yield (
                    ("resolution",),
                    f"no fraction of {len(names)} components has resolution {self.resolution}; {exist}.",
                )
        else:
            yield from self._generator_problems()

    def _generator_problems(self) -> Iterator[Problem]:
        names, made = self.factors(), []
        for index, text in enumerate(self.generators or ()):
            match = _GENERATOR.fullmatch(text)
            if not match:
                yield ("generators", index), f'"{text}" is no generator; write one component by others: d = a*b*c.'
                return
            made.append(match["made"])
            for name in (match["made"], *_split(match["term"])):
                if name not in names:
                    hint = did_you_mean(name, names)
                    yield ("generators", index), f'the generator "{text}" has an unknown component "{name}".{hint}'
                    return
        for index, text in enumerate(self.generators or ()):
            term = _split(text.partition("=")[2].replace("-", "", 1))
            if made.count(made[index]) > 1:
                yield ("generators", index), f'"{made[index]}" is generated twice.'
            elif len(set(term)) < len(term) or set(term) & set(made):
                message = f'the generator "{text}" needs components that no generator makes, each once.'
                yield ("generators", index), message

    def _answer_problems(self) -> Iterator[Problem]:
        fraction, names = self.fraction(), self.factors()
        if fraction.resolution < 3:
            word = min((w for w in fraction.words if w[0]), key=lambda w: w[0].bit_count())
            yield ("generators",), f"the fraction mixes up main effects: I = {self._text(word)}; use other generators."
            return
        if self.left_out():
            message = f"a fraction is balanced only when whole, but {'; '.join(self.left_out())}. Use full_factorial."
            yield (), message
            return
        asked: dict[int, str] = {}
        for index, text in enumerate(self.effects or ()):
            term = _split(text)
            unknown = [name for name in term if name not in names]
            if unknown or len(set(term)) < len(term):
                hint = did_you_mean(unknown[0], names) if unknown else ""
                yield ("effects", index), f'"{text}" is no effect of {", ".join(names)}; write hgs or hgs*lre.{hint}'
                return
            asked[sum(1 << names.index(name) for name in term)] = text
        class_of = {bits: members for members in fraction.classes() for bits, _ in members}
        for index, (term_bits, text) in enumerate(asked.items()):
            others = [w for w in class_of[term_bits] if w[0] != term_bits and (w[0].bit_count() <= 2 or w[0] in asked)]
            if others:
                hidden = ", ".join(map(self._text, others))
                message = f'the effect "{text}" is asked for, but this fraction cannot tell it from {hidden}; '
                yield ("effects", index), message + "use a higher resolution, other generators, or full_factorial."

    def _generator(self, text: str) -> tuple[int, Word]:
        match, names = _GENERATOR.fullmatch(text), self.factors()
        assert match is not None
        term = sum(1 << names.index(name) for name in _split(match["term"]))
        return names.index(match["made"]), (term, -1 if match["sign"] else 1)

    def _text(self, word: Word) -> str:
        bits, sign = word
        text = "*".join(name for i, name in enumerate(self.factors()) if bits >> i & 1) or "I"
        return text if sign > 0 else f"-{text}"


register("design", LeaveOneOut)
register("design", AddOneIn)
register("design", FullFactorial)
register("design", FractionalFactorial)


def _split(term: str) -> list[str]:
    return [name.strip() for name in term.split("*")]
