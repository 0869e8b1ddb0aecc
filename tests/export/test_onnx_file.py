"""The ONNX file in onnxruntime: weights of any quantiser, zeros, and a machine that has onnxruntime and numpy alone."""

import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch
from torch import nn

from fsg.config import parse_trial
from fsg.export.onnx_file import load_onnx, write_onnx
from fsg.export.packing import pack
from fsg.export.program import load_program, to_program, write_program
from fsg.layers import QuantLinear, SignActivation, make_activation, quantized_layers
from fsg.models import build_model
from fsg.quantizers import make_quantizer
from fsg.train.inference import InferenceNetwork

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CURVED = {"name": "sign", "surrogate": "ede"}
QUANTIZERS = [
    "bwn", "bwn_channel", "bwn_reference", "xnor", "recu", "siman", "adabin",
    *({"name": "dorefa", "bits": bits} for bits in (1, 2, 3, 4, 8)),
]  # fmt: skip


def settled(network):
    """With its quantised weights put in for good, as ``inference_network`` does it, and BatchNorm that does something."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, -1, 1)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    packed = {}
    with torch.no_grad():
        for name, layer in quantized_layers(network).items():
            layer.weight.copy_(layer.quantizer(layer.weight).value)
            layer.quantizer = None
            if (one := pack(layer.weight)) is not None:
                packed[f"{name}.weight"] = one
    return network.requires_grad_(False).eval(), packed


class EveryQuantizer(nn.Module):
    """A linear layer of each, side by side; of 75 weights a channel, so that bytes are not filled."""

    def __init__(self):
        super().__init__()
        made = (make_quantizer(parse_trial({"quantizer": one, "gradient": "ste"}).quantizer) for one in QUANTIZERS)
        self.layers = nn.ModuleList(QuantLinear(75, 40, quantizer=one) for one in made)
        for layer in self.layers:
            nn.init.zeros_(layer.weight[:1, :3])

    def forward(self, images):
        x = images.flatten(1).float()
        return torch.stack([layer(x) for layer in self.layers])


def test_the_weights_of_every_quantizer_are_unpacked_to_the_same_logits(tmp_path):
    torch.manual_seed(0)
    network, packed = settled(EveryQuantizer())
    assert len(packed) == len(QUANTIZERS)
    write_onnx(to_program(network, (3, 5, 5)), packed, tmp_path / "n")
    images = torch.randint(0, 256, (7, 3, 5, 5), dtype=torch.uint8)
    found, expected = load_onnx(tmp_path / "n")(images), network(images)
    largest = expected.abs().amax(dim=(1, 2), keepdim=True)
    assert ((found - expected).abs() <= 1e-6 * largest).all()
    stored = {one.name: one for one in onnx.load(tmp_path / "n").graph.initializer}
    for name, one in packed.items():
        assert stored[f"{name}.bits"].data_type == onnx.TensorProto.UINT8 and name not in stored
        assert list(stored[f"{name}.bits"].dims) == [one.bits_per_weight, 40, 10]
    assert len((tmp_path / "n").read_bytes()) < sum(75 * 40 * 4 for _ in packed) / 4


class Zeros(nn.Module):
    """Signs of x - 7, which is a zero where x is 7, and of its negative, which is -0.0 there."""

    def __init__(self):
        super().__init__()
        ede = parse_trial({"model": {"activations": CURVED}}).model.activations
        self.plain, self.curved = SignActivation(), make_activation(ede, nn.ReLU)

    def forward(self, images):
        x = images.flatten(1).float() - 7
        return torch.cat([self.plain(x), self.plain(-x), self.curved(x), self.curved(-x)], dim=1)


def test_the_sign_of_zero_is_one_in_every_format(tmp_path):
    network = Zeros().requires_grad_(False).eval()
    program = to_program(network, (1, 1, 3))
    write_onnx(program, {}, tmp_path / "n.onnx")
    write_program(program, tmp_path / "n.pt2")
    images = torch.tensor([6, 7, 8], dtype=torch.uint8).view(1, 1, 1, 3)
    up, down = [-1, 1, 1], [1, 1, -1]
    for run in (network, load_onnx(tmp_path / "n.onnx"), load_program(tmp_path / "n.pt2")):
        assert run(images)[0].tolist() == [*up, *down, *up, *down]
    assert "Sign" not in {node.op_type for node in onnx.load(tmp_path / "n.onnx").graph.node}


def exported(model, folder, quantizer="bwn_channel", shape=(3, 32, 32)):
    torch.manual_seed(0)
    config = parse_trial({"model": model, "quantizer": quantizer, "gradient": "ste"})
    channels = shape[0]
    made = InferenceNetwork(build_model(config, shape, 10), torch.full((channels,), 0.5), torch.full((channels,), 0.25))
    network, packed = settled(made)
    program = to_program(network, shape)
    write_onnx(program, packed, folder / "n")
    return network, packed, program


def test_batchnorm_is_not_folded_and_the_file_has_no_path_of_this_machine(tmp_path):
    network, packed, program = exported("digits_cnn", tmp_path, shape=(1, 8, 8))
    model = onnx.load(tmp_path / "n")
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("BatchNormalization") == 3 and kinds.count("Unpack") == len(packed) == 4
    write_program(program, tmp_path / "n.pt2")
    for file in ("n", "n.pt2"):
        assert str(Path(__file__).parents[2]).encode() not in (tmp_path / file).read_bytes()
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(load_program(tmp_path / "n.pt2")(images), network(images))


@pytest.mark.long
@pytest.mark.parametrize("activations", ["float", "sign", CURVED], ids=str)
@pytest.mark.parametrize("name", ["digits_cnn", "resnet20", "resnet18", "vgg_small"])
def test_every_network_of_ours_gives_its_logits_in_onnxruntime(tmp_path, name, activations):
    roles = ["first", "last"] + (["shortcuts"] if name.startswith("resnet") else [])
    model = {"name": name, "activations": activations, "float_layers": [] if activations == "float" else roles}
    network, packed, program = exported(model, tmp_path)
    assert len(packed) == {"digits_cnn": 4, "resnet20": 22, "resnet18": 21, "vgg_small": 7}[name] - (
        {"resnet20": 4, "resnet18": 5}.get(name, 2) if model["float_layers"] else 0
    )
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    expected = network(images)
    assert torch.equal(program.module()(images), expected)
    found = load_onnx(tmp_path / "n")(images)
    if activations == "float":
        assert ((found - expected).abs() <= 1e-5 * expected.abs().max()).all()
    else:  # a sign of a sum that is zero but for rounding may be another
        assert ((found - expected).abs() <= 0.05 * expected.abs().max()).all()


def alone(folder, *packages):
    """A folder in which Python finds these packages and no other: what a virtual environment of them alone has."""
    folder.mkdir()
    for package in packages:
        for file in distribution(package).files:
            top = file.parts[0]
            place = Path(distribution(package).locate_file(top))
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(place)
    return folder


def test_the_documented_example_runs_where_there_are_only_onnxruntime_and_numpy(tmp_path):
    network, _, _ = exported("digits_cnn", tmp_path, shape=(1, 8, 8))
    (tmp_path / "n").rename(tmp_path / "network.onnx")
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    (example,) = re.findall(r"```python\n(import numpy.*?)```", page, re.DOTALL)
    probe = "\nimport importlib.util as u\nprint([u.find_spec(n) for n in ('torch', 'fsg', 'onnx')], logits.tolist())"
    done = subprocess.run(
        [sys.executable, "-S", "-c", example + probe], capture_output=True, text=True, cwd=tmp_path,
        env={"PYTHONPATH": str(alone(tmp_path / "alone", "numpy", "onnxruntime"))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = network(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    said = done.stdout.strip()
    assert said.startswith("[None, None, None] ")
    torch.testing.assert_close(torch.tensor(eval(said.removeprefix("[None, None, None] "))), expected)
