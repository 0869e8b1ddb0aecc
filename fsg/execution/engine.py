"""What runs trials: the port that a driver hands its work to, and the engine that trains in this process.

An engine takes assignments from a source, trains them, and gives every report first to the recording, then to whoever decides
whether the trial goes on, then to the source. ``LocalEngine`` does so one pack of trials at a time: in a notebook, under a
debugger, in tests of rules. ``fsg.ray_engine`` does it on a machine's cores or a cluster. A study run on either has the same
ledger, but for times and the order of trials. Proof: ``tests/execution/test_local_engine.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fsg.execution.devices import OF_CLUSTER, device_name
from fsg.execution.disk_space import DiskSpace
from fsg.execution.packs import MOST, Member, PackQueue, PackRun
from fsg.execution.recording import Recording
from fsg.execution.reports import EpochReport, TrialAssignment, TrialEnd
from fsg.record.folder import StudyFolder
from fsg.study.inputs import data_of
from fsg.study.layers import check_layers
from fsg.study.optimizers import check_optimizers
from fsg.study.pretrained import check_pretrained
from fsg.study.search import require
from fsg.study.spec import AblationSpec, SweepSpec


@dataclass(frozen=True)
class Resources:
    """What one trial takes, in CPU cores and GPUs (fractions allowed), and the Ray cluster to join (None: this machine).

    ``pack``: GPUs are shared out by measured memory, and ``gpus_per_trial`` is what a trial has before it was measured.
    ``patience``: seconds that trials may wait for machines of the cluster while none runs. ``accelerator``: the kind of GPU, as
    Ray names it. ``memory_per_trial``: GiB that are set aside. ``arms``: what those of an arm have otherwise, as
    ``fsg.study.resources.TrialShare`` says it.
    ``fuse``: at most so many trials are trained as one program, where they can be; they take together what one trial takes.
    """

    cpus_per_trial: float = 1
    gpus_per_trial: float = 0
    address: str | None = None
    pack: bool = False
    patience: float = 1800.0
    accelerator: str | None = None
    memory_per_trial: float = 0
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fuse: int = MOST

    def share(self, arm: str | None = None) -> dict[str, float]:
        """What a trial has, by Ray's names in lower case: ``cpu``, ``gpu``, ``memory`` in bytes, the kind of GPU."""
        own = self.arms.get(arm or "", {})
        found = {"cpu": own.get("cpus", self.cpus_per_trial), "gpu": own.get("gpus", self.gpus_per_trial)}
        if kind := own.get("accelerator", self.accelerator):
            found[f"accelerator_type:{kind}"] = 0.001
        if memory := own.get("memory", self.memory_per_trial):
            found["memory"] = memory * 2**30
        return found

    def shares(self) -> list[dict[str, float]]:
        """Of all trials, and of those arms that have others."""
        return [self.share(), *(self.share(arm) for arm in self.arms)]


def device_of(resources: Resources) -> str:
    """The name of what a trial is about to compute on. On a joined cluster the trial itself says it, with its first epoch."""
    kind = "cuda" if resources.gpus_per_trial else "cpu"
    return device_name(kind) if resources.address is None else OF_CLUSTER[kind]


class Source(Protocol):
    """Where trials come from (``fsg.search.searcher.TrialSource``)."""

    @property
    def waits(self) -> bool: ...  # noqa: D102
    @property
    def ahead(self) -> int: ...  # noqa: D102
    def take(self, name: str) -> TrialAssignment | None: ...  # noqa: D102
    def heard(self, name: str, report: EpochReport) -> None: ...  # noqa: D102
    def done(self, name: str, report: EpochReport | TrialEnd | None) -> None: ...  # noqa: D102


class Decides(Protocol):
    """Who stops trials early (``fsg.search.stopping.Judge``)."""

    @property
    def name(self) -> str: ...  # noqa: D102
    def stop(self, key: str, metrics: Mapping[str, Any]) -> str | None: ...  # noqa: D102


@dataclass(frozen=True)
class Work:
    """What an engine is to do: the trials of ``source``, written down by ``recording``, stopped early by ``judge``.

    ``fused``: whether any of them can be trained as one program with others.
    """

    folder: StudyFolder
    source: Source
    recording: Recording
    disk_space: DiskSpace
    judge: Decides | None = None
    fused: bool = False


class Engine(Protocol):
    """Runs trials, each with ``resources``."""

    @property
    def resources(self) -> Resources: ...  # noqa: D102

    def ready(self, spec: AblationSpec | SweepSpec, storage: Path) -> AbstractContextManager[None]:
        """While the context lasts, the study may begin: what it needs is there. BackendUnavailable, DataError or ConfigError."""

    def connected(self) -> AbstractContextManager[None]:
        """While the context lasts, there is something to train on."""

    def largest_node(self) -> dict[str, float]:
        """The most that one trial can have of ``CPU`` and ``GPU``."""

    def device(self) -> str:
        """The name of what a trial is about to compute on, as far as it is known before one says so."""

    def run(self, work: Work) -> bool:
        """All trials of the source, to their ends; False where it was asked to stop before, or just then."""


class LocalEngine:
    """Trains in this process, one trial after the other, or several as one program where they can be. Needs no Ray.

    Args:
        cpus_per_trial: Threads that torch computes with. Sums are rounded otherwise with another number.
        gpus_per_trial: 1 trains on the first GPU, 0 on the processor.
        fuse: At most so many trials are one program.
    """

    def __init__(self, cpus_per_trial: int = 1, gpus_per_trial: int = 0, fuse: int = MOST) -> None:
        self.resources = Resources(cpus_per_trial, gpus_per_trial, fuse=fuse)

    def ready(self, spec: AblationSpec | SweepSpec, storage: Path) -> AbstractContextManager[None]:
        """The packages of a search, optimizers that can train, and the data, which are loaded once to see."""
        from fsg.data import load_data  # torch, which takes seconds

        if spec.kind == "sweep":
            require(spec.search)
        check_optimizers(spec)
        check_layers(spec)
        check_pretrained(spec)
        for data in data_of(spec):
            load_data(data)
        return nullcontext()

    def connected(self) -> AbstractContextManager[None]:
        """At once."""
        return nullcontext()

    def largest_node(self) -> dict[str, float]:
        """What a trial has anyway."""
        return {"CPU": self.resources.cpus_per_trial, "GPU": self.resources.gpus_per_trial}

    def device(self) -> str:
        """This machine's."""
        return device_of(self.resources)

    def run(self, work: Work) -> bool:
        """All trials of the source; whether it came to its end.

        Ctrl-C ends it before, and the trials under way go on from their last epoch another time.
        """
        queue = PackQueue(work, self.resources.fuse, "local")
        run = PackRun(cpus=self.resources.cpus_per_trial, gpus=self.resources.gpus_per_trial)
        pack: list[Member] = []
        try:
            while True:
                work.disk_space.make_sure(len(pack))
                known, pack = pack, queue.filled(pack)
                if not pack:
                    return True
                for member in pack[len(known) :]:
                    work.recording.started(member.assignment.key, "127.0.0.1")
                outcomes = zip(pack, run.epoch(pack), strict=True)
                pack = [member for member, outcome in outcomes if queue.hear(member, outcome)]
        except KeyboardInterrupt:
            return False
        finally:
            run.close()
