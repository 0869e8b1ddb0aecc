"""What a trial is to have of a machine, as a study says it: the command line goes first. It decides no result, so no key.

resources: {cpus: 2, gpus: 0.5, accelerator: A10G, memory: 8, arms: {fsg: {gpus: 1}}}
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from fsg.section import Section


class TrialShare(Section):
    """What each trial has of a machine.

    Args:
        cpus: CPU cores, fractions allowed; left out: 1.
        gpus: GPUs, fractions allowed; left out: none.
        accelerator: The kind of GPU as Ray names it (A10G, L4, H100); left out: any.
        memory: GiB of memory to set aside; left out: none.
    """

    cpus: Annotated[float, Field(ge=0.01)] | None = None
    gpus: Annotated[float, Field(ge=0, lt=1e6)] | None = None
    accelerator: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    memory: Annotated[float, Field(gt=0)] | None = None

    def said(self) -> dict[str, Any]:
        """What is said, by name."""
        return {name: getattr(self, name) for name in TrialShare.model_fields if getattr(self, name) is not None}


class StudyResources(TrialShare):
    """Of every trial, and by ``arms`` what those of an arm have otherwise.

    Args:
        arms: Arm -> what its trials have otherwise.
    """

    arms: dict[str, TrialShare] = Field(default_factory=dict)
