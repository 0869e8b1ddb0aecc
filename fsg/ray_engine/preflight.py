"""Before a study begins: its cluster is joined, and whether that, or this machine, can run the study at all is said at once.

Nothing is written but a probe that is deleted again. Proof: ``tests/ray_engine/test_preflight.py``; on a real head
``tests/clusters/test_real_cluster.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fsg.errors import BackendUnavailable
from fsg.ray_engine.cluster import grown, joined, share_problem
from fsg.ray_engine.nodes import refuse_unfit_nodes, write_problem
from fsg.study.inputs import data_of
from fsg.study.layers import check_layers
from fsg.study.optimizers import check_optimizers
from fsg.study.pretrained import check_pretrained
from fsg.study.search import require
from fsg.study.spec import AblationSpec, SweepSpec

if TYPE_CHECKING:
    from fsg.execution.engine import Resources


@contextmanager
def fit(spec: AblationSpec | SweepSpec, resources: Resources, storage: Path) -> Iterator[None]:
    """Joined to the cluster that ``resources`` names, if it names one, while the context lasts.

    ConfigError, with file and line, for an optimizer that cannot train, and without a cluster for weights to start from that are
    not here. BackendUnavailable, a line a problem, where a GPU is asked for and there is none, trials ask for more than the
    cluster can have, the storage is full, a node is unfit; DataError where data are missing; what the search needs and has not
    (``fsg.study.search.require``).
    """
    if isinstance(spec, SweepSpec):
        require(spec.search)
    check_optimizers(spec)
    check_layers(spec)
    cuda, gpus = asks_for_cuda(spec), max(share["gpu"] for share in resources.shares())
    if resources.address is None:
        check_pretrained(spec)
        _refuse(gpu_problem(cuda, gpus, _gpus_here(cuda, gpus)))
        place = storage.absolute()
        _refuse(write_problem(next(folder for folder in (place, *place.parents) if folder.is_dir())))
        for data in data_of(spec):
            from fsg.data import load_data

            load_data(data)
        yield
        return
    with joined(resources.address):
        import ray

        have = grown(ray.cluster_resources())
        _refuse(gpu_problem(cuda, gpus, have.get("GPU", 0), _gpuless()))
        _refuse(share_problem(resources.shares(), have))
        refuse_unfit_nodes(storage, [spec.base.model_copy(update={"data": data}) for data in data_of(spec)])
        yield


def asks_for_cuda(spec: AblationSpec | SweepSpec) -> str | None:
    """Which part of a study says ``device: cuda``; None if none does."""
    if isinstance(spec, SweepSpec):
        parts = {"base": spec.base}
    else:
        parts = {f'arm "{name}"': config for name, config in spec.plan.arms.items()}
    return next((part for part, config in parts.items() if config.device.startswith("cuda")), None)


def gpu_problem(cuda: str | None, per_trial: float, have: float, gpuless: str | None = None) -> str | None:
    """Why trials would not get the GPU they ask for, or None. ``gpuless``: a node without one, on which trials may run."""
    if per_trial > have:
        return f"--gpus-per-trial is {per_trial:g}, and there are {have:g} GPUs. Ask for less, or join a cluster that has them."
    if cuda and not have:
        return (
            f"{cuda} says device: cuda, and there is no GPU. Use device: auto or cpu, or join a cluster that has one."
        )
    if cuda and gpuless and not per_trial:
        return (
            f"{cuda} says device: cuda, and {gpuless} has no GPU. Give each trial its share of one: --gpus-per-trial 1."
        )
    return None


def _gpus_here(cuda: str | None, asked: float) -> float:
    if not cuda and not asked:
        return 0.0  # nobody asks; torch takes seconds to import
    import torch

    return float(torch.cuda.device_count())


def _gpuless() -> str | None:
    """The address of a node that has processors for trials and no GPU, or None."""
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0)]
    return next((node["NodeManagerAddress"] for node in nodes if not node["Resources"].get("GPU", 0)), None)


def _refuse(problem: str | None) -> None:
    if problem:
        raise BackendUnavailable(f"{problem} Nothing was started.")
