"""What `fsg ui` runs: a real MLflow server as a child."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from fake_studies import study

from fsg.errors import BackendUnavailable, StudyError
from fsg.tracking import Exporter, serve

pytestmark = pytest.mark.server


def get(address):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=10) as answer:
        return answer.read()


def test_server_shows_study_and_table_on_loopback_and_goes_away(uri):
    events = study(arms=("ste",), seeds=(0,))
    exporter = Exporter(uri, events[0])
    exporter.export(events)
    exporter.log_report([{"arm": "ste", "mean": 1.5}], "", [], {"ste": {"acc": 1.5}})
    root = exporter._ensure(exporter._study.runs[exporter._study.root]).run_id
    with serve(uri) as server:
        assert server.address.startswith("http://127.0.0.1:")
        table = json.loads(get(f"{server.address}/get-artifact?path=comparison.json&run_uuid={root}"))
        assert table == {"columns": ["arm", "mean"], "data": [["ste", 1.5]]}
        group = server._process.pid
    with pytest.raises(OSError):
        get(f"{server.address}/health")
    assert is_gone(group)


def is_gone(group, seconds=5):
    """Whether no process of the group is left, once init has buried them."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_server_ends_when_its_owner_is_killed(uri):
    code = "import sys, time; from fsg.tracking import server; server._wait_until_healthy = lambda *_: None; "
    code += "s = server.serve(sys.argv[1]); print(s._process.pid, flush=True); time.sleep(600)"
    owner = subprocess.Popen([sys.executable, "-c", code, uri], stdout=subprocess.PIPE, text=True)
    group = int(owner.stdout.readline())
    owner.stdout.close()
    time.sleep(1)  # let it start the server
    os.killpg(group, 0)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    gone = is_gone(group)
    if not gone:
        os.killpg(group, signal.SIGKILL)
    assert gone


def test_running_server_is_used_as_it_is_and_its_login_is_not_in_the_address():
    with serve("https://me:secret@mlflow.example.org/base/") as server:
        assert server.address == "https://mlflow.example.org/base"


def test_missing_store_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"none\.db: no MLflow store yet"):
        serve(f"sqlite:///{tmp_path}/none.db")


def test_taken_port_is_refused(uri):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BackendUnavailable, match=f"Port {port} of 127.0.0.1 cannot be used"):
            serve(uri, port)


def test_server_that_cannot_start_shows_the_end_of_its_log_without_password(uri, monkeypatch):
    dying = "import sys; sys.exit('cannot reach postgresql://me:secret@db')"
    monkeypatch.setattr("fsg.tracking.server._KEEPER", dying)
    with pytest.raises(BackendUnavailable) as refused:
        serve(uri)
    assert "MLflow's server ended with code 1" in str(refused.value)
    assert "cannot reach postgresql://***@db" in str(refused.value)


def test_server_that_does_not_answer_in_time_is_stopped(uri):
    with pytest.raises(BackendUnavailable, match="is not answering at"):
        serve(uri, timeout=0.5)
