"""The server for a team, real ones: PostgreSQL from its own programs and an S3 store on loopback, and SQLite."""

import base64
import os
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml
from fake_studies import runs_of, study
from real_servers import ADMIN, DATABASE, KEY, free_port

from fsg.errors import BackendUnavailable, ConfigError, FsgError
from fsg.tracking import Exporter, FollowingExporter
from fsg.tracking.store import open_client
from fsg.tracking.team import load_team_server, serve_team

SECRETS = (ADMIN, DATABASE, KEY)
SHIPPED = sorted((Path(__file__).parents[2] / "clusters").glob("mlflow-*.yaml"))
SQLITE = {"store": "sqlite:////tmp/mlflow.db", "artifacts": "/tmp/artifacts"}


def described(folder, **fields):
    file = folder / "server.yaml"
    file.write_text(yaml.safe_dump(SQLITE | fields))
    return file


# The file --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_are_servers_on_loopback(path):
    assert load_team_server(path).host == "127.0.0.1"


def test_both_kinds_are_shipped():
    assert [path.stem for path in SHIPPED] == ["mlflow-postgresql", "mlflow-sqlite"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prot": 5000}, 'server.yaml:2: unknown key "prot". Did you mean "port"?'),
        ({"port": 0}, '"port" is 0'),
        ({"store": "mysql://db/mlflow"}, "expected sqlite:////ABSOLUTE/PATH.db or postgresql://USER@HOST/DATABASE"),
        ({"store": "sqlite:///here.db"}, "expected sqlite:////ABSOLUTE/PATH.db"),
        ({"artifacts": "here"}, "expected an absolute folder or s3://BUCKET/FOLDER"),
        ({"host": "0.0.0.0"}, "allowed_hosts must list the names"),
        ({"login": {"everyone": "WRITE"}}, "allowed: READ, EDIT, MANAGE, NO_PERMISSIONS"),
    ],
)
def test_what_it_cannot_be_is_refused_with_its_line(fields, said, tmp_path):
    with pytest.raises(ConfigError) as refused:
        load_team_server(described(tmp_path, **fields))
    assert said in str(refused.value)
    assert "server.yaml:" in str(refused.value)


@pytest.mark.parametrize("store", ["postgresql://me:hush@db/m", "postgresql://db/m?user=me&password=hush"])
def test_a_password_in_the_file_is_refused_and_not_repeated(store, tmp_path):
    with pytest.raises(ConfigError, match="with a password, which everyone who reads this file would have") as refused:
        load_team_server(described(tmp_path, store=store))
    assert "hush" not in str(refused.value)


