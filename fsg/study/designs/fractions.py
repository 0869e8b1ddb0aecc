"""Regular fractions of 2^k designs: generators, resolution and aliases, as sets of bits.

Letters: k factors; factor i is bit i, a term (an effect or interaction) the set of its bits, the mean is 0. A *word* is a
signed term that equals +1 in every run of the fraction; words multiply by the symmetric difference of their bits. p
generators give 2^p words, the fraction has 2^(k-p) runs. Resolution: the shortest word's length, and so the fewest factors
of two terms that cannot be told apart, together (Box, Hunter & Hunter). Proof: ``tests/study/test_design_fractions.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Word: TypeAlias = tuple[int, int]  # (bits, +1 or -1)
MOST_FACTORS = 10


@dataclass(frozen=True, slots=True)
class Fraction:
    """``generators``: factor -> the signed term of base factors that sets it; the other factors are the base."""

    k: int
    generators: tuple[tuple[int, Word], ...]

    @property
    def words(self) -> tuple[Word, ...]:
        """The 2^p words, the empty one first."""
        found: list[Word] = [(0, 1)]
        for factor, (term, sign) in self.generators:
            found += [(bits ^ term ^ (1 << factor), s * sign) for bits, s in found]
        return tuple(found)

    @property
    def resolution(self) -> int:
        """The length of the shortest word; k + 1 for the full factorial, which has none."""
        return min((bits.bit_count() for bits, _ in self.words if bits), default=self.k + 1)

    def runs(self) -> Iterator[tuple[bool, ...]]:
        """Which factors are on in each run, all base factors on first."""
        made = dict(self.generators)
        base = [i for i in range(self.k) if i not in made]
        for values in itertools.product((True, False), repeat=len(base)):
            on = dict(zip(base, values, strict=True))
            levels = dict(on)
            for factor, (term, sign) in self.generators:
                off = sum(not on[i] for i in base if term >> i & 1)
                levels[factor] = (sign if off % 2 == 0 else -sign) > 0
            yield tuple(levels[i] for i in range(self.k))

    def classes(self) -> tuple[tuple[Word, ...], ...]:
        """Terms that cannot be told apart, the shortest first: one class for each run, that of the mean first."""
        seen: set[int] = set()
        found = []
        for term in sorted(range(2**self.k), key=_length):
            if term not in seen:
                members = sorted(((term ^ bits, sign) for bits, sign in self.words), key=lambda word: _length(word[0]))
                seen |= {bits for bits, _ in members}
                found.append(tuple(members))
        return tuple(found)


def smallest_fraction(k: int, resolution: int) -> Fraction | None:
    """The fraction of fewest runs with at least this resolution, of these one of the highest; None where there is none."""
    for base in range(1, k):
        for better in range(k, resolution - 1, -1):
            terms = _generators(base, k - base, better)
            if terms is not None:
                return Fraction(k, tuple((base + i, (term, 1)) for i, term in enumerate(terms)))
    return None


def available(k: int) -> dict[int, int]:
    """Resolution -> runs, for each that some smallest fraction of k factors has."""
    fractions = (smallest_fraction(k, resolution) for resolution in range(3, k + 1))
    return {fraction.resolution: 2 ** (k - len(fraction.generators)) for fraction in fractions if fraction}


def _generators(base: int, p: int, resolution: int) -> Sequence[int] | None:
    """p terms of ``base`` factors whose words all have at least ``resolution`` letters, or None."""
    terms = sorted((t for t in range(2**base) if t.bit_count() >= resolution - 1), key=lambda t: (-t.bit_count(), t))

    def search(start: int, chosen: list[int], words: list[tuple[int, int]]) -> list[int] | None:
        if len(chosen) == p:
            return chosen
        for index in range(start, len(terms) - (p - len(chosen)) + 1):
            # A word is (its base factors, how many generated ones); each product must be long enough at once.
            new = [(bits ^ terms[index], made + 1) for bits, made in words]
            if all(bits.bit_count() + made >= resolution for bits, made in new):
                found = search(index + 1, [*chosen, terms[index]], words + new)
                if found is not None:
                    return found
        return None

    return search(0, [], [(0, 0)])


def _length(term: int) -> tuple[int, tuple[int, ...]]:
    """Fewer factors first, then in the order of the factors."""
    return term.bit_count(), tuple(i for i in range(term.bit_length()) if term >> i & 1)
