"""The script of everything that needs a GPU goes on where it stopped, records what failed, and refuses without a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():  # before Triton is imported
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="triton is not installed")

from benchmarks import gpu

ABOUT = {"date": "2026-11-28", "device": "none"}


def row(value, holds=None):
    return {"case": "x", "value": value, "unit": "x ste", "spread": 0.1, "holds": holds}


def test_what_was_measured_is_not_measured_again_and_what_failed_is(tmp_path, capsys):
    path, asked = tmp_path / "results" / "gpu.json", []

    def broken(part, seconds):
        asked.append(part)
        if part == "b":
            raise RuntimeError("exit code 1: out of memory")
        return [row(1.0)]

    assert gpu.run(["a", "b", "c"], path, broken, ABOUT) == 1
    record = json.loads(path.read_text())
    assert record["device"] == "none" and record["parts"]["a"]["rows"] == [row(1.0)]
    assert record["parts"]["b"]["error"] == "RuntimeError: exit code 1: out of memory"
    assert asked == ["a", "b", "c"] and "left: b" in capsys.readouterr().out

    def mended(part, seconds):
        asked.append(part)
        return [row(2.0, holds=True)]

    assert gpu.run(["a", "b", "c"], path, mended, ABOUT) == 0
    assert asked == ["a", "b", "c", "b"]
    assert json.loads(path.read_text())["parts"]["b"]["rows"] == [row(2.0, holds=True)]


def test_a_call_ends_with_its_budget_and_leaves_the_rest(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "BUDGET", 0.0)
    assert gpu.run(["a"], tmp_path / "gpu.json", lambda part, seconds: pytest.fail("measured"), ABOUT) == 1
    assert "left: a" in capsys.readouterr().out


def test_a_missed_target_is_exit_code_1(tmp_path, capsys):
    assert gpu.run(["a"], tmp_path / "gpu.json", lambda part, seconds: [row(3.0, holds=False)], ABOUT) == 1
    assert "MISSED" in capsys.readouterr().out


def test_pytests_last_line_becomes_rows():
    said = "FAILED tests/a.py::test_b - AssertionError\n1 failed, 6 passed, 2 skipped, 900 deselected in 3.21s\n"
    rows = {found["case"]: found["value"] for found in gpu.counted(said)}
    assert rows == {"failed": 1, "passed": 6, "skipped": 2, "failed: tests/a.py::test_b": 1}
    assert gpu.counted("7 passed in 1s")[-1]["holds"]
    with pytest.raises(RuntimeError, match="ran no test"):
        gpu.counted("7 skipped, 900 deselected in 1s")


def test_steps_and_packs_are_measured_by_the_names_of_the_table(monkeypatch):
    """On the CPU, with a small network in the place of ResNet-20."""
    from fsg.bench import gpu as device
    from fsg.config import parse_trial
    from fsg.train import Trainer

    def small(gradient, seed, cuda_graph=False, fused=False):
        data = {"name": "synthetic", "image_size": 4, "batch_size": 8}
        config = parse_trial({"gradient": gradient, "seed": seed, "data": data, "device": "cpu"})
        return Trainer(config.model_copy(update={"fused": fused}))

    monkeypatch.setattr(gpu, "_trainer", small)
    monkeypatch.setattr(gpu, "BATCH", 8)
    monkeypatch.setattr(device, "waiting", lambda work: work)
    rows = gpu.PARTS["step of ema"]()
    assert [found["case"] for found in rows] == ["CUDA graphs", "no graphs"]
    assert rows[0]["ms"].keys() == {"ste", "ema"} and rows[0]["value"] > 0
    rows = gpu.PARTS["pack of 4"]()
    assert [found["case"] for found in rows] == ["ste", "fsg"]
    assert rows[1]["ms"].keys() == {"apart", "fused"} and rows[1]["value"] > 0
    assert json.loads(json.dumps(rows)) == rows


@pytest.mark.skipif(torch.cuda.is_available(), reason="here there is a GPU")
def test_without_a_gpu_it_says_so_and_exits_with_2():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], capture_output=True, text=True, cwd=Path(gpu.__file__).parents[1]
    )
    assert done.returncode == 2 and "no CUDA device" in done.stderr
