"""The recorded quantisers and Mamba blocks, entry by entry."""

import json

import numpy as np
import pytest
import torch

from fsg.hypernetworks.slow_net import Mamba
from fsg.quantizers import DorefaQuantizer, ReferenceBwnQuantizer, straight_through

WEIGHTS = [
    "conv_random",
    "conv_special",
    "conv_large",
    "conv_zero_channel",
    "linear_random",
    "linear_special",
    "linear_tiny",
]


def unit_files(folder, kind):
    files = sorted(folder.glob(f"{kind}_unit*.npz"))
    if not files:
        pytest.skip(f"no {kind}_unit arrays in {folder}")
    return files


def quantizer(name, weight):
    conv = weight.startswith("conv")
    if name.startswith(("dorefa_k", "baseline_dorefa_k")):
        return DorefaQuantizer(int(name[-1]))
    scales = {
        "bwn": "none",
        "bwnf": "channel" if conv else "none",
        "baseline_bwn": "layer",
        "baseline_bwnf": "channel" if conv else "layer",
    }
    return ReferenceBwnQuantizer(scales[name])


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("precision", ["f32", "f64"])
def test_quantizers_equal_the_recorded_ones(weight, precision, golden_dir):
    dtype = {"f32": torch.float32, "f64": torch.float64}[precision]
    compared = 0
    for path in unit_files(golden_dir, "quantizer"):
        with np.load(path) as arrays:
            if f"input/{weight}/latent" not in arrays.files:
                pytest.skip(f"{path.name} has no {weight}")
            names = {k.split("/")[0] for k in arrays.files} - {"input", "config_json"}
            latent = torch.from_numpy(arrays[f"input/{weight}/latent"]).to(dtype).requires_grad_()
            upstream = torch.from_numpy(arrays[f"input/{weight}/upstream"]).to(dtype)
            for name in sorted(names):
                if f"{name}/{weight}/{precision}/quantized" not in arrays.files:
                    continue
                q = quantizer(name, weight)(latent)
                latent.grad = None
                (straight_through(latent, q) * upstream).sum().backward()
                ours = {
                    "pre_quantized": q.pre,
                    "quantized": q.value,
                    "ste_grad": latent.grad,
                    "calibration": q.calibration,
                }
                for part, value in ours.items():
                    key = f"{name}/{weight}/{precision}/{part}"
                    if key in arrays.files:
                        theirs = np.broadcast_to(arrays[key], value.shape)
                        tolerance = {"f32": 2e-6, "f64": 1e-14}[precision] * max(1.0, float(np.abs(theirs).max()))
                        deviation = float(np.abs(value.detach().numpy() - theirs).max())
                        assert deviation <= tolerance, f"{path.name} {key}: off by {deviation:.3g}"
                        compared += 1
    assert compared > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_mamba_blocks_and_every_gradient_equal_the_recorded_ones(dtype, golden_dir):
    compared = 0
    for path in unit_files(golden_dir, "mamba"):
        with np.load(path) as arrays:
            for name in sorted({k.split("/")[0] for k in arrays.files}):
                config = json.loads(str(arrays[f"{name}/config_json"]))
                net = Mamba(config["d_model"], config["d_inner"], config["d_state"], config["d_conv"]).to(dtype)
                net.load_state_dict(
                    {k: torch.from_numpy(arrays[f"{name}/param/{k}"]).to(dtype) for k in net.state_dict()}
                )
                for length in config["lengths"]:
                    at = f"{name}/L{length:02}"
                    x = torch.from_numpy(arrays[f"{at}/x"]).to(dtype).requires_grad_()
                    net.zero_grad()
                    y = net(x)
                    (y * torch.from_numpy(arrays[f"{at}/dy"]).to(dtype)).sum().backward()
                    ours = {"y": y, "dx": x.grad} | {f"dparam/{k}": p.grad for k, p in net.named_parameters()}
                    for part, value in ours.items():
                        theirs = arrays[f"{at}/{part}"]
                        tolerance = (1e-13 if dtype == torch.float64 else 5e-6) * max(1.0, float(np.abs(theirs).max()))
                        deviation = float(np.abs(value.detach().numpy() - theirs).max())
                        assert deviation <= tolerance, f"{path.name} {at} {part}: off by {deviation:.3g}"
                        compared += 1
    assert compared > 0