def test_a_missing_package_is_named_with_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("fsg.tracking.team.importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"needs flask_wtf \(the login\), boto3 \(S3\): pip install"):
        serve_team(load_team_server(described(tmp_path, artifacts="s3://bucket")))


def test_the_first_start_wants_a_password_for_the_administrator(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_AUTH_ADMIN_PASSWORD", raising=False)
    with pytest.raises(
        ConfigError, match="MLFLOW_AUTH_ADMIN_PASSWORD is not set: the first start makes the user admin"
    ):
        serve_team(load_team_server(described(tmp_path, store=f"sqlite:///{tmp_path}/mlflow.db")))


# Real servers ----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def bucket(environment):
    """An S3 store on loopback: (its address, a client of it), with the bucket "runs"."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="runs")
    yield f"http://{host}:{port}", client
    server.stop()


@pytest.fixture(scope="module")
def team(postgres, bucket, tmp_path_factory):
    folder = tmp_path_factory.mktemp("team")
    file = described(
        folder, store=postgres, artifacts="s3://runs/artifacts", s3_endpoint=bucket[0], port=free_port(),
        allowed_hosts=["mlflow.example.org"], login={"everyone": "NO_PERMISSIONS"},
    )  # fmt: skip
    with serve_team(load_team_server(file), timeout=240) as server:
        yield server


@pytest.fixture
def login(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN)


WRITE = """
import sys
sys.path.insert(0, sys.argv[1])
from fake_studies import study
from fsg.tracking import Exporter
for number in range(2):
    events = study(seeds=(0, 1), study_id=f"{sys.argv[3]}-{number}", name=f"study-{sys.argv[3]}-{number}")
    Exporter(sys.argv[2], events[0]).export(events)
"""


def test_several_processes_write_at_once_and_nothing_is_lost(team, login):
    here = str(Path(__file__).parent)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, here, team.address, str(n)], stderr=subprocess.PIPE, text=True)
        for n in range(3)
    ]
    said = [writer.communicate(timeout=240)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], said
    client = open_client(team.address)
    for writer in range(3):
        for number in range(2):
            runs = runs_of(client, f"study-{writer}-{number}")
            assert len(runs) == 1 + 2 + 4, "the study, its arms, their seeds"
            assert all(run.info.status == "FINISHED" for run in runs.values() if "fsg.trial_key" in run.data.tags)


def test_files_of_a_study_land_in_the_store(team, bucket, login):
    events = study(arms=("ste",), seeds=(0,), study_id="files", name="files")
    exporter = Exporter(team.address, events[0])
    exporter.export(events)
    exporter.log_report([{"arm": "ste", "mean": 1.5}], "| arm |", [], {"ste": {"acc": 1.5}})
    keys = [entry["Key"] for entry in bucket[1].list_objects_v2(Bucket="runs")["Contents"]]
    assert any(key.startswith("artifacts/") and key.endswith("comparison.json") for key in keys)


def answer(address, path="/api/2.0/mlflow/experiments/search?max_results=1", password=None, host=None):
    request = urllib.request.Request(address + path)
    if password:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode())
    if host:
        request.add_header("Host", host)
    try:
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code


def test_only_the_right_password_and_a_known_name_get_in(team):
    assert answer(team.address, password=ADMIN) == 200
    assert answer(team.address, password="guess") == 401
    assert answer(team.address) == 401
    assert answer(team.address, password=ADMIN, host="mlflow.example.org") == 200
    assert answer(team.address, password=ADMIN, host="evil.example.org") == 403


def test_a_wrong_password_is_said_without_it_and_the_study_goes_on(team, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a-wrong-guess-4")
    from fsg.record.ledger import Ledger

    ledger = Ledger(tmp_path / "ledger.jsonl")
    for event in study(arms=("ste",), seeds=(0,), study_id="refused", name="refused"):
        ledger.append(**{name: value for name, value in event.items() if name != "time"})
    exporter = FollowingExporter(ledger.path, team.address, interval=0.1)
    behind = exporter.close(timeout=8)
    assert "401" in behind or "authenticated" in behind
    assert "fsg sync STUDY" in behind
    assert "a-wrong-guess-4" not in behind + exporter.status + ledger.path.read_text()


def of_group(group):
    """The processes of a group; others end while they are looked at."""
    for process in psutil.process_iter():
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group:
                yield process


def test_no_secret_stands_on_a_command_line_in_the_log_or_in_the_login_file(team):
    assert answer(team.address, password=ADMIN) == 200
    shown = [process.cmdline() for process in of_group(team._process.pid)]
    assert len(shown) >= 3, "the keeper, the server, its workers"
    shown = " ".join(word for words in shown for word in words)
    kept = " ".join(path.read_text(errors="replace") for path in team._leftovers)
    assert "basic-auth" in shown and "database_uri" in kept
    assert [secret for secret in SECRETS if secret in shown + kept] == []
    assert {path.stat().st_mode & 0o077 for path in team._leftovers} == {0}, "nobody else reads them"


def test_it_listens_on_loopback_alone(team):
    port = int(team.address.rpartition(":")[2])
    listening = {c.laddr.ip for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port}
    assert listening == {"127.0.0.1"}


def test_a_database_that_refuses_is_said_without_its_password(postgres, bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "a-wrong-guess-5")
    file = described(tmp_path, store=postgres, artifacts="s3://runs/artifacts", port=free_port())
    with pytest.raises(FsgError) as refused:
        serve_team(load_team_server(file), timeout=25)
    assert not [secret for secret in (*SECRETS, "a-wrong-guess-5") if secret in str(refused.value)]


@pytest.mark.long
def test_a_server_on_sqlite_has_the_login_too(environment, tmp_path, login):
    file = described(
        tmp_path, store=f"sqlite:///{tmp_path}/db/mlflow.db", artifacts=str(tmp_path / "files"), port=free_port()
    )
    events = study(arms=("ste",), seeds=(0,))
    with serve_team(load_team_server(file), timeout=240) as server:
        assert answer(server.address, password="guess") == 401
        exporter = Exporter(server.address, events[0])
        exporter.export(events)
        exporter.log_report([{"arm": "ste", "mean": 1.5}], "| arm |", [], {})
        assert set(runs_of(open_client(server.address))) >= {"components", "ste"}
    assert list((tmp_path / "files").rglob("comparison.json"))
    assert sorted(path.name for path in (tmp_path / "db").iterdir()) == ["mlflow-users.db", "mlflow.db"]
