"""What nodes are asked and how their answers are judged. Real nodes are in ``tests/clusters``."""

import pytest
import small_disks

from fsg.catalogue.data import DataConfig
from fsg.config import TrialConfig
from fsg.errors import BackendUnavailable
from fsg.execution.software import refuse_other_software
from fsg.ray_engine import nodes
from fsg.ray_engine.nodes import Ask, Found, differing, inspect, judge, software, storage_problems

SAME = {"python": "3.12", "torch": "2.13.0", "fsg": "0.1.0", "fsg source": "abc"}


def test_nodes_like_the_driver_are_fit():
    assert judge(SAME, [Found("a", SAME), Found("b", dict(reversed(SAME.items())))]) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"torch": "2.11.0"}, "a has torch 2.11.0 instead of 2.13.0."),
        ({"fsg source": "def", "python": "3.11"}, "a has python 3.11 instead of 3.12, fsg source def instead of abc."),
    ],
)
def test_another_version_is_named_with_the_drivers(change, said):
    (sentence,) = judge(SAME, [Found("a", SAME | change), Found("b", SAME)])
    assert sentence.startswith(said)
    assert "Every node needs what the driver has" in sentence


def test_a_package_that_is_missing_is_a_difference():
    without = {name: value for name, value in SAME.items() if name != "torch"}
    assert differing(SAME, without) == "torch (not installed) instead of 2.13.0"
    assert differing(without, SAME) == "torch 2.13.0 instead of (not installed)"


def test_builds_of_one_torch_release_are_the_same_software():
    assert "+" not in software()["torch"]


def test_a_process_with_other_software_refuses_the_trial():
    refuse_other_software(software())
    with pytest.raises(BackendUnavailable, match=r"has torch [\d.]+ instead of 1\.0"):
        refuse_other_software(software() | {"torch": "1.0"})


def test_gpus_that_ray_counts_and_torch_cannot_use_are_a_problem_of_the_node(monkeypatch):
    """As a driver older than torch's CUDA makes them: Ray asks the driver, torch CUDA."""
    monkeypatch.setattr(nodes, "gpu_models", lambda: [])
    (problem,) = inspect(Ask(gpus=2), "a").problems
    assert problem.startswith("Ray counts 2 GPUs, and ") and (
        "nvidia-smi" in problem or "Install one with CUDA" in problem
    )
    assert inspect(Ask(), "a").problems == ()
    monkeypatch.setattr(nodes, "gpu_models", lambda: ["NVIDIA A10G"])
    assert inspect(Ask(gpus=2), "a").problems == ()


def test_nodes_with_different_images_are_refused_and_the_driver_counts():
    one, other = Found("a", SAME, data={"cifar10 in /d": "11"}), Found("b", SAME, data={"cifar10 in /d": "22"})
    assert judge(SAME, [one, one]) == []
    (sentence,) = judge(SAME, [one, other])
    assert sentence.startswith("cifar10 in /d: the nodes have different images (11 on a; 22 on b).")
    (sentence,) = judge(SAME, [one], {"cifar10 in /d": "22"})
    assert "22 on the driver; 11 on a" in sentence


def test_a_node_without_the_data_says_how_to_get_it(tmp_path):
    found = inspect(Ask(data=(TrialConfig(data=DataConfig(name="cifar10", root=str(tmp_path))),)), "a")
    assert found.data == {}
    (sentence,) = judge(software(), [found])
    assert sentence.startswith("a: cifar10: looked for") and "data.download=true" in sentence


def test_data_that_is_there_has_a_digest_of_its_images(tmp_path):
    from PIL import Image

    def digest(grey):
        for number in range(12):
            folder = tmp_path / str(grey) / f"class{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), grey + number).save(folder / f"{number}.png")
        config = DataConfig(name="image_folder", root=str(tmp_path / str(grey)), image_size=4, batch_size=2)
        (value,) = inspect(Ask(data=(TrialConfig(data=config),)), "a").data.values()
        return value

    first = digest(10)
    assert first == digest(10)
    assert first != digest(50)


def test_storage_is_tried_and_left_as_it_was(tmp_path):
    (tmp_path / "probe").touch()
    assert storage_problems(tmp_path, "probe") == []
    assert [path.name for path in tmp_path.iterdir()] == ["probe"]


def test_storage_that_is_missing_or_another_is_told_apart(tmp_path):
    assert "is not there. Mount the storage" in storage_problems(tmp_path / "none")[0]
    assert "is another folder than the driver's" in storage_problems(tmp_path, "probe")[0]


@pytest.fixture
def small_disk(tmp_path):
    with small_disks.small_disk(tmp_path, 2**16):
        yield tmp_path


def test_a_full_storage_is_said_and_holds_no_leftovers(small_disk):
    (problem,) = storage_problems(small_disk)
    assert (
        problem
        == f"{small_disk} cannot be written (No space left on device). Make space, or give this user the right to write."
    )
    assert list(small_disk.iterdir()) == []


def test_storage_that_is_nearly_full_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(nodes, "FREE_BYTES", 2**60)
    assert "a study needs about" in storage_problems(tmp_path)[0]


@pytest.mark.parametrize(("clock", "off"), [(11.0, 0.0), (10.0, 0.0), (4.0, -6.0), (21.0, 9.0)])
def test_a_clock_is_off_by_what_cannot_be_the_time_it_took_to_ask(clock, off):
    assert nodes.skew(10.0, clock, 12.0) == off
