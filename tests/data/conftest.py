import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

PER_BATCH = 40  # images in each file of the fake CIFAR-10; 5 training batches and 1 test batch


def _write(path: Path, content: dict) -> str:
    path.write_bytes(pickle.dumps(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


def _batch(key: str, n: int, classes: int, rng: np.random.Generator) -> dict:
    pixels = rng.integers(0, 256, (n, 3 * 32 * 32), dtype=np.uint8)
    return {"data": pixels, key: [i % classes for i in range(n)]}


@pytest.fixture
def fake_cifar10(tmp_path, monkeypatch):
    """A folder in CIFAR-10's own format with random pixels; torchvision is told its checksums. Returns the root."""
    from torchvision.datasets import CIFAR10

    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / CIFAR10.base_folder
    folder.mkdir(parents=True)
    names = [f"data_batch_{i}" for i in range(1, 6)]
    train = [[name, _write(folder / name, _batch("labels", PER_BATCH, 10, rng))] for name in names]
    test = [["test_batch", _write(folder / "test_batch", _batch("labels", PER_BATCH, 10, rng))]]
    meta = _write(folder / "batches.meta", {"label_names": [f"class{i}" for i in range(10)]})
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", test)
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta})
    return tmp_path / "data"


@pytest.fixture
def fake_cifar100(tmp_path, monkeypatch):
    """As ``fake_cifar10``, 5 training images and 1 test image of each of the 100 fine classes."""
    from torchvision.datasets import CIFAR100

    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / CIFAR100.base_folder
    folder.mkdir(parents=True)
    train = _write(folder / "train", _batch("fine_labels", 500, 100, rng))
    test = _write(folder / "test", _batch("fine_labels", 100, 100, rng))
    meta = _write(folder / "meta", {"fine_label_names": [f"class{i}" for i in range(100)]})
    monkeypatch.setattr(CIFAR100, "train_list", [["train", train]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", test]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": meta})
    return tmp_path / "data"
