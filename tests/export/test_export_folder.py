"""A folder of exported files is whole and checked, or not there. torch.export and ONNX are stood in for here.

That the real ones give the same is in tests/export/test_onnx_file.py and tests/cli/test_export_command.py.
"""

from pathlib import Path

import pytest
import torch

from fsg.config import load_trial, parse_trial
from fsg.errors import BackendUnavailable, ConfigError, ExportRefused, StudyError
from fsg.export import folder as exporting
from fsg.export.card import Origin
from fsg.export.folder import export_network
from fsg.export.loading import load_exported
from fsg.export.program import to_program
from fsg.train.inference import inference_network
from fsg.train.loop import Trainer

pytest.importorskip("safetensors")
EXAMPLES = Path(__file__).parents[2] / "examples"
PROTOCOL = {
    "name": "digits_cnn",
    "activations": {"name": "sign", "surrogate": "ede"},
    "float_layers": ["first", "last"],
}
BASE = {"gradient": "ste", "epochs": 1, "data": {"name": "digits", "batch_size": 256}}
ORIGIN = Origin("digits, ste", {"study": "small|one"}, {"test_accuracy": 50.0})


@pytest.fixture
def quick(monkeypatch):
    """The two other files hold a line, and run as ``network.safetensors`` does."""
    monkeypatch.setattr(exporting, "to_program", lambda network, shape: None)
    monkeypatch.setattr(exporting, "write_onnx", lambda program, packed, path: path.write_text("onnx"))
    monkeypatch.setattr(exporting, "write_program", lambda program, path: path.write_text("pt2"))
    for name in ("load_onnx", "load_program"):
        monkeypatch.setattr(exporting, name, lambda path: load_exported(path.parent))


def trained(over, plugins=()):
    config = load_trial(None, (), plugins).model_dump() if plugins else {}
    trainer = Trainer(parse_trial(BASE | over | ({"plugins": config["plugins"]} if plugins else {})))
    trainer.run_epoch()
    return trainer


@pytest.mark.parametrize(
    "over",
    [
        {"quantizer": "bwn_channel"},
        {"quantizer": {"name": "dorefa", "bits": 2, "layers": {"features.3": 1, "classifier": 4}}},
        {"quantizer": "adabin", "model": PROTOCOL},
        {"quantizer": "none"},
        {"quantizer": "siman", "dtype": "float64"},
        {"quantizer": "recu", "evaluate": {"batchnorm": "running"}},
    ],
    ids=["bwn", "bits by layer", "signs and float layers", "float weights", "float64", "running statistics"],
)
def test_what_is_loaded_gives_the_bits_of_the_network_that_was_exported(tmp_path, quick, over):
    trainer = trained(over)
    done = export_network(trainer, ORIGIN, tmp_path / "out")
    loaded, images = load_exported(tmp_path / "out"), trainer.data.test.images
    assert torch.equal(loaded(images), inference_network(trainer).float()(images))
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    bits = {name.split(".", 1)[1]: one.bits_per_weight for name, one in done.measured.packed.items()}
    layers = {"features.0.weight", "features.3.weight", "features.6.weight", "classifier.weight"}
    if "layers" in str(over.get("quantizer")):
        assert bits == dict.fromkeys(layers, 2) | {"features.3.weight": 1, "classifier.weight": 4}
    elif "model" in over:
        assert bits == {"features.3.weight": 1, "features.6.weight": 1}
    else:
        assert bits == ({} if over["quantizer"] == "none" else dict.fromkeys(layers, 1))
    whole, packed = (done.measured.sizes[name] for name in ("float network, float32", "network.safetensors"))
    assert (packed < whole) == (over["quantizer"] != "none")


def test_parts_of_a_guest_come_along_with_their_plug_ins(tmp_path, quick):
    trainer = trained(
        {"model": {"name": "two_convolutions", "width": 8}, "quantizer": "ternary"},
        [EXAMPLES / "own_network.py", EXAMPLES / "own_quantizer.py"],
    )
    done = export_network(trainer, ORIGIN, tmp_path / "out")
    assert {one.bits_per_weight for one in done.measured.packed.values()} == {2}
    images = trainer.data.test.images
    assert torch.equal(load_exported(tmp_path / "out")(images), inference_network(trainer)(images))
    kept = sorted((tmp_path / "out" / "plugins").glob("*.py"))
    assert [file.name.split(".")[0] for file in kept] == ["own_network", "own_quantizer"]


def test_a_network_that_branches_on_its_values_is_refused_with_the_reason():
    class Branching(torch.nn.Module):
        def forward(self, images):
            return images.float() if images.sum() > 0 else -images.float()

    with pytest.raises(ExportRefused, match=r"torch\.export cannot follow this network .* must not branch"):
        to_program(Branching(), (1, 2, 2))


def test_a_file_that_gives_other_results_is_refused_and_nothing_is_left(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(exporting, "load_onnx", lambda path: lambda images: -load_exported(path.parent)(images))
    with pytest.raises(ExportRefused, match=r"network\.onnx does not give the network's results on the test split"):
        export_network(trained({}), ORIGIN, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_does_not_score_what_was_recorded_is_refused(tmp_path, quick):
    origin = Origin("digits", {}, {}, test_accuracy=3.0)
    with pytest.raises(ExportRefused, match=r"3\.00 % was recorded: its data are other ones"):
        export_network(trained({}), origin, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path, quick):
    (tmp_path / "out").mkdir()
    with pytest.raises(StudyError, match="is there already"):
        export_network(trained({}), ORIGIN, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_package_that_is_missing_is_named_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(
        BackendUnavailable, match=r"the package onnxruntime is not installed.*pip install 'fsg\[export\]'"
    ):
        export_network(trained({}), ORIGIN, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_network_or_without_its_plug_in_is_refused(tmp_path, quick):
    with pytest.raises(StudyError, match="no exported network"):
        load_exported(tmp_path)
    plugin = tmp_path / "one_net.py"
    plugin.write_text((EXAMPLES / "own_network.py").read_text().replace("two_convolutions", "one_net"))
    export_network(trained({"model": "one_net"}, [plugin]), ORIGIN, tmp_path / "out")
    (kept,) = (tmp_path / "out" / "plugins").iterdir()
    kept.write_text("changed")
    from fsg import plugins

    ref = plugins._current["one_net.py"]
    plugins.set_aside(ref)
    del plugins._loaded[ref]  # as in another process
    with pytest.raises(ConfigError, match=r"copy of its plug-in was changed"):
        load_exported(tmp_path / "out")
