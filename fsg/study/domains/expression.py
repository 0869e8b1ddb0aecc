"""A value that follows from others: ``expression: 0.1 * data.batch_size / 128``, a learning rate in proportion to the batch.

Names are paths of the trial, searched or not; terms are those of constraints (``fsg/study/constraints.py``), and
``A if COMPARISON else B``. Linear scaling is for SGD (arXiv:1706.02677), the square root for Adam (arXiv:2205.10287):

    optimizer.lr: {expression: 0.1 * (data.batch_size / 128 if optimizer.name == 'sgd' else sqrt(data.batch_size / 128))}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from fsg.study.constraints import parse_term
from fsg.study.domains.base import Conditions, Scalar, is_number, register
from fsg.study.domains.unordered import Listed


class Formula(str):
    """The text of an expression, which stands for its value until the trial's other values are known."""

    __slots__ = ()


@register
@dataclass(frozen=True)
class Expression(Listed):
    """Computed for each trial, never drawn."""

    kind = "expression"
    searched = False

    text: str

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Text."""
        return {"type": "string"}

    @classmethod
    def parse(cls, arguments: Any, when: Conditions) -> Self:
        """The expression that is written."""
        if not isinstance(arguments, str):
            raise ValueError(
                f"expression is {arguments!r}, expected a formula with paths, as in 0.1 * data.batch_size / 128."
            )
        parse_term(arguments)
        return cls(arguments, when=when)

    @property
    def arguments(self) -> Scalar:
        """The text."""
        return self.text

    @property
    def choices(self) -> tuple[Scalar, ...]:
        """The formula, in the place of its value."""
        return (Formula(self.text),)

    def holds(self, value: Any) -> bool:
        """Any number: which one, the trial's other values say."""
        return is_number(value) or value == self.text
