"""Designs of an ablation, by ``kind``: which arms, in which blocks. One module per family; each is registered where it stands.

``components`` and ``factorial`` switch parts on and off, ``fractions`` is the arithmetic of fractions, ``sequence`` goes
over values or step by step, ``cross`` repeats a design. Arms written out one by one need no design: ``arms:`` in the study.
"""

from __future__ import annotations

from fsg.study.designs.base import ARM_NAME, DesignArm, DesignBase
from fsg.study.designs.components import Component
from fsg.study.designs.cross import Cross
from fsg.study.designs.factorial import AddOneIn, FractionalFactorial, FullFactorial, LeaveOneOut
from fsg.study.designs.sequence import DoseResponse, Path

Design = LeaveOneOut | AddOneIn | FullFactorial | FractionalFactorial | DoseResponse | Path | Cross

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
