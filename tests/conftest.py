"""Shared by all tests: their tiers, their processes, quiet single-threaded numerics, and no word sent to anyone."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

# Before torch, ray or mlflow are imported anywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
# Ray ends workers when the machine's memory is full, whoever filled it; a test should not depend on its neighbours.
os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
# Told not to keep bytecode, as many containers are, each process compiles Ray and MLflow anew: 2 to 4 s of processor.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
import tiers
from command_line import train_here
from made_once import made_once
from tiny_studies import ABLATION, LocalStudy, Study, together

sys.dont_write_bytecode = False
MEMORY, ROOM = Path("/dev/shm"), 2**32  # a file system in memory, and the bytes that it should have free


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir", default=Path(__file__).parents[2] / "shared" / "golden", type=Path,
        help="Folder with arrays recorded from the reference implementation.",
    )  # fmt: skip


@pytest.fixture(scope="session")
def golden_dir(request: pytest.FixtureRequest) -> Path:
    """The folder of golden arrays; the test is skipped where it is missing."""
    folder = request.config.getoption("--golden-dir")
    if not folder.is_dir():
        pytest.skip(f"no golden arrays in {folder}; point --golden-dir at them")
    return folder


def pytest_configure() -> None:
    """Temporary folders in memory: a study is made durable write by write, 2 to 20 ms each on a disk, half of the time."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return tiers.processes(config.args)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    tiers.enter(item)


@pytest.hookimpl(tryfirst=True)  # before those that `-m` leaves out are
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    tiers.mark(items)

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):  # not a keyword: the folder of a checkout is one too
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def signals_are_given_back() -> Iterator[None]:
    """Ray Tune keeps SIGINT where a test runs it by itself; the next test that is interrupted would hear nothing."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture(scope="module", autouse=True)
def plug_ins_are_forgotten() -> Iterator[None]:
    """What files of guests register is known to this process until it is taken out; the next module's tests have no guests."""
    yield
    from fsg import plugins
    from fsg.parts import forget

    for name in list(plugins._current):
        forget(name)
        del plugins._current[name]


@pytest.fixture
def no_guests_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in's kinds of domains stay known after it is taken out: a page of what fsg has must not list them."""
    from fsg.study.domains import KINDS

    for name, kind in list(KINDS.items()):
        if not kind.__module__.startswith("fsg."):
            monkeypatch.delitem(KINDS, name)


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[None]:
    """One Ray with two cores for the whole session; ``run_study`` and the command line take what is already connected."""
    from fsg.ray_engine.cluster import joined

    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fsg.ray_engine.local_ray.usable_cores", lambda: 2)
            stack.enter_context(joined(None))
        yield


@pytest.fixture
def study(tmp_path, shared_ray):
    """Makes a study that trains for a second, run through the shared Ray, from its specification as plain data."""
    return lambda data: Study(tmp_path, data)


@pytest.fixture
def local_engine(monkeypatch):
    """``fsg ablate``, ``fsg sweep`` and ``fsg resume`` train in this process."""
    train_here(monkeypatch)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The small ablation, never interrupted, trained in this process."""

    def run(folder: Path) -> None:
        assert LocalStudy(folder, ABLATION).run()

    folder = tmp_path_factory.mktemp("finished") / "finished"
    shutil.copytree(made_once(tmp_path_factory, "finished", run), folder)
    return LocalStudy(folder, ABLATION)


@pytest.fixture(scope="session")
def twin(tmp_path_factory, shared_ray):
    """The same on Ray: (study, whether the run said that it is complete)."""

    def run(folder: Path) -> None:
        made = Study(folder, ABLATION)
        with together(made, [trial.key for trial in made.spec.plan.trials()[:2]]):
            if made.run():
                (folder / "complete").touch()

    folder = tmp_path_factory.mktemp("twin") / "twin"
    shutil.copytree(made_once(tmp_path_factory, "twin", run), folder)
    return Study(folder, ABLATION), (folder / "complete").exists()


STORE = "import sys; from fsg.tracking.store import open_client; open_client(sys.argv[1]).search_experiments()"


@pytest.fixture(scope="session")
def making(tmp_path_factory):
    """An empty MLflow store, made by a process of its own: (its folder, what the process said)."""

    def make(folder: Path) -> None:
        command = [sys.executable, "-c", STORE, f"sqlite:///{folder}/store/mlflow.db"]
        (folder / "store").mkdir()
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder / "store")
        (folder / "said").write_text(f"{done.returncode}{done.stdout}{done.stderr}")

    folder = made_once(tmp_path_factory, "empty-store", make)
    return folder / "store", (folder / "said").read_text()


@pytest.fixture(scope="session")
def empty_store(making):
    """The file of that store; a copy of it saves a test the making of its schema, six seconds of processor."""
    return making[0] / "mlflow.db"
