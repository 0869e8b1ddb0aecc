"""YAML with line numbers, and refusals that a reader can act on.

``read_yaml`` keeps the line of every key, so that a value refused later, by a pydantic model, is reported as
``file:line: what was found, what is allowed, the nearest valid name``; and the text of every scalar, so that its field
decides what it means (fsg/scalars.py). Safe loader only: a YAML cannot build objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, RootModel, ValidationError

from fsg.errors import ConfigError, UnknownName
from fsg.files import user_path
from fsg.nearest import did_you_mean, likeness, nearest, nearest_path, suggestion
from fsg.scalars import Plain, holds, read_as, tags, types_at, untyped

Location = tuple[str | int, ...]
ModelType = TypeVar("ModelType", bound=BaseModel)
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_UNQUOTED, _MERGE = "fsg:plain", "<<"
_SURE = 0.75  # likeness from which a misspelt section is taken for the one it resembles, whatever it holds
_MOST_NODES = 100_000  # a study has a few hundred; more is an alias bomb or the wrong file
_MOST_BITS = 1024  # an integer beyond a float's range serves nobody, and Python refuses to print the largest


@dataclass(frozen=True)
class YamlSource:
    """A parsed YAML mapping that remembers where each of its keys stands.

    ``data``: plain dicts, lists and scalars, read without their types. ``lines``: where the key at each location stands:
    its 1-based line in the file, or the option of the command line that set it. ``tree`` is ``data`` before its scalars
    are read.
    """

    path: Path
    data: dict[str, Any]
    lines: Mapping[Location, int | str] = field(default_factory=dict)
    tree: Mapping[str, Any] | None = None

    def typed(self, model: type[BaseModel]) -> dict[str, Any]:
        """The plain data, each scalar read as the field of ``model`` that it stands in takes it."""
        found: dict[str, Any] = self.data if self.tree is None else read_as(self.tree, model)
        return found

    def text(self, location: Sequence[str | int]) -> str | None:
        """The scalar at ``location`` as it is written without quotes; None for anything else."""
        node: Any = self.tree
        for part in location:
            if isinstance(node, Mapping):
                node = node.get(str(part))
            else:
                node = node[part] if isinstance(node, list) and isinstance(part, int) and part < len(node) else None
        return node.text if isinstance(node, Plain) else None

    def where(self, location: Sequence[str | int] = ()) -> str:
        """``file:line`` of the key at ``location``, or of its nearest ancestor that has one."""
        place = tuple(location)
        while place and place not in self.lines:
            place = place[:-1]
        line = self.lines.get(place, 1)
        return line if isinstance(line, str) else f"{self.path}:{line}"

    def error(self, location: Sequence[str | int], message: str) -> ConfigError:
        """The refusal of what stands at ``location``."""
        return ConfigError(f"{self.where(location)}: {message}")


def read_yaml(path: str | Path) -> YamlSource:
    """Read a YAML file whose top level is a mapping.

    Raises ConfigError, with file and line, for a missing file, text that is not YAML or not UTF-8, a duplicate key,
    a key that is not a scalar, a scalar that is not what its tag says, or another top level. Keys are text as written:
    ``no:`` is "no", not False. ``<<`` merges other mappings, as in YAML 1.1: what stands beside it wins.
    """
    path = user_path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        near = nearest(path.name, (p.name for p in path.parent.glob("*.yaml"))) if path.parent.is_dir() else None
        raise ConfigError(f"{path}: no such file.{suggestion(near and str(path.parent / near))}") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error}).") from None
    try:
        root = yaml.compose(text, Loader=_Loader)
        if root is None:
            raise ConfigError(f"{path}:1: the file is empty, expected a mapping of keys to values.")
        return _Reader(path).read(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {problem}.") from None
    except (RecursionError, ValueError, OverflowError) as error:
        raise ConfigError(f"{path}:1: not usable YAML: {type(error).__name__}: {error}.") from None


def validated(model: type[ModelType], source: YamlSource) -> ModelType:
    """The ``model`` that the whole of ``source`` describes. ConfigError with file and line for all that it refuses."""
    try:
        return model.model_validate(source.typed(model))
    except ValidationError as error:
        raise refusal(error, model, source) from None


def refusal(
    error: ValidationError,
    model: type[BaseModel],
    source: YamlSource | None = None,
    prefix: Location = (),
    subject: str = "",
) -> ConfigError:
    """The ConfigError that says what ``model`` refused, one line for each thing refused; UnknownName where a name is among them.

    ``prefix`` is where in ``source`` the validated data stands; ``subject`` opens the message: ``arm "no_lre": ``.
    """
    lines = []
    for item in error.errors(include_url=False):
        place, holders = _locate(model, item["loc"])
        # A kind that does not exist stands at its own key, where it is written as one.
        kind = (item["ctx"]["discriminator"].strip("'"),) if item["type"] == "union_tag_invalid" else ()
        where = f"{source.where((*prefix, *place, *kind))}: " if source else ""
        lines.append(f"{where}{subject}{_explain(dict(item), place, holders, model)}")
    kinds = {item["type"] for item in error.errors(include_url=False)}
    refused = UnknownName if kinds & {"extra_forbidden", "union_tag_invalid", "literal_error"} else ConfigError
    return refused("\n".join(dict.fromkeys(lines)))


def places(tree: Any, place: Location = ()) -> Iterator[tuple[Location, Any]]:
    """(place, value) of everything below the top of plain data, in the order of the file."""
    inside = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    for key, inner in inside:
        yield (*place, key), inner
        yield from places(inner, (*place, key))


def field_names(model: type[BaseModel]) -> list[str]:
    """Every dotted path of a model's fields, members of unions included; what every kind of a section has comes first."""
    always: dict[str, bool] = {}
    for name, info in model.model_fields.items():
        always[name] = True
        members = [member for member in models_in(info.annotation) if not issubclass(member, RootModel)]
        inner = [dict.fromkeys(field_names(member)) for member in members]
        for path in dict.fromkeys(path for names in inner for path in names):
            always[f"{name}.{path}"] = all(path in names for names in inner)
    return sorted(always, key=lambda path: not all(always[path[:n]] for n in _dots(path)))


