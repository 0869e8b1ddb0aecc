"""``network.onnx``: the program as ONNX, its weights kept as bits and unpacked by operators of the standard.

onnxruntime 1.32 has no operator for weights of one bit: ``MatMulNBits`` takes 2, 4 or 8 bits for linear layers, convolutions have
none below 8. So each packed weight comes out of ``Unpack``, a function that the file brings along, of BitShift, BitwiseAnd and
GatherElements (the layout is that of fsg/export/packing.py). onnxruntime calls it once, when it loads the file: the file is
small, what runs is float32.

BatchNorm is left as the network has it; torch.onnx would fold it into the weights, which then had other values. sign(x) is
Where(x >= 0, 1, -1), so sign(0) = +1 as in training, where ONNX's own Sign has 0. Proof: ``tests/export/test_onnx_file.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from fsg.errors import ExportRefused
from fsg.export.packages import need
from fsg.export.packing import Packed
from fsg.files import write_atomically

ONNX = "network.onnx"
INPUT, OUTPUT = "images", "logits"
_DOMAIN = "fsg"
# A function of the file itself: any runtime of ONNX knows what it calls. n weights a channel, k bits, G tables.
_UNPACK = """
<domain: "fsg", opset_import: ["" : %d]>
Unpack (bits, values, shape) => (weight) {
    shifts = Constant <value = uint8[8] {0, 1, 2, 3, 4, 5, 6, 7}> ()
    powers = Constant <value = int64[8, 1, 1] {1, 2, 4, 8, 16, 32, 64, 128}> ()
    one = Constant <value = uint8[1] {1}> ()
    zero = Constant <value = int64[1] {0}> ()
    first = Constant <value = int64[1] {1}> ()
    second = Constant <value = int64[1] {2}> ()
    end = Constant <value = int64[1] {-1}> ()
    rest = Constant <value = int64[1] {9223372036854775807}> ()
    flat = Constant <value = int64[3] {0, 0, -1}> ()
    bytes = Unsqueeze (bits, end)
    shifted = BitShift <direction = "RIGHT"> (bytes, shifts)
    each = BitwiseAnd (shifted, one)
    filled = Reshape (each, flat)
    sizes = Slice (shape, first, rest, zero)
    n = ReduceProd (sizes)
    planes = Slice (filled, zero, n, second)
    digits = Cast <to = 7> (planes)
    k = Shape <start = 0, end = 1> (bits)
    places = Slice (powers, zero, k, zero)
    weighed = Mul (digits, places)
    codes = ReduceSum <keepdims = 0> (weighed, zero)
    channels = Shape <start = 1, end = 2> (bits)
    wide = Concat <axis = 0> (channels, first)
    tables = Expand (values, wide)
    found = GatherElements <axis = 1> (tables, codes)
    weight = Reshape (found, shape)
}
"""


def write_onnx(program: ExportedProgram, packed: Mapping[str, Packed], path: Path) -> None:
    """Write it. ``packed``: weights by their name in the program. ExportRefused where ONNX has no such operator."""
    need("onnx")
    need("onnxscript")
    try:
        with _quiet():
            made: Any = torch.onnx.export(
                program, (), input_names=[INPUT], output_names=[OUTPUT], optimize=False, verbose=False, dynamo=True
            )
        model = made.model_proto
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        raise ExportRefused(f"torch.onnx cannot write this network ({type(error).__name__}: {said}).") from error
    _strip(model.graph)
    _pack(model, packed)
    write_atomically(path, model.SerializeToString())


def load_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    """The network in onnxruntime on the processor, as a function of images, with as many threads as torch has here."""
    runtime = need("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors: its warnings are about graphs that it changes itself
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: images.numpy()})
        return torch.from_numpy(logits)

    return run


def _pack(model: Any, packed: Mapping[str, Packed]) -> None:
    """Put bits, and a call of ``Unpack``, in the place of each packed weight."""
    onnx, graph = need("onnx"), model.graph
    kept = [each for each in graph.initializer if each.name not in packed]
    if missing := set(packed) - {each.name for each in graph.initializer}:
        raise ExportRefused(
            f"the ONNX graph has no weight {', '.join(sorted(missing))}; this torch names them otherwise."
        )
    calls = []
    for name, one in packed.items():
        parts = {"bits": one.bits, "values": one.values, "shape": torch.tensor(one.shape)}
        kept += [onnx.numpy_helper.from_array(part.numpy(), f"{name}.{what}") for what, part in parts.items()]
        calls.append(onnx.helper.make_node("Unpack", [f"{name}.{what}" for what in parts], [name], domain=_DOMAIN))
    rest = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend([*calls, *rest])
    if packed:
        (standard,) = (each.version for each in model.opset_import if not each.domain)
        model.functions.append(onnx.parser.parse_function(_UNPACK % standard))
        model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))


def _strip(graph: Any) -> None:
    """Take out what torch tells of its work: half of a small file, and paths of this machine in it."""
    del graph.value_info[:]
    for each in (*graph.node, *graph.input, *graph.output):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.onnx and onnxscript tell of operators that nothing here uses."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
