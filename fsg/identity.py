"""What a section of the configuration tree says beyond its defaults, so that the tree can grow and every digest stays.

``frozen_defaults.json`` holds the fields of each section, by class: those of fsg 0.1 under "whole", those that a later
release added under its version, each with the default that it came with. ``sparse`` keeps the first whole and of all others
what differs; so a new field with its default changes no digest, whatever its default becomes later. ``completed`` gives data
of an older format the fields that it lacks, with the defaults of its own time. Proof: ``tests/recorded_studies``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, RootModel

Model = TypeVar("Model", bound=BaseModel)
Tree = Mapping[str, Mapping[str, Any]]  # class -> field -> default

# A default that changed: (class, field) -> {format since which it is another: (what it was, what it is since)}. A change makes
# a new format; whoever reads an older one fills in what it meant.
CHANGED_DEFAULTS: Mapping[tuple[str, str], Mapping[int, tuple[Any, Any]]] = {
    ("DataConfig", "split"): {3: ("random", None)},
    ("FastNetConfig", "lr"): {3: (1e-3, 4e-3)},
    ("SlowNetConfig", "lr"): {3: (1e-3, 1.2e-2)},
    ("SlowNetConfig", "d_conv"): {3: (4, 8)},
    ("Fsg", "lre_size"): {3: (1, 4)},
}


def sparse(data: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """``data``, a dump of ``model``, without the fields that a later release added and that have their first default."""
    whole, since = _frozen()
    name = _known_as(model)
    kept: dict[str, Any] = {}
    for field, value in data.items():
        always = field in whole.get(name, {}) or (field in _DISCRIMINATORS and field in model.model_fields)
        if (child := child_model(model, field, value)) is not None:
            inner = sparse(value, child)
            if always or inner:
                kept[field] = inner
        elif isinstance(value, list | tuple):
            items = [sparse(v, c) if (c := child_model(model, field, v)) else v for v in value]
            if always or items != since.get(name, {}).get(field, _default(model, field)):
                kept[field] = items
        elif always or value != since.get(name, {}).get(field, _default(model, field)):
            kept[field] = value
    return kept


def completed(data: Mapping[str, Any], model: type[BaseModel], format: int) -> dict[str, Any]:
    """``data`` of that format with the fields that later releases added or gave another default, as it would have had them."""
    full = dict(data)
    for field, default in _lacking(model, frozenset(full), format):
        full[field] = deepcopy(default)
    for field, value in full.items():
        if not isinstance(value, _PLAIN) and (child := child_model(model, field, value)) is not None:
            full[field] = completed(value, child, format)
    return full


def as_left_out(config: Model, format: int) -> Model:
    """A copy of the section in which what nobody said has the default of that format."""
    found: dict[str, Any] = {}
    for field in type(config).model_fields:
        value = getattr(config, field)
        if isinstance(value, BaseModel):
            found[field] = as_left_out(value, format)
        elif field not in config.model_fields_set and (_known_as(type(config)), field) in CHANGED_DEFAULTS:
            found[field] = _default_of(type(config), field, format)
    said = set(config.model_fields_set)
    copy = config.model_copy(update=found)
    copy.__pydantic_fields_set__.intersection_update(said)
    return copy


def child_model(model: type[BaseModel], field: str, value: Any) -> type[BaseModel] | None:
    """The section that ``value``, plain data of a field of ``model``, is a dump of; None where it is none."""
    if not isinstance(value, Mapping):
        return None
    members = _members(model, field)
    if len(members) == 1:
        return next(iter(members.values()))
    named = next((members[value[key]] for key in _DISCRIMINATORS if value.get(key) in members), None)
    return named or members.get(_ANY_NAME)


def defaults(*roots: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """The fields of every section below ``roots`` with their present defaults, by class: what a release freezes."""
    found: dict[str, dict[str, Any]] = {}
    waiting = list(roots)
    while waiting:
        model = waiting.pop(0)
        if _known_as(model) not in found:
            found[_known_as(model)] = {field: _default(model, field) for field in model.model_fields}
            waiting += [child for field in model.model_fields for child in _members(model, field).values()]
    return found


def unrecorded_changes(*roots: type[BaseModel]) -> list[str]:
    """The defaults that are others than when they were frozen, and not in CHANGED_DEFAULTS; a sentence each."""
    whole, since = _frozen()
    sentences = []
    for name, fields in defaults(*roots).items():
        frozen = {**whole.get(name, {}), **since.get(name, {})}
        for field, now in fields.items():
            changes = CHANGED_DEFAULTS.get((name, field), {})
            known = changes[max(changes)][1] if changes else frozen.get(field)
            if field in frozen and now != known:
                sentences.append(
                    f"{name}.{field} had the default {known!r} and has {now!r}: "
                    "say in CHANGED_DEFAULTS since which format."
                )
    return sentences


def forget_members() -> None:
    """Look again at what fields can hold: a part was registered."""
    _members.cache_clear()
    _lacking.cache_clear()


_DISCRIMINATORS = ("name", "kind")
_ANY_NAME = object()  # the key of a section whose name is any text
_NONE = object()  # a field without a default
_PLAIN = (
    str,
    float,
    int,
    type(None),
)  # what is no section, told in a fifth of the time that asking for a Mapping takes


def _known_as(model: type[BaseModel]) -> str:
    """The name of a section in the frozen defaults; a guest's is none of ours, whatever it is called."""
    return model.__name__ if model.__module__.startswith("fsg.") else f"{model.__module__}.{model.__name__}"


