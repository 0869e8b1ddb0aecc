"""The kinds of domains: every module of this package is imported, and registers those that it defines."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from fsg.nearest import did_you_mean
from fsg.study.domains.base import KINDS, Conditions, Domain, Scalar, is_scalar, register, same

__all__ = ["KINDS", "Domain", "Scalar", "discover", "parse_domain", "register", "same"]


def discover() -> None:
    """Import every module of this package, in the order of their names."""
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        importlib.import_module(f"{__name__}.{module.name}")


discover()


def parse_domain(value: Any) -> Domain:
    """The domain written as ``value``; ValueError says what is wrong with it."""
    if isinstance(value, Domain):
        return value
    if not isinstance(value, Mapping):
        if not is_scalar(value):
            raise ValueError(f"is {value!r}, expected a fixed scalar or one domain, as in {{uniform: [0.1, 0.9]}}.")
        return KINDS["fixed"].parse(value, {})
    when = _conditions(value["when"]) if "when" in value else {}
    value = {key: inner for key, inner in value.items() if key != "when"}
    if len(value) != 1:
        raise ValueError(f"expected exactly one domain of {', '.join(KINDS)}, found {', '.join(value) or 'none'}.")
    kind, arguments = next(iter(value.items()))
    if kind not in KINDS:
        raise ValueError(f'unknown domain "{kind}".{did_you_mean(kind, KINDS)} Allowed: {", ".join(KINDS)}.')
    return KINDS[kind].parse(arguments, when)


def _conditions(value: Any) -> Conditions:
    if not isinstance(value, Mapping) or not value:
        raise ValueError(
            f"when is {value!r}, expected other paths and their values, as in {{gradient.slow_net: mamba}}."
        )
    conditions = {}
    for path, allowed in value.items():
        values = tuple(allowed) if isinstance(allowed, list | tuple) else (allowed,)
        if not values or not all(is_scalar(v) for v in values):
            raise ValueError(f"when: {path} is {allowed!r}, expected a value, or a list of them.")
        conditions[str(path)] = values
    return conditions
