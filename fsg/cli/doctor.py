"""``fsg doctor``: what this machine has, and what would go wrong on it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from fsg.cli.options import FOLDER, Document

GIB = 2**30
MEMORY_NEEDED = 2.0  # GiB: Ray's own processes take 0.6, two workers 0.5 each
DISK_NEEDED = 1.0  # GiB


def doctor(
    cluster: Annotated[bool, typer.Option("--cluster", help="Look at every node of a Ray cluster instead.")] = False,
    address: Annotated[str, typer.Option(help="The cluster: auto, or HOST:PORT.")] = "auto",
    storage: Annotated[Path, typer.Option(**FOLDER, help="Folder for studies that every node must share.")] = Path(
        "studies"
    ),
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow server. Default: $MLFLOW_TRACKING_URI.")] = None,
    gpu_kind: Annotated[
        str | None, typer.Option(help="A GPU model that must be there, as `fsg doctor --cluster` names it.")
    ] = None,
    as_json: Document = False,
) -> None:
    """Say in ten lines what this machine has and what would go wrong."""
    if cluster:
        from fsg.cli.cluster_doctor import examine

        raise typer.Exit(_report(examine(address, storage, tracking_uri, gpu_kind), as_json))
    checks: list[tuple[str, Callable[[], tuple[bool, str]]]] = [
        ("Python", _python),
        ("torch", _torch),
        ("CUDA", _cuda),
        ("triton", lambda: _optional("triton", "Triton kernels are not available; the CPU needs none")),
        (
            "mamba-ssm",
            lambda: _optional("mamba-ssm", 'not installed; `pip install --no-build-isolation "fsg[cuda]"` on a GPU'),
        ),
        ("Ray", lambda: _required("ray")),
        ("Optuna", lambda: _required("optuna")),
        ("MLflow", lambda: _required("mlflow")),
        ("memory", _memory),
        ("disk", _disk),
    ]
    raise typer.Exit(_report(((name, *check()) for name, check in checks), as_json))


def _report(checks: Iterable[tuple[str, bool, str]], as_json: bool) -> int:
    """Print each (name, whether it is fine, what was found) as it comes, or all as JSON; the exit code."""
    found = []
    for name, fine, text in checks:
        found.append((name, fine, text))
        if not as_json:
            typer.echo(f"{'ok ' if fine else 'BAD'}  {name:<10} {text}")
    good = all(fine for _, fine, _ in found)
    if as_json:
        from fsg.report.schemas import CheckPart, DoctorDocument, printed

        parts = [CheckPart(name=name, fine=fine, text=text) for name, fine, text in found]
        typer.echo(printed(DoctorDocument(fine=good, checks=parts)))
    return 0 if good else 1


def _python() -> tuple[bool, str]:
    fine = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return fine, platform.python_version() + ("" if fine else "; fsg is tested on 3.11 to 3.13")


def _torch() -> tuple[bool, str]:
    try:
        import torch
        import torchvision
    except Exception as error:  # a mismatched torchvision raises RuntimeError on import
        return (
            False,
            f"{type(error).__name__}: {str(error).splitlines()[0]}; install torch and torchvision of one release",
        )
    threads = f"{torch.get_num_threads()} threads on {_cores()}"
    return True, f"{torch.__version__}, torchvision {torchvision.__version__}, {threads}"


def _cuda() -> tuple[bool, str]:
    try:
        import torch
    except ImportError:
        return True, "unknown without torch"
    if not torch.cuda.is_available():
        return True, "no device; trials run on the CPU"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return True, f"{torch.version.cuda}: {', '.join(names)}"


def _optional(package: str, absent: str) -> tuple[bool, str]:
    try:
        return True, version(package)
    except PackageNotFoundError:
        return True, absent


def _required(package: str) -> tuple[bool, str]:
    try:
        return True, version(package)
    except PackageNotFoundError:
        return False, f"not installed; studies need it: pip install {package}"


def _cores() -> str:
    """The cores that may be used, and of how many, where a batch system or a container allows fewer than there are."""
    from fsg.cores import usable_cores

    has, usable = os.cpu_count() or 1, usable_cores()
    return f"{usable} cores" + (f" of the machine's {has}: no more are allowed" if usable < has else "")


def _memory() -> tuple[bool, str]:
    import psutil

    free = psutil.virtual_memory().available / GIB
    fine = free >= MEMORY_NEEDED
    return fine, f"{free:.1f} GiB free" + ("" if fine else f"; Ray and two workers need about {MEMORY_NEEDED:g}")


def _disk() -> tuple[bool, str]:
    free = shutil.disk_usage(Path.cwd()).free / GIB
    fine = free >= DISK_NEEDED
    return fine, f"{free:.1f} GiB free here" + (
        "" if fine else f"; a study needs about {DISK_NEEDED:g}, and Ray stops at 95 % full"
    )
