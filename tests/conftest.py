"""Shared by all tests: their tiers, their processes, quiet single-threaded numerics, and no word sent to anyone."""

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

# Before torch, ray or mlflow are imported anywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
# Ray ends workers when the machine's memory is full, whoever filled it; a test should not depend on its neighbours.
os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
# Studies and stores are made durable write by write, 2 to 20 ms each on a disk: two thirds of the suite's time were that.
MEMORY, ROOM = Path("/dev/shm"), 2**32
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

import pytest
import tiers
from tiny_studies import ABLATION, Study, together


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


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes, as README's machine has two cores; none where single files are named, which are quicker without."""
    return 0 if any(".py" in argument for argument in config.args) else 2


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


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[None]:
    """One Ray with two cores for the whole session; ``run_study`` and the command line take what is already connected."""
    from fsg.ray_engine.cluster import ONE_MACHINE, RAY_ENVIRONMENT

    os.environ.update(RAY_ENVIRONMENT | ONE_MACHINE)
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture
def study(tmp_path, shared_ray):
    """Makes a study that trains for a second, run through the shared Ray, from its specification as plain data."""
    return lambda data: Study(tmp_path, data)


@pytest.fixture(scope="session")
def twin(tmp_path_factory, shared_ray):
    """The small ablation, never interrupted: (study, whether the run said that it is complete)."""
    made = Study(tmp_path_factory.mktemp("twin"), ABLATION)
    with together(made, [trial.key for trial in made.spec.plan.trials()[:2]]):
        return made, made.run()
