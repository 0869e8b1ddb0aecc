"""Constraints as a study writes them: ``gradient.fast.lr <= 10 * optimizer.lr``, ``step_ms < 20``.

A comparison (or several, joined by ``and`` / ``or``) of numbers, text in quotes, True, False, dotted paths of the trial
configuration and metrics, with + - * / **, ``abs``, ``min``, ``max``, ``sqrt``, ``log``, ``log2``, ``log10``. Parsed by
``ast`` and walked here: nothing is ever executed. Proof: ``tests/study/test_constraints.py``.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
_FUNCTIONS: dict[str, tuple[int | None, Callable[..., float]]] = {
    "abs": (1, abs),
    "sqrt": (1, math.sqrt),
    "log": (1, math.log),
    "log2": (1, math.log2),
    "log10": (1, math.log10),
    "min": (None, min),
    "max": (None, max),
}
_COMPARED = {ast.LtE: "<=", ast.Lt: "<", ast.GtE: ">=", ast.Gt: ">", ast.Eq: "==", ast.NotEq: "!="}
_MOST_LETTERS = 500
_JUST = 1e-12  # by how much ``a < b`` is violated where both are equal


class Absent(Exception):
    """A name has no value: a path that this trial's configuration does not have, or a metric not measured."""


@dataclass(frozen=True)
class Constraint:
    """One constraint: its text, the paths and metrics it names, and what it compares."""

    text: str
    names: tuple[str, ...]
    tree: ast.expr

    def violation(self, values: Mapping[str, Any]) -> float:
        """By how much it is violated: 0 or less where it holds, infinite where it cannot be computed.

        ``values`` maps each name to its value. A constraint on something that this trial does not have says nothing
        about it: it holds.
        """
        try:
            return _violation(self.tree, values)
        except Absent:
            return 0.0
        except (TypeError, ValueError, ArithmeticError):
            return math.inf

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it is not violated."""
        return self.violation(values) <= 0


def parse_constraint(text: str) -> Constraint:
    """The constraint that ``text`` says; ValueError with what is wrong and what is allowed."""
    if len(text) > _MOST_LETTERS:
        raise ValueError(f"a constraint has at most {_MOST_LETTERS} letters, found {len(text)}.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        _check(tree)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r} is no comparison ({error.__class__.__name__}), as in optimizer.lr < 0.1.") from None
    names = tuple(dict.fromkeys(_names(tree)))
    if not names:
        raise ValueError(f"{text!r} names no path and no metric, so it is the same for every trial.")
    return Constraint(text, names, tree)


@dataclass(frozen=True)
class Term:
    """An expression with a number as value: the paths that it names, and what it computes."""

    names: tuple[str, ...]
    tree: ast.expr

    def value(self, values: Mapping[str, Any]) -> float:
        """Its value where each name has these; ValueError where it has none."""
        try:
            found = _number(_value(self.tree, values))
        except Absent as error:
            raise ValueError(f"{error} has no value in this trial") from None
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ValueError(f"it cannot be computed ({error})") from None
        if not math.isfinite(found):
            raise ValueError(f"it is {found}")
        return found


def parse_term(text: str) -> Term:
    """The expression that ``text`` says; ValueError with what is wrong and what is allowed."""
    if len(text) > _MOST_LETTERS:
        raise ValueError(f"an expression has at most {_MOST_LETTERS} letters, found {len(text)}.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        _check_term(tree)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"{text!r} is no expression ({error.__class__.__name__}), as in 0.1 * data.batch_size."
        ) from None
    names = tuple(dict.fromkeys(_names(tree)))
    if not names:
        raise ValueError(f"{text!r} names no path, so it is the same in every trial; write its value.")
    return Term(names, tree)


def equated(constraint: Constraint) -> Iterator[tuple[str, Any, bool]]:
    """(name, value, whether that is a bare word) of every ``==`` and ``!=`` of a name with a value or a word."""
    for node in ast.walk(constraint.tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        for sign, left, right in zip(node.ops, sides[:-1], sides[1:], strict=True):
            if isinstance(sign, ast.Eq | ast.NotEq):
                for one, other in ((left, right), (right, left)):
                    if not isinstance(one, ast.Name | ast.Attribute):
                        continue
                    if isinstance(other, ast.Name):
                        yield _path(one), other.id, True
                    elif isinstance(other, ast.Constant):
                        yield _path(one), other.value, False


def values_of(config: Mapping[str, Any], metrics: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Each name's value in a trial's configuration (plain data) or its metrics; names that it lacks are left out."""
    found = {}
    for name in names:
        value: Any = metrics.get(name)
        if value is None:
            value = config
            for part in name.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
            value = value.get("name") if isinstance(value, Mapping) else value
        if value is not None:
            found[name] = value
    return found


