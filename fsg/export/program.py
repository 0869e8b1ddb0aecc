"""``network.pt2``: the network as a program of torch.export, which torch runs without fsg. Its weights are float32.

It is not packed: torch has no operator on bits, so a packed program would unpack all weights at each call.
Proof: ``tests/export/test_export_folder.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fsg.errors import ExportRefused

PROGRAM = "network.pt2"


def to_program(network: nn.Module, image_shape: tuple[int, int, int]) -> ExportedProgram:
    """The program for any number of uint8 images of a shape (C, H, W). ExportRefused, with torch's reason."""
    images = torch.zeros(2, *image_shape, dtype=torch.uint8)
    try:
        program = torch.export.export(network, (images,), dynamic_shapes=({0: Dim("images", min=1)},))
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        raise ExportRefused(
            f"torch.export cannot follow this network ({type(error).__name__}: {said}). A network of your own must not "
            "branch on the values of its tensors, nor on how many images there are."
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def write_program(program: ExportedProgram, path: Path) -> None:
    """Save it."""
    torch.export.save(program, path)


def load_program(path: Path) -> Callable[[Tensor], Tensor]:
    """What was saved, as a function of images."""
    loaded: Callable[[Tensor], Tensor] = torch.export.load(path).module()
    return loaded
