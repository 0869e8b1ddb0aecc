"""What every part of a configuration is: a frozen pydantic model that refuses keys it does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticKnownError

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


def one_of(known: Callable[[], tuple[str, ...]]) -> AfterValidator:
    """A name among those that are known when it is read: guests may have added some. Refused as pydantic refuses a literal."""

    def check(name: str) -> str:
        if name not in known():
            listed = [f"'{each}'" for each in known()]
            expected = " or ".join([", ".join(listed[:-1]), listed[-1]])
            raise PydanticKnownError("literal_error", {"expected": expected})
        return name

    return AfterValidator(check)
