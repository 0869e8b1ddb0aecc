"""Archives of images, unpacked once."""

import hashlib
import io
import multiprocessing
import os
import shutil
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from fsg.catalogue.data import DataConfig
from fsg.data import load_data
from fsg.data import unpack as module
from fsg.data.unpack import unpacked
from fsg.errors import DataError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FSG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """Two classes of six images."""
    for number in range(12):
        place = tmp_path / "images" / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 10 * number).save(place / f"{number}.png")
    return tmp_path / "images"


def config(root):
    return DataConfig(name="image_folder", root=str(root), image_size=4, batch_size=2)


def pack(folder, path):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for file in sorted(folder.rglob("*.png")):
                packed.write(file, file.relative_to(folder.parent))
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as packed:
            packed.add(folder, folder.name)
    return path


@pytest.mark.parametrize("name", ["images.tar", "images.tar.gz", "images.zip"])
def test_an_archive_gives_the_images_of_its_folder(name, folder, tmp_path, cache):
    archive = pack(folder, tmp_path / name)
    assert load_data(config(archive)).digest() == load_data(config(folder)).digest()


def count(archive, cache, queue):
    os.environ["FSG_CACHE"] = str(cache)
    real, calls = module._extract, []

    def slowly(*paths):
        calls.append(1)
        time.sleep(0.5)  # the others come meanwhile
        real(*paths)

    module._extract = slowly
    queue.put((str(unpacked(archive)), len(calls)))


def test_processes_that_start_together_unpack_it_once(folder, tmp_path, cache):
    archive = pack(folder, tmp_path / "images.tar")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=count, args=(archive, cache, queue)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert len({place for place, _ in found}) == 1
    assert sum(calls for _, calls in found) == 1


def test_a_changed_archive_is_unpacked_anew(folder, tmp_path, cache):
    first = unpacked(pack(folder, tmp_path / "images.tar"))
    (folder / "class0" / "0.png").unlink()
    second = unpacked(pack(folder, tmp_path / "images.tar"))
    assert len(list(first.rglob("*.png"))) == 12
    assert len(list(second.rglob("*.png"))) == 11


def test_an_archive_with_another_digest_is_refused(folder, tmp_path, cache):
    archive = pack(folder, tmp_path / "images.tar")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (tmp_path / "images.tar.sha256").write_text(f"{'0' * 64}  images.tar\n")
    with pytest.raises(DataError, match=f"its SHA-256 is {digest}, but images.tar.sha256 says 0000"):
        unpacked(archive)
    (tmp_path / "images.tar.sha256").write_text(f"{digest}  images.tar\n")
    assert unpacked(archive).is_dir()


def test_what_is_no_archive_or_leads_out_of_it_is_refused_and_leaves_nothing(tmp_path, cache):
    (tmp_path / "notes.txt").write_text("no archive")
    with pytest.raises(DataError, match="cannot be unpacked into"):
        unpacked(tmp_path / "notes.txt")
    with tarfile.open(tmp_path / "evil.tar", "w") as packed:
        packed.addfile(tarfile.TarInfo("../outside.png"), io.BytesIO())
    with pytest.raises(DataError, match="cannot be unpacked into"):
        unpacked(tmp_path / "evil.tar")
    assert not (tmp_path / "outside.png").exists()
    assert [path.suffix for path in cache.iterdir() if path.is_dir()] in ([], [".partial"])


def test_what_a_killed_process_left_is_unpacked_over(folder, tmp_path, cache):
    archive = pack(folder, tmp_path / "images.tar")
    place = unpacked(archive)
    place.rename(place.with_name(place.name + ".partial"))
    (place.with_name(place.name + ".partial") / "half.png").touch()
    assert sorted(path.name for path in unpacked(archive).iterdir()) == ["images"]


def add(folder, names):
    """Small files, or empty folders, of these names."""
    for name in names:
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(b"no image")


MACOS = ["__MACOSX/._images", "__MACOSX/images/class0/._0.png", "images/.DS_Store", "images/class0/._0.png"]
BESIDE = [
    "README.md",
    "images/LICENSE",
    "images/class1/Thumbs.db",
    "images/class1/desktop.ini",
    "images/@eaDir/0.png/x.jpg",
]


@pytest.mark.parametrize("extra", [MACOS, BESIDE, ["empty.txt", "lost+found/"]], ids=["macos", "beside", "disk"])
@pytest.mark.parametrize("name", ["images.zip", "images.tar.gz"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
def test_what_packing_left_beside_the_classes_is_passed_over(name, extra, wrapped, folder, tmp_path, cache):
    expected = load_data(config(folder)).digest()
    tree = tmp_path / "tree"
    if wrapped:
        shutil.copytree(folder, tree / "images")
        add(tree, extra)
    else:
        shutil.copytree(folder, tree)
        add(tree, [path.replace("images/", "") for path in extra])
    kind = {".zip": "zip", ".gz": "gztar"}[Path(name).suffix]
    archive = shutil.make_archive(str(tmp_path / "images"), kind, tree)
    assert load_data(config(archive)).digest() == expected


CENTRAL, FLAGS, METHOD = b"PK\x01\x02", 8, 10  # of a file's entry in a zip's directory, and where in it two bytes stand


@pytest.mark.parametrize(
    ("field", "value", "said"), [(METHOD, 9, "compression method"), (FLAGS, 1, "password"), (None, 0, "decompressing")]
)
def test_an_archive_that_zipfile_cannot_read_is_refused_in_words(field, value, said, tmp_path, cache):
    """Windows packs files over 2 GB by Deflate64, method 9; a password is a flag; damage inside is zlib's to find."""
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("cat/0.png", bytes(range(256)) * 40)
    data = bytearray(archive.read_bytes())
    place = data.index(b"0.png") + 5 if field is None else data.index(CENTRAL) + field
    data[place : place + 2] = b"\xff\xff" if field is None else value.to_bytes(2, "little")
    archive.write_bytes(data)
    with pytest.raises(DataError, match=f"images.zip: cannot be unpacked into .*{said}"):
        unpacked(archive)
