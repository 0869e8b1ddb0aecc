"""The studies that earlier releases left, each as a copy in a folder of its own."""

import shutil
import tarfile
from pathlib import Path

import pytest
from command_line import run_main

from fsg.record.folder import StudyFolder

HERE = Path(__file__).parent
RELEASES = sorted(path.name for path in HERE.iterdir() if (path / "factorial").is_dir())
STUDIES = ("cut_off", "factorial", "population", "retuned", "sequential", "sweep")


def pytest_generate_tests(metafunc):
    if "release" in metafunc.fixturenames:
        metafunc.parametrize("release", RELEASES)
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", STUDIES)


@pytest.fixture
def study_of(release, tmp_path):
    """Gives the folder of a recorded study, copied to where the command line looks for it, as if it had been moved there."""

    def copy(name):
        place = tmp_path / "studies" / name
        shutil.copytree(HERE / release / name, place)
        return StudyFolder(place)

    return copy


@pytest.fixture
def fsg(tmp_path, monkeypatch):
    """Runs ``fsg ...`` in tmp_path, in this process."""
    return lambda *arguments: run_main(monkeypatch, tmp_path, *arguments)


@pytest.fixture
def unpacked(release, tmp_path):
    """Unpacks an archive of a release; the folder with what was in it."""

    def unpack(name):
        with tarfile.open(HERE / release / name) as archive:
            archive.extractall(tmp_path, filter="data")
        return tmp_path

    return unpack
