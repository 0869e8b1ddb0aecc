"""The packages of the extra ``export``, imported where they are first used. Proof: ``tests/export/test_export_folder.py``."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

from fsg.errors import BackendUnavailable

PACKAGES = ("safetensors", "onnx", "onnxruntime", "onnxscript")


def need(module: str) -> Any:
    """The module. BackendUnavailable, with what to install, where its package is not there."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise BackendUnavailable(
            f"the package {missing} is not installed, which exported networks need; run: pip install 'fsg[export]'"
        ) from None


def versions() -> dict[str, str]:
    """Of all of them, by name."""
    return {package: version(package) for package in PACKAGES}
