"""Learning rates over training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, create_model

from fsg.parts import register
from fsg.section import Section, as_tuple


class ScheduleConfig(Section):
    """The learning rate over training, as a factor of ``optimizer.lr``; the meta-optimizers follow the same factor.

    Args:
        name: ``constant``; ``step``: times ``step_factor`` every ``step_epochs``; ``cosine``: half a cosine towards 0;
            ``linear``: a straight line towards 0.
        warmup_epochs: Epochs in which the rate rises before.
        step_epochs: Of ``step``: epochs between two drops.
        step_factor: Of ``step``: what the rate is multiplied by.
    """

    name: Literal["constant", "step", "cosine", "linear"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    step_epochs: Annotated[int, Field(ge=1)] = 30
    step_factor: Annotated[float, Field(gt=0, le=1)] = 0.1


class RefinedBase(Section):
    """Linear decay refined by the gradient norms of an earlier run; the equation is in ``fsg/train/refined.py``.

    Args:
        from: ``STUDY#ARM``, whose trials have run.
        norm: ``l2``, with weights 1 / G^2, for SGD; ``l1``, with 1 / G, for Adam and its kind.
        smoothing: Width of the median that smooths the norms, as a share of training.
        norms: Of each epoch of that run; a study fills them in when it begins, and its trials need nothing else.
    """

    name: Literal["refined"] = "refined"
    norm: Literal["l2", "l1"] = "l2"
    smoothing: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    norms: Annotated[tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(as_tuple)] = ()


# ``from`` is a word of Python, which no class body can have as a field.
_From = Annotated[str, Field(pattern=r"^[^#]+#[^#]+$")]
_FIELDS: dict[str, Any] = {"from": (_From, ...)}
Refined: Any = create_model(
    "Refined", __base__=RefinedBase, __module__=__name__, __doc__=RefinedBase.__doc__, **_FIELDS
)

register("schedule", Refined, "fsg.train.refined:refined")
for _name in ("constant", "step", "cosine", "linear"):
    register("schedule", ScheduleConfig, f"fsg.train.schedules:{_name}", names=[_name])
