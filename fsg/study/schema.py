"""The JSON Schema of study files, for editors: made from the typed tree, with the parts that are registered when it is asked for.

Every key has its meaning, default and range. It takes what fsg takes, but for spellings that YAML 1.2 reads as another type
(``1_000`` for a number, ``2024`` for a name, ``ON`` for a flag). What depends on another key, such as the options of the kind
that the base has, it leaves to fsg. Draft 7, which the YAML language server reads.
Proof: ``tests/study/test_study_schema.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import core_schema

from fsg.config import PLUGINS, TrialConfig
from fsg.parts import names
from fsg.plugins import PluginRef
from fsg.scalars import tags, types_at
from fsg.section import meanings, summary
from fsg.study.domains import KINDS
from fsg.study.space import Space
from fsg.study.spec import AblationSpec, SweepSpec
from fsg.yaml_source import field_names, models_in

Json = dict[str, Any]
DIALECT = "http://json-schema.org/draft-07/schema#"
SWEEPS = ("space", "search", "scheduler")  # the keys of which any makes a study a sweep
NOT_WRITTEN = {"seed", PLUGINS, "fused"}  # of a trial: a study says these in its own keys, or the command line does
_DEFS, _WORDS = "#/$defs/", ["on", "off", "yes", "no"]


def study_schema() -> Json:
    """The schema of a file that ``fsg ablate`` or ``fsg sweep`` takes."""
    _, made = models_json_schema(
        [(kind, "validation") for kind in (AblationSpec, SweepSpec)], schema_generator=_Generator
    )
    defs: Json = {
        name: each for name, each in made["$defs"].items() if name != PluginRef.__name__
    }  # fsg's own to write
    defs |= {"Domain": _domain(), "Space": _space(made["$defs"]["Space"])}
    return {
        "$schema": DIALECT,
        "title": "A study of fsg",
        "type": "object",
        "properties": {
            key: {"description": f"{_plain(meanings(SweepSpec)[key])} Makes the study a sweep."} for key in SWEEPS
        },
        "if": {"anyOf": [{"required": [key]} for key in SWEEPS]},
        "then": {"$ref": f"{_DEFS}SweepSpec"},
        "else": {"$ref": f"{_DEFS}AblationSpec"},
        "$defs": dict(sorted(defs.items())),
    }


def without_meaning() -> list[str]:
    """Each key of the tree that no docstring says the meaning of, as ``Class.key``: a test wants none."""
    return [
        f"{section.__name__}.{key}"
        for section in dict.fromkeys([*_below(AblationSpec), *_below(SweepSpec)])
        for key in section.model_fields
        if key not in _meanings(section)
    ]


class _Generator(GenerateJsonSchema):
    """As pydantic makes it, for what people write: shorthands too, and a part of a section where the base has the rest."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Json:
        section, found = schema["cls"], super().model_schema(schema)
        found["description"] = _plain(summary(section))
        found.pop("title", None)
        if not section.__module__.startswith("fsg.study."):
            found.pop("required", None)  # an arm may change a part of it
        meant = _meanings(section)
        properties = {
            key: {k: v for k, v in inner.items() if k != "title"}
            | ({"description": _plain(meant[key])} if key in meant else {})
            for key, inner in found.get("properties", {}).items()
            if not (section is TrialConfig and key in NOT_WRITTEN)
        }
        return found | ({"properties": properties} if properties else {})

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> Json:
        """Any of its kinds: which it is may be said by the base."""
        choices = [self.generate_inner(choice) for choice in schema["choices"].values()]
        return {"anyOf": [each for n, each in enumerate(choices) if each not in choices[:n]]}

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> Json:
        """A section that its name alone makes may be written as that name."""
        inner = super().function_before_schema(schema)
        sections = [self.resolve_ref_schema(each) for each in inner.get("anyOf", [inner])]
        named = [
            each["properties"]["name"]
            for each in sections
            if "name" in each.get("properties", {}) and set(each.get("required", ())) <= {"name"}
        ]
        if not named:
            return inner
        return {"anyOf": [*_names(named), *inner.get("anyOf", [inner])]}

    def bool_schema(self, schema: core_schema.BoolSchema) -> Json:
        """A flag, in the words that YAML 1.1 had for it too."""
        return {"anyOf": [{"type": "boolean"}, {"enum": _WORDS}]}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Json:
        """Of a section its kind; none for an empty list or table."""
        found, default = super().default_schema(schema), schema.get("default")
        if isinstance(default, BaseModel):
            found["default"] = getattr(default, "name", None)
        if found.get("default") in (None, [], {}):
            found.pop("default", None)
        return found