def _dots(path: str) -> list[int]:
    """Where the path and each section that it stands in end."""
    return [n for n, character in enumerate(path) if character == "."] + [len(path)]


class _Loader(yaml.SafeLoader):
    """Gives scalars without quotes and tag a tag of their own, where YAML 1.1 would guess a type."""

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _UNQUOTED
        found: str = super().resolve(kind, value, implicit)
        return found


class _Reader:
    """Builds a tree from composed YAML nodes and notes each key's line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Location, int] = {}
        self.nodes = 0

    def read(self, root: yaml.Node) -> YamlSource:
        if not isinstance(root, yaml.MappingNode):
            line = root.start_mark.line + 1
            raise ConfigError(f"{self.path}:{line}: the top level must be a mapping of keys to values.")
        tree = self.value(root, ())
        return YamlSource(self.path, untyped(tree), self.lines, tree)

    def value(self, node: yaml.Node, place: Location) -> Any:
        self._count()
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
            line = node.start_mark.line + 1
            raise ConfigError(f"{self.path}:{line}: not usable YAML: the tag {_short(node.tag)} is not allowed here.")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            values = []
            for index, child in enumerate(node.value):
                self.lines[(*place, index)] = child.start_mark.line + 1
                values.append(self.value(child, (*place, index)))
            return values
        try:
            return _scalar(node)
        except (ValueError, TypeError, AttributeError, LookupError) as error:  # what PyYAML raises for `!!int ""`
            line = node.start_mark.line + 1
            kind = "int" if node.tag == _UNQUOTED else node.tag.rpartition(":")[2]
            problem = f"{_short(node.value)} is no usable {kind} ({error})"
            raise ConfigError(f"{self.path}:{line}: not usable YAML: {problem}.") from None

    def _mapping(self, node: yaml.MappingNode, place: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, (key_node, value_node) in self._pairs(node).items():
            self.lines[(*place, key)] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, (*place, key))
        return result

    def _pairs(self, node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key -> its node and its value's, what is merged in first. A duplicate key is refused."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            key, line = key_node.value, key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{self.path}:{line}: a key must be a plain name.")
            if _has_surrogate(key):
                raise ConfigError(f"{self.path}:{line}: the key {_short(key)} is not valid Unicode text.")
            if key in own:
                first = own[key][0].start_mark.line + 1
                advice = " Merge several as a list: <<: [*one, *other]." if _is_merge(key_node) else ""
                raise ConfigError(f'{self.path}:{line}: "{key}" is given twice (first on line {first}).{advice}')
            own[key] = (key_node, value_node)
        merge = own.get(_MERGE)
        if merge is None or not _is_merge(merge[0]):
            return own
        del own[_MERGE]
        return self._merged(*merge) | own

    def _merged(self, key: yaml.Node, value: yaml.Node) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """What ``<<`` brings in: the keys of one mapping, or of a list of them, of which the first wins."""
        parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for part in parts:
            self._count()
            if not isinstance(part, yaml.MappingNode):
                line = key.start_mark.line + 1
                message = "<< merges a mapping, or a list of them, as in <<: *name; found something else."
                raise ConfigError(f"{self.path}:{line}: {message}")
            found = self._pairs(part) | found
        return found

    def _count(self) -> None:
        self.nodes += 1
        if self.nodes > _MOST_NODES:
            raise ConfigError(f"{self.path}: more than {_MOST_NODES:,} values; this is no study file.")


def parse_value(text: str) -> Any:
    """The tree of a value as a user types it after ``--set a.b=``; text that is no YAML is text."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        return Plain("") if node is None else _Reader(Path("--set")).value(node, ())
    except (yaml.YAMLError, RecursionError, ValueError, ConfigError):
        return text


