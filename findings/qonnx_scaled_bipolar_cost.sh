#!/usr/bin/env bash
# qonnx counts a binary weight with a scale as 32 bits: a 1-bit network is reported 16 times as large as a 2-bit one.
#
# Date: 2026-11-28
# Packages: qonnx 1.0.0, onnx 1.23.2, numpy 2.4.6
# Guess: qonnx.util.inference_cost of a layer with BipolarQuant weights, scaled by their mean magnitude as in
#   XNOR-Net, reports one bit a weight, as it does for the same layer written with the node Quant at one bit.
# Seen: BipolarQuant has its own rule for the type of its output: BIPOLAR where the scale is exactly 1, else FLOAT32.
#   A scale of 0.0371 turns 1,024 weight bits into 32,768 and bit operations from 1,024 into 32,768; Quant at 2 bits
#   with the same scale has 2,048 and 4,096. The outputs of the two spellings are equal.
# Means: the node made for binary networks is the wrong one to count them by. Count bits from the quantizer's name, or
#   export with a scale of 1 and multiply behind the layer.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'qonnx==1.0.0' 'onnx==1.23.2' 'numpy==2.4.6'
cd "$work"
"$work/venv/bin/python" - 2>"$work/log" <<'PY' || { tail -n 5 "$work/log" >&2; exit 1; }
import sys
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.util.inference_cost import inference_cost

print(f"qonnx {version('qonnx')}, onnx {onnx.__version__}", flush=True)
DOMAIN = "qonnx.custom_op.general"


def layer(node, scale, bits=1):
    """A linear layer, 64 -> 16, of binary inputs and weights that ``node`` quantises."""
    weights = np.random.default_rng(0).normal(size=(64, 16))
    numbers = {"weights": weights, "scale": scale, "one": 1, "zero": 0, "bits": bits}
    if node == "BipolarQuant":
        quantise = helper.make_node(node, ["weights", "scale"], ["quantised"], domain=DOMAIN)
    else:
        options = {"signed": 1, "narrow": int(bits > 1), "rounding_mode": "ROUND"}
        inputs = ["weights", "scale", "zero", "bits"]
        quantise = helper.make_node(node, inputs, ["quantised"], domain=DOMAIN, **options)
    nodes = [quantise, helper.make_node("BipolarQuant", ["x", "one"], ["signs"], domain=DOMAIN),
             helper.make_node("MatMul", ["signs", "quantised"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 64), ("y", 16)))
    constants = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in numbers.items()]
    graph = helper.make_graph(nodes, "layer", [x], [y], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return ModelWrapper(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def cost(*what):
    total = inference_cost(layer(*what), discount_sparsity=False)["total_cost"]
    return int(total["total_mem_w_bits"]), int(total["total_bops"])


def output(*what):
    x = np.random.default_rng(1).normal(size=(1, 64)).astype(np.float32)
    return execute_onnx(layer(*what).transform(InferShapes()), {"x": x})["y"]


plain, scaled = cost("BipolarQuant", 1.0), cost("BipolarQuant", 0.0371)
as_quant, two_bits = cost("Quant", 0.0371, 1), cost("Quant", 0.0371, 2)
equal = np.array_equal(output("BipolarQuant", 0.0371), output("Quant", 0.0371, 1))
print(f"(weight bits, bit operations): BipolarQuant, scale 1 {plain}; scale 0.0371 {scaled}; "
      f"Quant at 1 bit {as_quant}, at 2 bits {two_bits}; outputs of the two spellings equal: {equal}")
if not (equal and plain == as_quant and scaled == (32 * plain[0], 32 * plain[1]) and 16 * two_bits[0] == scaled[0]):
    sys.exit("changed: qonnx no longer counts a scaled BipolarQuant as 32 bits.")
PY