def _meanings(section: type[BaseModel]) -> dict[str, str]:
    """As ``meanings``; the key that says which kind it is means what the section is."""
    kinds = {key: _first_sentence(section) for key in ("name", "kind") if len(tags(section, key)) == 1}
    return kinds | meanings(section)


def _first_sentence(section: type[BaseModel]) -> str:
    return " ".join(summary(section).partition("\n\n")[0].split())


def _names(named: list[Json]) -> list[Json]:
    """The schemas of the names of sections, as one list of words and what else is allowed."""
    words = [word for each in named for word in each.get("enum", [each["const"]] if "const" in each else [])]
    free: list[Json] = [
        {k: each[k] for k in ("type", "pattern") if k in each} for each in named if not {"enum", "const"} & each.keys()
    ]
    if free:
        words += [*names("optimizer")]  # the one part that has any name
    listed: Json = {"enum": list(dict.fromkeys(words))}
    return [listed, *free[:1]]


def _space(space: Json) -> Json:
    """Every path of a trial, with what it means; and those that end in a name of the network's own."""
    paths = [path for path in field_names(TrialConfig) if path.partition(".")[0] not in NOT_WRITTEN]
    return {
        "description": space["description"],
        "type": "object",
        "properties": {path: {"$ref": f"{_DEFS}Domain", "description": _plain(meaning_at(path))} for path in paths},
        "patternProperties": {r"^quantizer\.layers\.": {"$ref": f"{_DEFS}Domain"}},
        "additionalProperties": False,
    }


def meaning_at(path: str) -> str:
    """What the key at a dotted path of a trial means: of several kinds, each once."""
    *sections, key = path.split(".")
    holders = [model for each in types_at(TrialConfig, sections) for model in models_in(each)]
    return " ".join(dict.fromkeys(meant for each in holders if (meant := _meanings(each).get(key))))


def _domain() -> Json:
    """The values of one path: a fixed one, or a domain by its kind, perhaps under a condition."""
    when = {
        "type": "object",
        "minProperties": 1,
        "description": "Other paths and their values, or lists of them: set only where all of these hold.",
    }
    kinds = [
        {
            "type": "object",
            "description": _first_line(kind),
            "properties": {name: kind.json_schema() | {"description": _first_line(kind)}, "when": when},
            "required": [name],
            "additionalProperties": False,
        }
        for name, kind in KINDS.items()
    ]
    fixed = {"type": ["string", "number", "boolean", "null"], "description": "The same in every trial."}
    return {"description": "The values that a path may take.", "anyOf": [fixed, *kinds]}


def _plain(text: str) -> str:
    """A docstring's words as Markdown has them."""
    return text.replace("``", "`")


def _first_line(kind: type) -> str:
    return _plain((kind.__doc__ or "").partition("\n")[0])


def _below(section: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A section and all that its fields can hold."""
    seen: dict[type[BaseModel], None] = {}
    waiting = [section]
    while waiting:
        each = waiting.pop()
        if each not in seen and not issubclass(each, Space):
            seen[each] = None
            waiting += [inner for field in each.model_fields.values() for inner in models_in(field.annotation)]
    return iter(seen)