def _is_merge(key: yaml.Node) -> bool:
    return key.value == _MERGE and key.tag in (_UNQUOTED, "tag:yaml.org,2002:merge")


def _scalar(node: yaml.Node) -> Any:
    value = Plain(node.value) if node.tag == _UNQUOTED else yaml.SafeLoader("").construct_object(node, deep=True)
    meant = value.value if isinstance(value, Plain) else value
    if isinstance(meant, int) and meant.bit_length() > _MOST_BITS:
        raise ValueError(f"more than {_MOST_BITS} bits")
    if isinstance(meant, str) and _has_surrogate(meant):
        raise ValueError("not valid Unicode text")
    return value


def _has_surrogate(text: str) -> bool:
    """Half of a character, as ``"\\ud800"`` gives: it cannot be printed, hashed or stored."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _explain(item: dict[str, Any], place: Location, holders: list[type[BaseModel]], model: type[BaseModel]) -> str:
    """One refused item as a sentence. ``holders``: the models that could have held its last part."""
    path = ".".join(str(p) for p in place)
    kind, found, context = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(place, found, holders, model)
    if kind == "missing":
        return f'"{path}" is missing.'
    if kind in ("union_tag_invalid", "literal_error"):
        expected = context.get("expected_tags", context.get("expected", ""))
        names = [n.strip(" '") for n in expected.replace(" or ", ",").split(",")]
        value = context.get("tag", found)
        advice = did_you_mean(str(value), names) or _for_none(value, place, model)
        return f'"{path}" is {_short(value)}, allowed: {", ".join(names)}.{advice}'
    if kind == "union_tag_not_found":
        key = context.get("discriminator", "name").strip("'")
        return f'"{path}" needs a "{key}" that says which kind it is.'
    if kind == "value_error":
        message = str(context.get("error", item["msg"]))
        return f'"{path}": {message}' if path else message
    advice = _for_none(found, place, model) or _how_to_write(kind, found)
    return f'"{path}" is {_short(found)}: {item["msg"][:1].lower()}{item["msg"][1:]}.{advice}'


def _unknown_key(place: Location, found: Any, holders: list[type[BaseModel]], model: type[BaseModel]) -> str:
    """What is wrong with a key that its section does not know, and which was meant."""
    path, parent, key = ".".join(map(str, place)), ".".join(map(str, place[:-1])), str(place[-1])
    prefix = f"{parent}." if parent else ""
    allowed = _names_in(holders)
    here = [f"{prefix}{name}" for each in holders for name in field_names(each)]  # of the kind that it is
    known = list(
        dict.fromkeys([*here, *(name for name in field_names(model) if not parent or not name.startswith(prefix))])
    )
    names = f"Allowed{f' in {parent}' if parent else ''}: {', '.join(allowed)}."
    if path in known:
        section, _, rest = key.partition(".")
        return f'unknown key "{path}". Write a section as a mapping: {section}: {{{rest}: ...}}. {names}'
    near = nearest_path(path, known)
    if isinstance(found, Mapping) and (near is None or likeness(path, near) < _SURE):  # perhaps what it holds is known
        near = next((each for leaf in found if (each := nearest_path(f"{path}.{leaf}", known))), near)
    kinds = [] if near else _kinds_with(model, place)
    owner = f' "{key}" belongs to {parent} {" or ".join(kinds)}.' if kinds else ""
    return f'unknown key "{path}".{suggestion(near)} {names}{owner}'


def _kinds_with(model: type[BaseModel], place: Location) -> list[str]:
    """The names of the kinds of a section that have this key, where others have not: ``fsg`` for ``gradient.hgs``."""
    *sections, key = map(str, place)
    holders = [inner for annotation in types_at(model, sections) for inner in models_in(annotation)]
    return [str(name) for each in holders if key in each.model_fields for name in tags(each, "name")]


def _for_none(found: Any, place: Location, model: type[BaseModel]) -> str:
    """How to spell that there is none, where a word for it was found in a field that may be left empty."""
    optional = holds(None, *types_at(model, [str(part) for part in place]))
    return " For none write null." if optional and str(found).lower() in ("none", "off", "no", "nil") else ""


_NUMBERS = ("int_type", "int_parsing", "int_from_float", "float_type", "float_parsing")


def _how_to_write(kind: str, found: Any) -> str:
    """How to spell what a field takes, where something was found that looks as if it were meant."""
    if kind == "bool_type" and isinstance(found, str | int):
        return " Write true or false."
    if kind == "string_type" and found is None:
        return " Leave the key out, or put the text in quotes."
    if kind in _NUMBERS and isinstance(found, str) and found[:1].isdigit():
        return " A number is written with digits and a decimal point, as in 1000, 0.5 or 1e-3."
    return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _locate(model: type[BaseModel], loc: Sequence[str | int]) -> tuple[Location, list[type[BaseModel]]]:
    """Where in the YAML a pydantic location stands, and the models that could have held its last part.

    Pydantic puts the tag of a discriminated union into the location (gradient, fsg, beta); the YAML has no such key.
    """
    place: list[str | int] = []
    models, in_container, last = [model], False, [model]
    for part in loc:
        holders = [m for m in models if part in m.model_fields]
        tagged = [m for m in models if part in (*tags(m, "kind"), *tags(m, "name"))]
        if len(models) > 1 and tagged:  # before the fields: the estimator "fsg" has a switch of the same name
            models = tagged
            continue
        if place and str(part).startswith("<"):  # a member of a union that is told apart by its form, not by a key
            continue
        place.append(part)
        last = models
        if in_container or isinstance(part, int):
            in_container = False
        elif holders:
            annotations = [m.model_fields[str(part)].annotation for m in holders]
            in_container = any(get_origin(a) is dict for a in annotations)
            models = [inner for a in annotations for inner in models_in(a)]
    return tuple(place), last


def _names_in(models: Iterable[type[BaseModel]]) -> list[str]:
    return list(dict.fromkeys(name for m in models for name in m.model_fields))


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models an annotation can hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in get_args(annotation) for m in models_in(a)]
