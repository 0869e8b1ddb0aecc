"""YAML with line numbers, and refusals that a reader can act on.

``read_yaml`` keeps the line of every key, so that a value refused later, by a pydantic model, is reported as
``file:line: what was found, what is allowed, the nearest valid name``. Safe loader only: a YAML cannot build objects.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from fsg.errors import ConfigError

Location = tuple[str | int, ...]
_PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MOST_NODES = 100_000  # a study has a few hundred; more is an alias bomb or the wrong file
_MOST_BITS = 1024  # an integer beyond a float's range serves nobody, and Python refuses to print the largest


@dataclass(frozen=True)
class YamlSource:
    """A parsed YAML mapping that remembers where each of its keys stands.

    ``data``: plain dicts, lists and scalars. ``lines``: 1-based line of the key at each location.
    """

    path: Path
    data: dict[str, Any]
    lines: Mapping[Location, int] = field(default_factory=dict)

    def where(self, location: Sequence[str | int] = ()) -> str:
        """``file:line`` of the key at ``location``, or of its nearest ancestor that has one."""
        place = tuple(location)
        while place and place not in self.lines:
            place = place[:-1]
        return f"{self.path}:{self.lines.get(place, 1)}"

    def error(self, location: Sequence[str | int], message: str) -> ConfigError:
        """The refusal of what stands at ``location``."""
        return ConfigError(f"{self.where(location)}: {message}")


def read_yaml(path: str | Path) -> YamlSource:
    """Read a YAML file whose top level is a mapping.

    Raises ConfigError, with file and line, for a missing file, text that is not YAML or not UTF-8, a duplicate key,
    a key that is not a scalar, a scalar that is not what its tag says, or another top level. Keys are text as written:
    ``no:`` is "no", not False.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        near = nearest(path.name, (p.name for p in path.parent.glob("*.yaml"))) if path.parent.is_dir() else None
        raise ConfigError(f"{path}: no such file.{_did_you_mean(near and str(path.parent / near))}") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error}).") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            raise ConfigError(f"{path}:1: the file is empty, expected a mapping of keys to values.")
        return _Reader(path).read(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {problem}.") from None
    except (RecursionError, ValueError, OverflowError) as error:
        raise ConfigError(f"{path}:1: not usable YAML: {type(error).__name__}: {error}.") from None


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name closest to ``name``, or None where nothing is close."""
    match = difflib.get_close_matches(str(name), [str(a) for a in allowed], n=1, cutoff=0.5)
    return match[0] if match else None


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """`` Did you mean "..."?`` with the allowed name closest to ``name``; empty where nothing is close."""
    return _did_you_mean(nearest(name, allowed))


def refusal(
    error: ValidationError,
    model: type[BaseModel],
    source: YamlSource | None = None,
    prefix: Location = (),
    subject: str = "",
) -> ConfigError:
    """The ConfigError that says what ``model`` refused, one line for each thing refused.

    ``prefix`` is where in ``source`` the validated data stands; ``subject`` opens the message: ``arm "no_lre": ``.
    """
    lines = []
    for item in error.errors(include_url=False):
        place, allowed = _locate(model, item["loc"])
        # A kind that does not exist stands at its own key, where it is written as one.
        kind = (item["ctx"]["discriminator"].strip("'"),) if item["type"] == "union_tag_invalid" else ()
        where = f"{source.where((*prefix, *place, *kind))}: " if source else ""
        lines.append(f"{where}{subject}{_explain(dict(item), place, allowed)}")
    return ConfigError("\n".join(dict.fromkeys(lines)))


def field_names(model: type[BaseModel]) -> list[str]:
    """Every dotted path of a model's fields, members of unions included."""
    names = []
    for name, info in model.model_fields.items():
        names.append(name)
        for member in _models_in(info.annotation):
            names.extend(f"{name}.{inner}" for inner in field_names(member))
    return list(dict.fromkeys(names))


class _Reader:
    """Builds plain data from composed YAML nodes and notes each key's line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Location, int] = {}
        self.nodes = 0

    def read(self, root: yaml.Node) -> YamlSource:
        if not isinstance(root, yaml.MappingNode):
            line = root.start_mark.line + 1
            raise ConfigError(f"{self.path}:{line}: the top level must be a mapping of keys to values.")
        return YamlSource(self.path, self._value(root, ()), self.lines)

    def _value(self, node: yaml.Node, place: Location) -> Any:
        self.nodes += 1
        if self.nodes > _MOST_NODES:
            raise ConfigError(f"{self.path}: more than {_MOST_NODES:,} values; this is no study file.")
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN:
            line = node.start_mark.line + 1
            raise ConfigError(f"{self.path}:{line}: not usable YAML: the tag {_short(node.tag)} is not allowed here.")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            values = []
            for index, child in enumerate(node.value):
                self.lines[(*place, index)] = child.start_mark.line + 1
                values.append(self._value(child, (*place, index)))
            return values
        try:
            return _scalar(node)
        except (ValueError, TypeError, AttributeError, LookupError) as error:  # what PyYAML raises for `!!int ""`
            line = node.start_mark.line + 1
            problem = f"{_short(node.value)} is no usable {node.tag.rpartition(':')[2]} ({error})"
            raise ConfigError(f"{self.path}:{line}: not usable YAML: {problem}.") from None

    def _mapping(self, node: yaml.MappingNode, place: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, line = key_node.value, key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{self.path}:{line}: a key must be a plain name.")
            if _has_surrogate(key):
                raise ConfigError(f"{self.path}:{line}: the key {_short(key)} is not valid Unicode text.")
            if key in result:
                first = self.lines[(*place, key)]
                raise ConfigError(f'{self.path}:{line}: "{key}" is given twice (first on line {first}).')
            self.lines[(*place, key)] = line
            result[key] = self._value(value_node, (*place, key))
        return result


def parse_scalar(text: str) -> Any:
    """A value as a user types it after ``--set a.b=``: YAML's types, and 1e-3 is a number (YAML 1.1 says text)."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return None
        reader = _Reader(Path("--set"))
        return reader._value(node, ())
    except (yaml.YAMLError, RecursionError, ValueError, ConfigError):
        return text


def _scalar(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    value = loader.construct_object(node, deep=True)
    if isinstance(value, str) and getattr(node, "style", None) is None:
        # YAML 1.1 reads 1e-3 as text because it lacks the dot; every user means the number.
        mantissa, e, exponent = value.lower().partition("e")
        if e and exponent.lstrip("+-").isdigit() and mantissa.lstrip("+-").replace(".", "", 1).isdigit():
            return float(value)
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise ValueError(f"more than {_MOST_BITS} bits")
    if isinstance(value, str) and _has_surrogate(value):
        raise ValueError("not valid Unicode text")
    return value


def _has_surrogate(text: str) -> bool:
    """Half of a character, as ``"\\ud800"`` gives: it cannot be printed, hashed or stored."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _explain(item: dict[str, Any], place: Location, allowed: list[str]) -> str:
    """One refused item as a sentence."""
    path = ".".join(str(p) for p in place)
    kind, found, context = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "extra_forbidden":
        parent = ".".join(str(p) for p in place[:-1])
        near = nearest(str(place[-1]), allowed)
        suggestion = _did_you_mean(near and ".".join([*map(str, place[:-1]), near]))
        return f'unknown key "{path}".{suggestion} Allowed{f" in {parent}" if parent else ""}: {", ".join(allowed)}.'
    if kind == "missing":
        return f'"{path}" is missing.'
    if kind in ("union_tag_invalid", "literal_error"):
        expected = context.get("expected_tags", context.get("expected", ""))
        names = [n.strip(" '") for n in expected.replace(" or ", ",").split(",")]
        value = context.get("tag", found)
        suggestion = _did_you_mean(nearest(str(value), names))
        return f'"{path}" is {_short(value)}, allowed: {", ".join(names)}.{suggestion}'
    if kind == "union_tag_not_found":
        key = context.get("discriminator", "name").strip("'")
        return f'"{path}" needs a "{key}" that says which kind it is.'
    if kind == "value_error":
        message = str(context.get("error", item["msg"]))
        return f'"{path}": {message}' if path else message
    return f'"{path}" is {_short(found)}: {item["msg"][:1].lower()}{item["msg"][1:]}.'


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _did_you_mean(name: str | None) -> str:
    return f' Did you mean "{name}"?' if name else ""


def _locate(model: type[BaseModel], loc: Sequence[str | int]) -> tuple[Location, list[str]]:
    """Where in the YAML a pydantic location stands, and the names allowed beside its last part.

    Pydantic puts the tag of a discriminated union into the location (gradient, fsg, beta); the YAML has no such key.
    """
    place: list[str | int] = []
    models, in_container, allowed = [model], False, list(model.model_fields)
    for part in loc:
        holders = [m for m in models if part in m.model_fields]
        tagged = [m for m in models if part in _tags(m)]
        if len(models) > 1 and tagged:  # before the fields: the estimator "fsg" has a switch of the same name
            models = tagged
        elif in_container or isinstance(part, int):
            place.append(part)
            in_container = False
            allowed = _names_in(models)
        elif holders:
            place.append(part)
            allowed = _names_in(models)
            annotations = [m.model_fields[str(part)].annotation for m in holders]
            in_container = any(get_origin(a) is dict for a in annotations)
            models = [inner for a in annotations for inner in _models_in(a)]
        else:
            place.append(part)
            allowed = _names_in(models)
    return tuple(place), allowed


def _names_in(models: Iterable[type[BaseModel]]) -> list[str]:
    return list(dict.fromkeys(name for m in models for name in m.model_fields))


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """The values of ``name: Literal[...]`` or ``kind: Literal[...]``, by which a union tells its members apart."""
    key = next((key for key in ("kind", "name") if key in model.model_fields), None)
    return get_args(model.model_fields[key].annotation) if key else ()


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models an annotation can hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in get_args(annotation) for m in _models_in(a)]
