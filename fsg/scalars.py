"""What a value written in YAML means: the type of the field it stands in decides.

A scalar without quotes keeps its text until its field is known. ``off`` is then False for a flag and "off" for text;
``010`` is 10 for a number and "010" for text; ``1_000`` and ``1e3`` are 1000 for a whole number. Where no type says
otherwise, YAML 1.2's core schema does (yaml.org/spec/1.2.2, section 10.3). What remains, such as ``6:0`` for a number, is
left as text, which the field refuses. Proof: ``tests/test_scalars.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_GROUPED = re.compile(r"[-+]?[0-9]+(_[0-9]+)+(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_NULLS = ("", "~", "null", "Null", "NULL")
_CORE_FLAGS = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_FLAGS = {"on": True, "yes": True, "off": False, "no": False}
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_PYTHON = (str, int, float, bool, NoneType)


@dataclass(frozen=True, slots=True)
class Plain:
    """A scalar as it is written, without quotes and without a tag."""

    text: str

    @property
    def value(self) -> Any:
        """What it is where no type says otherwise."""
        return core(self.text)


@dataclass(frozen=True, slots=True)
class Spelt:
    """Annotates a field that reads its part of a file in its own way: plain data from a tree that holds ``Plain``."""

    read: Callable[[Any], Any]


def core(text: str) -> Any:
    """What YAML 1.2's core schema makes of a plain scalar: None, a bool, an int, a float, or its text."""
    if text in _NULLS:
        return None
    if text in _CORE_FLAGS:
        return _CORE_FLAGS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(_SPECIAL[text.lower()]) if text.lower() in _SPECIAL else text


def untyped(tree: Any) -> Any:
    """The plain data of a tree whose types nobody knows."""
    return read_as(tree)


def read_as(tree: Any, *types: Any) -> Any:
    """The plain data of a tree: each of its scalars as one of ``types`` takes it. Never fails: misfits stay what they are.

    Types are annotations: pydantic models, unions, containers, literals. A model may read its own part, by a class
    method ``spelt``, and a field its own, by ``Spelt``.
    """
    forms = [form for each in types for form in _forms(each)]
    for form in forms:
        if isinstance(form, Spelt):
            return form.read(tree)
    if isinstance(tree, Mapping):
        return _mapping(tree, forms)
    if isinstance(tree, list | tuple):
        inner = list(_items(forms))
        return [read_as(item, *inner) for item in tree]
    return _scalar(tree, forms) if isinstance(tree, Plain) else tree


def by_field(tree: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """The plain data of a section of ``model``, each key as its field takes it: where ``spelt`` of the model begins."""
    return {key: read_as(value, *_field_types([model], key)) for key, value in tree.items()}


def types_at(model: type[BaseModel], path: Sequence[str]) -> list[Any]:
    """The annotations of the field at ``path``: several where a section has kinds, none where no kind has it."""
    types: list[Any] = [model]
    for part in path:
        forms = [form for each in types for form in _forms(each)]
        tables = [form for form in forms if get_origin(form) is dict]  # whose keys may have dots of their own
        types = list(_field_types([form for form in forms if _is_model(form)], part))
        types += [each for table in tables for each in (table, get_args(table)[1])]
    return types


def holds(value: Any, *types: Any) -> bool:
    """Whether a field of one of these types could have this value, its bounds aside: text for text, a name for a section."""
    for form in (form for each in types for form in _forms(each)):
        if get_origin(form) is Literal:
            fits = value in get_args(form)
        elif _is_model(form):
            fits = "name" in form.model_fields and holds(value, *_field_types([form], "name"))
        elif form in (int, float):
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        else:
            fits = isinstance(form, type) and isinstance(value, form)
        if fits:
            return True
    return False


def _mapping(tree: Mapping[str, Any], forms: list[Any]) -> Any:
    models = chosen([form for form in forms if _is_model(form)], tree)
    if len(models) == 1 and hasattr(models[0], "spelt"):
        return models[0].spelt(tree)
    anywhere = [get_args(form)[1] for form in forms if get_origin(form) is dict]
    return {key: read_as(value, *_field_types(models, key), *anywhere) for key, value in tree.items()}


def chosen(models: list[Any], tree: Mapping[str, Any]) -> list[Any]:
    """The members of a union that a mapping can be, by its ``name`` or ``kind``; all of them where it has none."""
    for key in ("kind", "name"):
        named = tree.get(key)
        text = named.text if isinstance(named, Plain) else named
        if fitting := [m for m in models if text in tags(m, key)]:
            return fitting
    return models


def tags(model: type[BaseModel], key: str) -> tuple[Any, ...]:
    """The values of ``key: Literal[...]``, by which a union tells its members apart."""
    field = model.model_fields.get(key)
    return get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()


def _field_types(models: Iterable[type[BaseModel]], key: str) -> Iterator[Any]:
    for model in models:
        if key in model.model_fields:
            field = model.model_fields[key]
            own: list[Any] = [mark for mark in field.metadata if isinstance(mark, Spelt)]
            yield from own or [field.annotation]


def _forms(annotation: Any) -> Iterator[Any]:
    """What an annotation allows, unions taken apart: models, containers, literals, plain types and ``Spelt``."""
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        own = [mark for mark in marks if isinstance(mark, Spelt)]
        yield from own or _forms(inner)
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _forms(member)
    elif annotation is not Any:
        yield annotation


def _items(forms: Iterable[Any]) -> Iterator[Any]:
    """The types of a list's or tuple's items."""
    for form in forms:
        if get_origin(form) in (list, tuple):
            yield from (inner for inner in get_args(form) if inner is not Ellipsis)


def _is_model(form: Any) -> bool:
    return isinstance(form, type) and issubclass(form, BaseModel)


def _scalar(plain: Plain, forms: list[Any]) -> Any:
    """A scalar as one of these takes it; for a list, as its items do; for a section with kinds, as the name of one."""
    forms = forms + [form for inner in _items(forms) for form in _forms(inner)]
    text, value = plain.text, plain.value
    wanted = {form for form in forms if form in _PYTHON}
    if any(_is_model(form) and "name" in form.model_fields for form in forms):
        return None if value is None and NoneType in wanted else text
    if value is None or (isinstance(value, bool) and bool in wanted):
        return value
    if bool in wanted and text.lower() in _FLAGS:
        return _FLAGS[text.lower()]
    number = _as_number(text, wanted)
    if number is not None:
        return number
    return text if str in wanted or any(get_origin(form) is Literal for form in forms) else value


def _as_number(text: str, wanted: set[Any]) -> int | float | None:
    """The number that is meant where one is wanted; None where none is, or it is of another kind."""
    value = core(text.replace("_", "") if _GROUPED.fullmatch(text) else text)
    if not wanted & {int, float} or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and float not in wanted:  # 1e3 may be a whole number; 3.0 says that it is none
        return int(value) if value.is_integer() and "." not in text else None
    return value
