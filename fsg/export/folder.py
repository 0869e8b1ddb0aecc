"""A trained network as a folder of files, which is there whole and checked, or not at all.

``network.safetensors`` (fsg/export/weights.py), ``network.onnx``, ``network.pt2``, ``model_card.md``, and the trial's own
plug-ins. It is written beside its place, every file is run on the test split, and only then it is renamed.
Proof: ``tests/export/test_export_folder.py``.
"""

from __future__ import annotations

import copy
import os
import platform
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fsg.config import TrialConfig
from fsg.errors import ExportRefused, StudyError
from fsg.export.card import CARD, Measured, Origin, card
from fsg.export.check import agreement, logits_of
from fsg.export.loading import load_exported
from fsg.export.onnx_file import ONNX, load_onnx, write_onnx
from fsg.export.packages import PACKAGES, need
from fsg.export.packing import pack
from fsg.export.program import PROGRAM, load_program, to_program, write_program
from fsg.export.speed import milliseconds
from fsg.export.weights import WEIGHTS, write_weights
from fsg.files import size_of, sync_folder, write_atomically
from fsg.layers import quantized_layers
from fsg.plugins import FOLDER, text_of
from fsg.train.inference import InferenceNetwork, inference_network
from fsg.train.loop import Trainer

_FLOAT = "float network"
_MOST_OFF = 1.0  # points between the accuracy that was recorded and what the network scores on this machine


@dataclass(frozen=True)
class Exported:
    """``folder``: where it lies. ``accuracy``: on the test split, in percent, of the network that was exported."""

    folder: Path
    accuracy: float
    measured: Measured


def export_network(trainer: Trainer, origin: Origin, out: Path) -> Exported:
    """Write the network of a trainer, which is on the CPU, as it is tested, into the new folder ``out``.

    StudyError where ``out`` is there already. ExportRefused, with nothing left, where a part cannot be exported, or a file does
    not give the network's results on the test split. BackendUnavailable without the extra ``export``.
    """
    for package in PACKAGES:
        need(package)
    if out.exists():
        raise StudyError(f"{out}: is there already; name another folder, or remove it.")
    weights = {f"network.{name}.weight" for name in quantized_layers(trainer.model)}
    trained = inference_network(trainer)
    labels = trainer.data.test.labels
    expected = logits_of(trained, trainer.data.test.images)
    accuracy = 100 * (expected.argmax(1) == labels).double().mean().item()
    if origin.test_accuracy is not None and abs(accuracy - origin.test_accuracy) > _MOST_OFF:
        raise ExportRefused(
            f"the network scores {accuracy:.2f} % on the test split here, and {origin.test_accuracy:.2f} % was recorded: its "
            f"data are other ones. Put back the data set {trainer.config.data.name} that it was trained with."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    partial.mkdir()
    try:
        measured = _write(partial, trainer, trained.float(), weights, expected)
        write_atomically(partial / CARD, card(origin, measured).encode())
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(out.parent)
    return Exported(out, accuracy, measured)


def _write(folder: Path, trainer: Trainer, network: InferenceNetwork, weights: set[str], expected: Tensor) -> Measured:
    """Every file but the card, checked. ``weights``: the names of those that are quantised."""
    test = trainer.data.test
    state = network.state_dict()
    packed = {name: one for name in state if name in weights and (one := pack(state[name])) is not None}
    program = to_program(network, trainer.data.image_shape)
    write_weights(folder / WEIGHTS, state, packed, _described(trainer))
    write_onnx(program, packed, folder / ONNX)
    write_program(program, folder / PROGRAM)
    _keep_plugins(trainer.config, folder)

    ways: dict[str, Callable[[Tensor], Tensor]] = {
        WEIGHTS: load_exported(folder),
        ONNX: load_onnx(folder / ONNX),
        PROGRAM: load_program(folder / PROGRAM),
    }
    agreements = {}
    for name, run in ways.items():
        found = agreement(logits_of(run, test.images), expected, test.labels)
        if not found.holds:
            raise ExportRefused(
                f"{name} does not give the network's results on the test split: {found}. Nothing was kept."
            )
        agreements[name] = found
    sizes = {f"{_FLOAT}, float32": sum(each.nbytes for each in state.values())}
    sizes |= {name: size_of(folder / name) for name in ways}
    times = milliseconds({f"{_FLOAT}, PyTorch": _with_latent_weights(network, trainer), **ways}, test.images)
    return Measured(sizes, times, _machine(), agreements, packed, sorted(weights - set(packed)))


def _described(trainer: Trainer) -> dict[str, object]:
    """What the network is built from, by ``load_exported``."""
    whole = trainer.config.portable()
    parts = {name: whole[name] for name in ("model", "quantizer", "plugins")}
    return {"parts": parts, "image_shape": list(trainer.data.image_shape), "classes": trainer.data.classes}


def _keep_plugins(config: TrialConfig, folder: Path) -> None:
    for ref in config.plugins:
        (folder / FOLDER).mkdir(exist_ok=True)
        write_atomically(folder / FOLDER / ref.kept_as, text_of(ref).encode())


def _with_latent_weights(network: InferenceNetwork, trainer: Trainer) -> InferenceNetwork:
    """The same network with the float weights that the quantised ones come from."""
    other = copy.deepcopy(network)
    latent: Mapping[str, Tensor] = {f"network.{name}": value for name, value in trainer.model.state_dict().items()}
    other.load_state_dict({name: latent.get(name, value) for name, value in other.state_dict().items()})
    return other


def _machine() -> str:
    found = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            found = line.partition(":")[2].strip()
            break
    return f"{found}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
