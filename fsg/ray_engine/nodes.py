"""What every node of a cluster has, and what would keep it from running a study as its driver does.

One task runs on each node and takes no CPU there, so a busy node answers too. It reports what it finds; the judgement is a pure
comparison with the driver's own report. Trials check the versions again where they start, for nodes that join later.
Proof: ``tests/ray_engine/test_nodes.py``.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fsg.config import TrialConfig
from fsg.errors import BackendUnavailable, FsgError
from fsg.execution.software import SAME, differing, software

ANSWER_SECONDS = 120.0  # a worker process starts in 2 s, in 30 on a busy node; data may have to be unpacked first
PROBE_BYTES = 2**20  # enough to meet a full disk or quota
FREE_BYTES = 2**30  # a study's checkpoints and ledger
GIB = 2**30
MOST_SKEW = 5.0  # seconds: far more than NTP leaves, and where times of files and logs begin to mislead


@dataclass(frozen=True)
class Ask:
    """What the nodes are to look at.

    ``data``: a trial for each data set, as only a trial brings its plug-ins along. ``probe``: the name of a file that the driver
    has put into ``storage``. ``gpus``: how many Ray counts on the node.
    """

    storage: Path | None = None
    probe: str = ""
    gpus: float = 0
    data: tuple[TrialConfig, ...] = ()


@dataclass(frozen=True)
class Found:
    """One node's answer. ``problems`` are what the node itself can tell to be wrong.

    ``gpus``: models. ``data``: a digest of each data set asked for, as loaded; missing where it could not be.
    """

    node: str
    software: Mapping[str, str]
    gpus: Sequence[str] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()


def judge(driver: Mapping[str, str], found: Sequence[Found], data: Mapping[str, str] | None = None) -> list[str]:
    """What keeps these nodes from running trials that belong together, a sentence each; [] if nothing does.

    ``data``: the digests that the driver's data sets have; without them the nodes are held against one another.
    """
    sentences = []
    for node in found:
        other = differing(driver, node.software)
        if other:
            sentences.append(f"{node.node} has {other}. {SAME}")
        sentences += [f"{node.node}: {problem}" for problem in node.problems]
    names = dict.fromkeys(name for node in found for name in node.data)
    for name in names:
        digests: dict[str, list[str]] = {}
        if data and name in data:
            digests[data[name]] = ["the driver"]
        for node in found:
            if name in node.data:
                digests.setdefault(node.data[name], []).append(node.node)
        if len(digests) > 1:
            groups = "; ".join(f"{digest} on {', '.join(nodes)}" for digest, nodes in digests.items())
            sentences.append(f"{name}: the nodes have different images ({groups}). Copy one of them to all.")
    return sentences


def inspect(ask: Ask, node: str) -> Found:
    """Look at this machine. Everything that is wrong is said in the answer; nothing is raised."""
    problems: list[str] = []
    digests: dict[str, str] = {}
    if ask.storage is not None:
        problems += storage_problems(ask.storage, ask.probe)
    for config in (trial.data for trial in ask.data):
        from fsg.data import load_data

        try:
            digests[f"{config.name} in {config.root}"] = load_data(config).digest()
        except FsgError as error:
            problems.append(str(error))
    models = tuple(gpu_models())
    if ask.gpus and not models:
        problems.append(_unusable(ask.gpus))
    return Found(node, software(), models, digests, tuple(problems))


def _unusable(gpus: float) -> str:
    import torch

    if torch.version.cuda is None:
        return (
            f"Ray counts {gpus:g} GPUs, and the torch that is installed there computes on none. Install one with CUDA."
        )
    return (
        f"Ray counts {gpus:g} GPUs, and torch can use none. NVIDIA's driver is missing, or too old for torch's CUDA "
        f"{torch.version.cuda}; nvidia-smi there shows it."
    )


def gpu_models() -> list[str]:
    """The models of this machine's GPUs, as its driver names them."""
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def storage_problems(folder: Path, probe: str = "") -> list[str]:
    """Write, read and delete a megabyte in ``folder``, and look for the driver's ``probe`` in it."""
    if not folder.is_dir():
        return [f"{folder} is not there. Mount the storage that the driver uses at the same path."]
    if probe and not (folder / probe).exists():
        return [f"{folder} is another folder than the driver's. Mount the same storage at the same path."]
    if problem := write_problem(folder):
        return [problem]
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        return [f"{folder} has {free / GIB:.2f} GiB free, a study needs about {FREE_BYTES / GIB:g}. Make space."]
    return []


