"""``fsg export`` with the real torch.export, ONNX and onnxruntime, of a study's trial."""

import re
import subprocess
import sys

import numpy as np
import pytest
from command_line import python_environment, run_main

import fsg
from fsg.record.folder import select_trial

for name in ("safetensors", "onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(name)

ALONE = """
import sys
import numpy, torch
import fsg
images = torch.from_numpy(numpy.load("images.npy"))
numpy.save("logits.npy", fsg.load_exported("out")(images).numpy())
print([name for name in ("ray", "mlflow", "optuna", "onnx", "onnxruntime") if name in sys.modules])
"""


def test_a_trial_is_exported_checked_described_and_runs_elsewhere(tmp_path, monkeypatch, finished):
    storage = finished.folder.path.parent
    said = run_main(monkeypatch, tmp_path, "export", "small#best", "--out", "out", "--storage", storage)
    assert (said.code, said.err) == (0, "")
    record = select_trial(finished.folder.state(), "best", finished.folder.spec().metric)
    accuracy = record.final["test_accuracy"]
    assert f"Trial {record.key} of {finished.folder.called}: {accuracy:.2f} % on the test split." in said.out
    for file in ("network.safetensors", "network.pt2"):
        assert f"  {file}: the same bits\n" in said.out
    assert re.search(
        r"  network\.onnx: (the same bits|logits within \de-0\d of the largest; another class for 0 of)", said.out
    )
    assert re.search(r"^network\.safetensors +\d+\.?\d* kB +0\.\d+$", said.out, re.MULTILINE)
    assert re.search(r"^network\.onnx( +[\d.e+-]+){2}$", said.out, re.MULTILINE)

    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"network.safetensors", "network.onnx", "network.pt2", "model_card.md"}
    card = (tmp_path / "out" / "model_card.md").read_text()
    for row in (
        "| study | small |", f"| arm | {record.arm} |", f"| trial | {record.key} |",
        "| seeds of this configuration | 0, 1; mean val_accuracy ", "| network | digits_cnn, quantizer dorefa |",
        "383 test images of 1x8x8, 10 classes; digest ", f"| test_accuracy | {accuracy:.6g} |", "onnxruntime ",
        "| network.features.0.weight | 16x1x3x3 | 1 | one |", "sign(0) is +1",
    ):  # fmt: skip
        assert row in card, row

    network = fsg.open_study("small", storage).load_network("best")
    from fsg.data import load_data

    images = load_data(fsg.load_trial(None).data).test.images
    np.save(tmp_path / "images.npy", images.numpy())
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, cwd=tmp_path, env=python_environment()
    )
    assert done.stdout == "[]\n", done.stderr
    assert np.array_equal(np.load(tmp_path / "logits.npy"), network(images).numpy())


def test_what_cannot_be_exported_is_one_message(tmp_path, monkeypatch, finished):
    storage = finished.folder.path.parent
    said = run_main(monkeypatch, tmp_path, "export", "smal#best", "--storage", storage)
    assert said.code == 2 and 'no study "smal". Did you mean "small"?' in said.err
    said = run_main(monkeypatch, tmp_path, "export", "--storage", storage)
    assert said.code == 2 and "export needs the name of a study" in said.err
    (tmp_path / "here").mkdir()
    said = run_main(monkeypatch, tmp_path, "export", "small", "--out", "here", "--storage", storage)
    assert said.code == 2 and "here: is there already" in said.err
