"""Reaching a cluster: what is said where none answers. The real clusters are in ``tests/clusters``."""

import subprocess
import time

import pytest
import yaml

from fsg.errors import BackendUnavailable
from fsg.ray_engine import cluster
from fsg.ray_engine.cluster import grown, not_joined, reach, refuse_open_token, share_problem, use_token


@pytest.mark.parametrize("address", ["here", "host:", "host:port", ""])
def test_what_is_no_address_is_refused_with_those_that_are(address):
    with pytest.raises(BackendUnavailable, match=r"expected auto, HOST:PORT, ray://HOST:PORT or job:http://HOST:PORT"):
        reach(address)


def test_a_port_where_nobody_listens_is_known_at_once():
    began = time.monotonic()
    with pytest.raises(BackendUnavailable, match=r"no Ray cluster answers there \(Connection refused\)"):
        reach("127.0.0.1:9")
    assert time.monotonic() - began < cluster.REACH_SECONDS


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("RPC error: InvalidAuthToken: Authentication token is missing or incorrect", "it wants a token and none was"),
        ("ConnectionError: Could not find any running Ray instance.", "answers there .Could not find any running Ray"),
        ("", "answers there .no answer."),
    ],
)
def test_what_a_cluster_says_becomes_one_message(said, message, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 1, "", said))
    with pytest.raises(BackendUnavailable, match=message):
        reach("auto")


def test_a_token_that_is_there_is_shown_unless_the_user_said_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    environment = {}
    monkeypatch.setattr(cluster.os, "environ", environment)
    environment["HOME"] = str(tmp_path)
    use_token()
    assert "RAY_AUTH_MODE" not in environment
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    use_token()
    assert environment["RAY_AUTH_MODE"] == "token"
    environment["RAY_AUTH_MODE"] = "disabled"
    use_token()
    assert environment["RAY_AUTH_MODE"] == "disabled"


@pytest.mark.parametrize("named", [True, False])
def test_a_token_that_others_may_read_is_refused_with_what_to_type(named, monkeypatch, tmp_path):
    place = tmp_path / "mine" if named else tmp_path / ".ray" / "auth_token"
    place.parent.mkdir(exist_ok=True)
    place.write_text("secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(place) if named else "")
    place.chmod(0o600)
    refuse_open_token()
    for mode in (0o640, 0o604):
        place.chmod(mode)
        with pytest.raises(BackendUnavailable, match=rf"mode {mode:03o}.*chmod 600 {place}") as caught:
            refuse_open_token()
        assert caught.value.exit_code == 2 and "secret" not in str(caught.value)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    refuse_open_token()


def test_a_cluster_that_grows_has_room_for_what_it_may_become(tmp_path):
    launcher = tmp_path / "ray_bootstrap_config.yaml"
    have = {"CPU": 0.0, "memory": 8.0}
    assert grown(have, launcher) == have
    workers = {"max_workers": 4, "resources": {"CPU": 8, "GPU": 1}}
    launcher.write_text(yaml.safe_dump({"available_node_types": {"head": {"resources": {"CPU": 0}}, "gpu": workers}}))
    assert grown(have, launcher) == {"CPU": 32, "GPU": 4, "memory": 8.0}
    assert grown({"CPU": 64.0}, launcher)["CPU"] == 64, "machines that are there count, whatever the launcher says"


def test_machines_that_are_always_to_be_there_are_missed(tmp_path):
    launcher = tmp_path / "ray_bootstrap_config.yaml"
    assert not_joined(1, launcher) == 0
    types = {"head": {}, "always": {"min_workers": 2}, "when asked": {"min_workers": 0, "max_workers": 4}}
    launcher.write_text(yaml.safe_dump({"available_node_types": types}))
    assert [not_joined(nodes, launcher) for nodes in (1, 2, 3, 5)] == [2, 1, 0, 0]


@pytest.mark.parametrize(
    ("share", "said"),
    [
        ({"cpu": 4, "gpu": 0.5, "accelerator_type:A10G": 0.001, "memory": 8.0}, None),
        ({"cpu": 5, "gpu": 0}, "--cpus-per-trial is 5, but the cluster has 4. Ask for less."),
        ({"cpu": 1, "gpu": 2}, "--gpus-per-trial is 2, but the cluster has 1. Ask for less."),
        (
            {"cpu": 1, "gpu": 1, "accelerator_type:L4": 0.001},
            "trials ask for the accelerator L4, but the cluster has A10G, T4.",
        ),
    ],
)
def test_a_share_that_no_cluster_machine_can_give_is_named(share, said):
    have = {"CPU": 4.0, "GPU": 1.0, "accelerator_type:T4": 1.0, "accelerator_type:A10G": 1.0, "memory": 1e10}
    assert share_problem([{"cpu": 1, "gpu": 0}, share], have) == said
