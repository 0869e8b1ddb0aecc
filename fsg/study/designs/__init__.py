"""Designs of an ablation, by ``kind``: which arms, in which blocks. One module per family.

``components`` and ``factorial`` switch parts on and off, ``fractions`` is the arithmetic of fractions, ``sequence`` goes
over values or step by step, ``cross`` repeats a design. Arms written out one by one need no design: ``arms:`` in the study.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fsg.study.designs.base import ARM_NAME, DesignArm, DesignBase
from fsg.study.designs.components import Component
from fsg.study.designs.cross import Cross
from fsg.study.designs.factorial import AddOneIn, FractionalFactorial, FullFactorial, LeaveOneOut
from fsg.study.designs.sequence import DoseResponse, Path

Design = Annotated[
    LeaveOneOut | AddOneIn | FullFactorial | FractionalFactorial | DoseResponse | Path | Cross,
    Field(discriminator="kind"),
]

__all__ = [
    "ARM_NAME",
    "AddOneIn",
    "Component",
    "Cross",
    "Design",
    "DesignArm",
    "DesignBase",
    "DoseResponse",
    "FractionalFactorial",
    "FullFactorial",
    "LeaveOneOut",
    "Path",
]
