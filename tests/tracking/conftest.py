"""A real MLflow store, its schema made once; a real PostgreSQL."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from fsg.tracking import serve
from fsg.tracking.store import open_client

sys.path.insert(0, str(Path(__file__).parent))

import real_servers


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


@pytest.fixture(scope="module")
def environment():
    """Secrets as a user would set them, gone after the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", real_servers.ADMIN)
        patch.setenv("AWS_ACCESS_KEY_ID", "writer")
        patch.setenv("AWS_SECRET_ACCESS_KEY", real_servers.KEY)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield patch


@pytest.fixture(scope="module")
def postgres(environment):
    """The address, without its password, of an empty database of a PostgreSQL of our own."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    programs = found[-1].parent if found else Path(shutil.which("pg_ctl") or "/none/pg_ctl").resolve().parent
    if not (programs / "initdb").exists() or not (programs / "postgres").exists():
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    user = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="fsg-postgres-"))
    (folder / "password").write_text(real_servers.DATABASE)
    if user:
        for path in (folder, folder / "password"):
            os.chown(path, user["user"], user["group"])
    port = real_servers.free_port()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **user}
    made = [programs / "initdb", "-D", folder / "data", "-U", "fsg", "-A", "scram-sha-256", "-E", "UTF8", "--no-sync"]
    subprocess.run([*made, f"--pwfile={folder / 'password'}"], check=True, **quiet)
    settings = [f"unix_socket_directories={folder}", "listen_addresses=127.0.0.1", f"port={port}", "fsync=off"]
    options = [word for setting in settings for word in ("-c", setting)]
    running = subprocess.Popen([programs / "postgres", "-D", folder / "data", *options], **quiet)
    environment.setenv("PGPASSWORD", real_servers.DATABASE)
    try:
        import psycopg2

        end = time.monotonic() + 30
        while True:
            try:
                psycopg2.connect(host="127.0.0.1", port=port, user="fsg", dbname="postgres").close()
                break
            except psycopg2.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
        yield f"postgresql://fsg@127.0.0.1:{port}/postgres"
    finally:
        running.send_signal(signal.SIGINT)  # at once: SIGTERM would wait for whoever is connected
        running.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
