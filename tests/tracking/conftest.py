"""A real MLflow store, its schema made once."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fsg.tracking import serve
from fsg.tracking.store import open_client

sys.path.insert(0, str(Path(__file__).parent))


OPEN = "import sys; from fsg.tracking.store import open_client; open_client(sys.argv[1]).search_experiments()"


@pytest.fixture(scope="session")
def making(tmp_path_factory):
    """A store made by a fresh process: (its folder, what the process said)."""
    folder = tmp_path_factory.mktemp("store")
    return folder, subprocess.run(
        [sys.executable, "-c", OPEN, f"sqlite:///{folder}/mlflow.db"], capture_output=True, text=True, cwd=folder
    )


@pytest.fixture(scope="session")
def empty_store(making):
    return making[0] / "mlflow.db"


@pytest.fixture
def uri(empty_store, tmp_path):
    """The address of a fresh SQLite store in tmp_path."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def client(uri):
    return open_client(uri)


@pytest.fixture(scope="session")
def server(empty_store, tmp_path_factory):
    """A real MLflow server on a store of its own; its address."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "mlflow.db")
    with serve(f"sqlite:///{folder / 'mlflow.db'}") as running:
        yield running.address


@pytest.fixture
def proxy(server):
    """A proxy before that server that misbehaves when told to."""
    from faulty_proxy import FaultyProxy

    proxy = FaultyProxy(server)
    yield proxy
    proxy.close()