def _check(node: ast.expr) -> None:
    """Refuse what is neither a comparison nor several joined."""
    if isinstance(node, ast.BoolOp):
        for part in node.values:
            _check(part)
        return
    if not isinstance(node, ast.Compare):
        raise ValueError(f"{ast.unparse(node)!r} compares nothing; write a comparison, as in optimizer.lr < 0.1.")
    for comparison in node.ops:
        if type(comparison) not in _COMPARED:
            raise ValueError(f"{ast.unparse(node)!r} compares by something else than {', '.join(_COMPARED.values())}.")
    for side in (node.left, *node.comparators):
        _check_term(side)


def _check_term(node: ast.expr) -> None:
    match node:
        case ast.Constant(value=bool() | int() | float() | str()):
            return
        case ast.Name() | ast.Attribute():
            _path(node)
            return
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            _check_term(operand)
            return
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
            _check_term(left)
            _check_term(right)
            return
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            wanted, _ = _FUNCTIONS[name]
            if len(arguments) != wanted and (wanted is not None or len(arguments) < 2):
                raise ValueError(f"{name} takes {wanted or 'two or more'} values, found {len(arguments)}.")
            for argument in arguments:
                _check_term(argument)
            return
        case ast.IfExp(test=test, body=one, orelse=other):
            _check(test)
            _check_term(one)
            _check_term(other)
            return
    allowed = f"numbers, text, paths, metrics, + - * / **, A if B else C and {', '.join(_FUNCTIONS)}"
    raise ValueError(f"{ast.unparse(node)!r} is not allowed in a constraint or an expression; allowed are {allowed}.")


def _path(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_path(node.value)}.{node.attr}"
    raise ValueError(f"{ast.unparse(node)!r} is no path of the trial configuration.")


def _names(node: ast.AST) -> Iterable[str]:
    if isinstance(node, ast.Name | ast.Attribute):
        yield _path(node)
        return
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.Call) and child is node.func):
            yield from _names(child)


def _violation(node: ast.expr, values: Mapping[str, Any]) -> float:
    if isinstance(node, ast.BoolOp):
        found = [_violation(part, values) for part in node.values]
        return max(found) if isinstance(node.op, ast.And) else min(found)
    assert isinstance(node, ast.Compare)
    sides = [_value(side, values) for side in (node.left, *node.comparators)]
    return max(_distance(sign, left, right) for sign, left, right in zip(node.ops, sides[:-1], sides[1:], strict=True))


def _distance(sign: ast.cmpop, left: Any, right: Any) -> float:
    """By how much ``left sign right`` is violated."""
    if isinstance(sign, ast.Eq | ast.NotEq):
        equal = isinstance(left, bool) == isinstance(right, bool) and left == right
        if isinstance(sign, ast.NotEq):
            return 1.0 if equal else 0.0
        numbers = all(isinstance(side, int | float) for side in (left, right))
        return 0.0 if equal else abs(left - right) or 1.0 if numbers else 1.0
    low, high = (left, right) if isinstance(sign, ast.Lt | ast.LtE) else (right, left)
    difference = _number(low) - _number(high)
    if math.isnan(difference):
        raise ValueError("not a number")
    return max(difference, _JUST) if isinstance(sign, ast.Lt | ast.Gt) and difference >= 0 else difference


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            name = _path(node)
            if name not in values:
                raise Absent(name)
            return values[name]
        case ast.UnaryOp(op=sign, operand=operand):
            inner = _number(_value(operand, values))
            return -inner if isinstance(sign, ast.USub) else inner
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_number(_value(left, values)), _number(_value(right, values)))
        case ast.IfExp(test=test, body=one, orelse=other):
            return _value(one if _violation(test, values) <= 0 else other, values)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name][1](*(_number(_value(argument, values)) for argument in arguments))
    raise AssertionError(ast.dump(node))


def _number(value: Any) -> float:
    """As a float: whole numbers too, so that no power of theirs can fill the memory."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)
