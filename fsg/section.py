"""What every part of a configuration is: a frozen pydantic model that refuses keys it does not know."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
)
from pydantic_core import CoreSchema, PydanticKnownError
from pydantic_core.core_schema import no_info_after_validator_function

Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=100)]
Width = Annotated[int, Field(ge=1, le=4096)]


class Section(BaseModel):
    """A part of the tree: immutable, and no key it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """As pydantic's; silent where a guest's section is one of an earlier content of its file."""
        return super().model_dump(**{"warnings": False} | options)


def as_tuple(value: Any) -> Any:
    """A YAML list as the tuple that a frozen model holds."""
    return tuple(value) if isinstance(value, list) else value


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


ByName = BeforeValidator(_by_name)  # a bare string is short for {name: ...}


@dataclass(frozen=True)
class OneOf:
    """A name among those that are known when it is read: guests may have added some. Refused as pydantic refuses a literal."""

    known: Callable[[], tuple[str, ...]]

    def check(self, name: str) -> str:
        """The name; PydanticKnownError for another."""
        known = self.known()
        if name not in known:
            listed = [f"'{each}'" for each in known]
            expected = " or ".join([", ".join(listed[:-1]), listed[-1]])
            raise PydanticKnownError("literal_error", {"expected": expected})
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": list(self.known()), "type": "string"}


@dataclass(frozen=True)
class WrittenAs:
    """Of a field that takes more than its type says: the type of all that a file may hold there, for its JSON Schema alone."""

    form: Callable[[], Any]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(TypeAdapter(self.form()).core_schema)


def meanings(section: type[BaseModel]) -> dict[str, str]:
    """What each key of a section means, as ``Args:`` of its docstring says, or those of the classes that it derives from."""
    found: dict[str, str] = {}
    for each in reversed(section.__mro__):
        listed = inspect.cleandoc(each.__doc__ or "").partition("\nArgs:\n")[2]
        for key, text in re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", listed, re.MULTILINE):
            found[key] = " ".join(text.split())
    return {key: found[key] for key in section.model_fields if key in found}


def summary(section: type[BaseModel]) -> str:
    """What a section is: its docstring without ``Args:``."""
    return inspect.cleandoc(section.__doc__ or "").partition("\nArgs:\n")[0].strip()