@functools.cache
def _frozen() -> tuple[Tree, Tree]:
    """The fields of the first release, and those added since."""
    releases = json.loads(Path(__file__).with_name("frozen_defaults.json").read_text())
    since: dict[str, dict[str, Any]] = {}
    for release, tree in releases.items():
        if release != "whole":
            for name, fields in tree.items():
                since.setdefault(name, {}).update(fields)
    return releases["whole"], since


@functools.cache
def _members(model: type[BaseModel], field: str) -> dict[Any, type[BaseModel]]:
    """The sections that a field can hold, by what their name or kind may be."""
    info = model.model_fields.get(field)
    models = _models_in(info.annotation) if info else []
    found: dict[Any, type[BaseModel]] = {}
    for member in models:
        key = next((k for k in _DISCRIMINATORS if k in member.model_fields), None)
        names = get_args(member.model_fields[key].annotation) if key and len(models) > 1 else ()
        found |= dict.fromkeys(names or (_ANY_NAME if key else member.__name__,), member)
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [] if issubclass(annotation, RootModel) else [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _default(model: type[BaseModel], field: str) -> Any:
    """The present default of a field as plain data; of a section, its name: what it holds is frozen with its own class."""
    info = model.model_fields.get(field)
    value = _NONE if info is None or info.is_required() else info.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return getattr(value, "name", getattr(value, "kind", None))
    if value is _NONE:
        return None
    return list(value) if isinstance(value, tuple) else value


@functools.cache
def _lacking(model: type[BaseModel], present: frozenset[str], format: int) -> tuple[tuple[str, Any], ...]:
    """The fields that data of that format with the fields ``present`` is to be given, each with its default."""
    first = _frozen()[0].get(_known_as(model), {})
    found = []
    for field in sorted(model.model_fields.keys() - present):
        changed = format < max(CHANGED_DEFAULTS.get((_known_as(model), field), ()), default=0)
        if (changed or field not in first) and (default := _default_of(model, field, format)) is not _NONE:
            found.append((field, default))
    return tuple(found)


def _default_of(model: type[BaseModel], field: str, format: int) -> Any:
    """A field's default in that format, as data for the model; _NONE where it has none."""
    changes = CHANGED_DEFAULTS.get((_known_as(model), field), {})
    for since in sorted(changes):
        if format < since:
            return changes[since][0]
    info = model.model_fields[field]
    if info.is_required():
        return _NONE
    value = info.get_default(call_default_factory=True)
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
