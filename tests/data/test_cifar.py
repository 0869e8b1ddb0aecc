import hashlib
import pickle
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from fsg.catalogue.data import DataConfig
from fsg.data import load_data, stand_in, to_download
from fsg.errors import BackendUnavailable, DataError
from fsg.parts import part_of

FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(request, *_, **__):
        raise OSError(f"the test asked for {request.full_url}")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def config(root, name="cifar10", **options) -> DataConfig:
    return DataConfig(name=name, root=str(root), batch_size=8, **options)


def pack(root, monkeypatch):
    """The unpacked folder becomes the archive, whose checksum torchvision is told."""
    from torchvision.datasets import CIFAR10

    with tarfile.open(root / ARCHIVE, "w:gz") as archive:
        archive.add(root / FOLDER, FOLDER)
    shutil.rmtree(root / FOLDER)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5((root / ARCHIVE).read_bytes()).hexdigest())


def test_cifar10_keeps_the_official_test_set_and_its_pixels(fake_cifar10):
    splits = load_data(config(fake_cifar10))
    entry = pickle.loads((fake_cifar10 / FOLDER / "test_batch").read_bytes())
    assert np.array_equal(splits.test.images.numpy(), entry["data"].reshape(-1, 3, 32, 32))
    assert splits.test.labels.tolist() == entry["labels"]
    assert splits.image_shape == (3, 32, 32) and splits.classes == 10


def test_cifar10_validation_is_held_out_of_training_by_class(fake_cifar10):
    splits = load_data(config(fake_cifar10, validation_share=0.2))
    assert torch.bincount(splits.train.labels).tolist() == [16] * 10
    assert torch.bincount(splits.validation.labels).tolist() == [4] * 10
    seen = {bytes(i) for i in splits.train.images.flatten(1).numpy()}
    assert not seen & {bytes(i) for i in splits.validation.images.flatten(1).numpy()}


def test_cifar_is_normalised_as_in_the_reference_experiment(fake_cifar10, fake_cifar100):
    ten, hundred = load_data(config(fake_cifar10)), load_data(config(fake_cifar100, "cifar100"))
    assert (ten.mean, ten.std) == ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    assert (hundred.mean, hundred.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_cifar100_has_its_hundred_fine_classes(fake_cifar100):
    splits = load_data(config(fake_cifar100, "cifar100"))
    assert splits.classes == 100
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (400, 100, 100)


def test_missing_folder_says_what_where_and_how_to_get_it_and_writes_nothing(tmp_path):
    root = tmp_path / "nowhere"
    with pytest.raises(DataError) as caught:
        load_data(config(root))
    message = str(caught.value)
    for part in ("data_batch_1", str(root / FOLDER), "--set data.download=true", ARCHIVE, f"into {root} ", "data.root"):
        assert part in message
    assert not root.exists()


def test_missing_and_damaged_files_are_named(fake_cifar10):
    (fake_cifar10 / FOLDER / "data_batch_2").unlink()
    (fake_cifar10 / FOLDER / "batches.meta").write_bytes(b"no longer")
    with pytest.raises(
        DataError, match=r"data_batch_2 missing and batches\.meta damaged\. Get it with `--set data\.down"
    ):
        load_data(config(fake_cifar10))


def test_damaged_archive_is_named_with_its_checksum(tmp_path):
    (tmp_path / ARCHIVE).write_bytes(b"half an arch")
    found = hashlib.md5(b"half an arch").hexdigest()
    with pytest.raises(DataError, match=rf"{ARCHIVE} is damaged \(md5 {found}\): delete it"):
        load_data(config(tmp_path))


def test_intact_archive_in_the_folder_is_unpacked_without_a_download(fake_cifar10, monkeypatch):
    expected = load_data(config(fake_cifar10)).train.images
    pack(fake_cifar10, monkeypatch)
    assert torch.equal(load_data(config(fake_cifar10)).train.images, expected)


def test_trials_that_start_together_unpack_once(fake_cifar10, monkeypatch):
    from torchvision.datasets import utils

    pack(fake_cifar10, monkeypatch)
    unpacked, original = [], utils.extract_archive

    def counted(*args, **options):
        unpacked.append(args)
        return original(*args, **options)

    monkeypatch.setattr(utils, "extract_archive", counted)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load_data, [config(fake_cifar10)] * 4))
    assert len(unpacked) == 1


def test_failed_download_says_why_and_what_else_would_do(tmp_path):
    with pytest.raises(DataError, match=rf"could not be had .*the test asked for .*put the archive {ARCHIVE}"):
        load_data(config(tmp_path / "new", download=True))


def test_whole_folder_is_not_downloaded_again(fake_cifar10):
    assert len(load_data(config(fake_cifar10, download=True)).test) == 40


def test_root_that_is_a_file_is_refused_without_a_traceback(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="found none of them"):
        load_data(config(tmp_path / "file"))
    with pytest.raises(DataError, match="could not be had or unpacked"):
        load_data(config(tmp_path / "file", download=True))


def test_default_root_is_the_folder_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"in {tmp_path}/data/{FOLDER}"):
        load_data(DataConfig(name="cifar10"))


def test_torchvision_of_another_build_is_explained(tmp_path, monkeypatch):
    import builtins

    real = builtins.__import__

    def broken(name, *args, **kwargs):
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(BackendUnavailable, match=r"nms does not exist.*belongs to the installed torch"):
        load_data(config(tmp_path))


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_steps_are_timed_by_images_of_its_shape_and_number_without_a_download(name, classes, tmp_path):
    options = config(tmp_path / "nowhere", name, download=True, validation_share=0.1)
    splits = stand_in(options)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (45_000, 5_000, 10_000)
    assert splits.image_shape == (3, 32, 32) and splits.train.images.dtype == torch.uint8
    assert splits.classes == classes == len(splits.train.labels.unique())
    assert splits.train.images.float().std() > 50, "noise, not one colour"
    assert to_download(options) == tmp_path / "nowhere"
    assert not (tmp_path / "nowhere").exists()


def test_what_is_missing_is_said_and_steps_are_timed_without_it(fake_cifar10, tmp_path, monkeypatch):
    absent = config(tmp_path / "nowhere")
    why = part_of("data", absent).fact("missing", absent)
    assert "found none of them. Get it with `--set data.download=true`" in why
    assert len(stand_in(absent).test) == 10_000 and to_download(absent) is None
    assert part_of("data", absent).fact("missing", config(tmp_path / "nowhere", download=True)) is None
    assert part_of("data", absent).fact("missing", config(fake_cifar10)) is None
    assert len(stand_in(config(fake_cifar10)).test) == 10_000
    assert to_download(config(fake_cifar10, download=True)) is None, "it is there"
    pack(fake_cifar10, monkeypatch)
    assert len(stand_in(config(fake_cifar10)).test) == 10_000
    assert not (fake_cifar10 / FOLDER).exists(), "nothing is unpacked"


def test_other_images_are_their_own_stand_in():
    own = DataConfig(name="digits", batch_size=8)
    assert torch.equal(stand_in(own).train.images, load_data(own).train.images)
    assert to_download(own) is None
