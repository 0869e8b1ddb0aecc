"""An optimizer's state as plain data, which a checkpoint can hold and ``weights_only`` loads, and back.

Plain is None, a truth value, a number, text, a dtype, a shape, a tensor, and lists, tuples and dictionaries of these. What some
optimizers keep beside them is written by what is in it: a deque with its length, and an object of the optimizer's own package
(a projector, a preconditioner) by its class and attributes. Reading makes no other class and imports nothing.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from enum import Enum
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

_ATOMS = (type(None), bool, int, float, str, torch.dtype, torch.Size, Tensor)
_DEQUE, _OBJECT, _ENUM, _HOLDS = "fsg.deque", "fsg.object", "fsg.enum", "fsg.holds"


class NotPlain(Exception):
    """A value that cannot be written as plain data; the message is its type."""


def is_plain(value: Any) -> bool:
    """Whether ``value`` is plain as it is. An IntEnum is not, though it is an int."""
    if type(value) in (list, tuple):
        return all(map(is_plain, value))
    if type(value) is dict:
        return all(is_plain(x) for pair in value.items() for x in pair)
    return type(value) in _ATOMS


def to_plain(value: Any, package: str) -> Any:
    """``value`` as plain data. NotPlain for an object that is of no class of ``package``."""
    if type(value) in _ATOMS:
        return value.detach() if isinstance(value, Tensor) else value
    if type(value) in (list, tuple):
        return type(value)(to_plain(x, package) for x in value)
    if isinstance(value, Mapping):
        return {to_plain(k, package): to_plain(v, package) for k, v in value.items()}
    if isinstance(value, deque):
        return {_DEQUE: [to_plain(x, package) for x in value], _HOLDS: value.maxlen}
    kind = type(value)
    if not _is_of(kind.__module__, package):
        raise NotPlain(kind.__qualname__)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if isinstance(value, Enum):
        return {_ENUM: name, _HOLDS: value.value}
    return {_OBJECT: name, _HOLDS: to_plain(vars(value), package)}


def from_plain(value: Any, package: str, device: torch.device, within: bool = False) -> Any:
    """What ``to_plain`` was given, in tensors of its own.

    Those ``within`` an object go to ``device``; the others stay where they are, for ``load_state_dict`` to place. ValueError for
    a class that is not of ``package``, or that its present version does not have.
    """
    if isinstance(value, Tensor):
        return value.detach().to(device if within else value.device, copy=True)
    if type(value) in (list, tuple):
        return type(value)(from_plain(x, package, device, within) for x in value)
    if type(value) is not dict:
        return value
    if _DEQUE in value:
        return deque((from_plain(x, package, device, within) for x in value[_DEQUE]), maxlen=value[_HOLDS])
    if _ENUM in value:
        return _class(value[_ENUM], package)(value[_HOLDS])
    if _OBJECT in value:
        kind = _class(value[_OBJECT], package)
        made = kind.__new__(kind)
        vars(made).update(from_plain(value[_HOLDS], package, device, within=True))
        return made
    return {k: from_plain(v, package, device, within) for k, v in value.items()}


def _class(name: str, package: str) -> Any:
    module, _, qualified = name.partition(":")
    if not _is_of(module, package) or module not in sys.modules:
        raise ValueError(f"{name} is no class of {package}")
    try:
        found = attrgetter(qualified)(sys.modules[module])
    except AttributeError:
        found = None
    if not isinstance(found, type):
        raise ValueError(f"{name} is no class of this {package}")
    return found


def _is_of(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