def write_problem(folder: Path) -> str | None:
    """Why a megabyte cannot be written to ``folder``, read and deleted again, or None."""
    data, path = os.urandom(PROBE_BYTES), folder / f".fsg-probe-{secrets.token_hex(6)}"
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.read_bytes() != data:
            return f"{folder}: what was written is read back as something else. Do not use this storage."
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror}). Make space, or give this user the right to write."
    finally:
        with suppress(OSError):
            path.unlink()
    return None


def ask_nodes(ask: Ask, seconds: float = ANSWER_SECONDS) -> list[Found]:
    """The answer of every living node of the cluster this process is connected to, in the order of their addresses.

    A node that does not answer in ``seconds`` has this as its problem.
    """
    without_data = replace(ask, data=())

    def question(node: Mapping[str, Any]) -> Ask:
        asked = ask if {"CPU", "GPU"} & node["Resources"].keys() else without_data  # no trial is placed there
        return replace(asked, gpus=node["Resources"].get("GPU", 0))

    return [
        answer if isinstance(answer, Found) else Found(node, software(), problems=[answer])
        for node, answer in on_every_node(inspect, question, seconds).items()
    ]


def on_every_node(
    task: Callable[..., Any], argument: Callable[[Mapping[str, Any]], Any], seconds: float = ANSWER_SECONDS
) -> dict[str, Any]:
    """``task(argument(node), name)`` run on every living node: by name its answer or, as text, why there is none.

    ``argument`` takes a node as ``ray.nodes()`` describes it.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.remote(num_cpus=0, max_retries=0)(task)
    nodes = sorted((n for n in ray.nodes() if n["Alive"]), key=lambda n: (n["NodeManagerAddress"], n["NodeID"]))
    asked = {}
    for number, node in enumerate(nodes, start=1):
        name = f"node {number} ({node['NodeManagerHostname']}, {node['NodeManagerAddress']})"
        on = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked[name] = here.options(scheduling_strategy=on).remote(argument(node), name)
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=seconds)
    return {name: _answer(reference, seconds) for name, reference in asked.items()}


def clock_skews(seconds: float = ANSWER_SECONDS) -> dict[str, float]:
    """By how many seconds each node's clock is at least ahead (or, negative, behind) of this machine's; 0 where unsure."""
    before = time.time()
    answers = on_every_node(_clock, lambda node: None, seconds)
    after = time.time()
    return {node: skew(before, clock, after) for node, clock in answers.items() if isinstance(clock, float)}


def skew_problems(skews: Mapping[str, float]) -> list[str]:
    """A sentence for each clock that is off by more than can be waved through; ``skews`` in seconds, by node."""
    return [
        f"{node}: its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's. Set up NTP there "
        "(timedatectl set-ntp true)."
        for node, skew in skews.items()
        if abs(skew) > MOST_SKEW
    ]


def skew(before: float, clock: float, after: float) -> float:
    """The least that a clock read between ``before`` and ``after`` must be off; 0 if it lies between them."""
    return min(0.0, clock - before) + max(0.0, clock - after)


def _clock(nothing: None, node: str) -> float:
    return time.time()


def _answer(reference: Any, seconds: float) -> Any:
    import ray

    try:
        return ray.get(reference, timeout=1)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(reference, force=True)
        return f"it did not answer in {seconds:g} seconds. Look at the node, or take it out of the cluster."
    except Exception as error:  # the worker died, or cannot import fsg
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        last = lines[-1].strip() if lines else type(error).__name__
        hint = " Install fsg there." if "No module named" in last else ""
        return f"it cannot run fsg ({last}).{hint}"


def refuse_unfit_nodes(storage: Path, data: Sequence[TrialConfig]) -> None:
    """Before the first trial: BackendUnavailable, a line a problem, where a node cannot run the study as the driver would."""
    storage = storage.absolute()
    probe = storage / f".fsg-driver-{secrets.token_hex(6)}"
    try:
        storage.mkdir(parents=True, exist_ok=True)
        probe.touch()
        found = ask_nodes(Ask(storage, probe.name, data=tuple(data)))
    except OSError as error:
        raise BackendUnavailable(f"{storage} cannot be written ({error.strerror}). Choose another --storage.") from None
    finally:
        with suppress(OSError):
            probe.unlink()
    problems = [*judge(software(), found), *skew_problems(clock_skews())]
    if problems:
        raise BackendUnavailable("The cluster is not fit for this study; nothing was started.\n" + "\n".join(problems))
