"""Variables of the environment that change what happens are said, once and without their secrets."""

import os

import pytest

from fsg.cli.environment import MOST, environment_line
from fsg.ray_engine.cluster import ONE_MACHINE, RAY_ENVIRONMENT

FILE = "sqlite:///mlflow.db"


@pytest.fixture
def line(monkeypatch):
    """What is said in an environment of nothing but some variables."""

    def say(tracking=FILE, given=False, address=None, **variables):
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return environment_line(tracking, given, address)

    return say


def test_nothing_is_said_of_what_changes_nothing(line):
    assert line(HOME="/root", CUDA_HOME="/usr/local/cuda", CUDA_VERSION="13.2", RAY_ADDRESS="") is None
    assert line(RAY_JOB_CONFIG_JSON_ENV_VAR="{}", RAY_ADDRESS="10.0.0.1:6379", address="auto") is None, "Ray's own"
    assert line(**RAY_ENVIRONMENT, **ONE_MACHINE, MLFLOW_DISABLE_TELEMETRY="true") is None, "a driver's own"


def test_each_is_said_by_name_and_value(line):
    said = line(
        CUDA_VISIBLE_DEVICES="1", OMP_NUM_THREADS="4", RAY_gcs_rpc_server_reconnect_timeout_s="60", no_proxy="a.b"
    )
    assert said == (
        "From the environment: CUDA_VISIBLE_DEVICES=1, OMP_NUM_THREADS=4, "
        "RAY_gcs_rpc_server_reconnect_timeout_s=60, no_proxy=a.b."
    )


@pytest.mark.parametrize(
    ("address", "note"),
    [
        (None, " (not used: without --address a study runs here)"),
        ("10.0.0.1:6379", " (not used: --address names a cluster)"),
        ("auto", ""),
    ],
)
def test_whether_ray_address_counts_is_said(line, address, note):
    assert line(address=address, RAY_ADDRESS="http://h:1") == f"From the environment: RAY_ADDRESS=http://h:1{note}."


def test_a_tracking_store_that_is_not_used_is_said_not_to_be(line):
    named = {"MLFLOW_TRACKING_URI": "http://h:5000"}
    assert line("http://h:5000", **named) == "From the environment: MLFLOW_TRACKING_URI=http://h:5000."
    assert "not used: --tracking-uri names a store" in line(FILE, True, **named)


def test_a_proxy_before_a_server_of_this_machine_is_told_how_to_be_passed_by(line):
    proxy = {"HTTP_PROXY": "http://proxy:3128"}
    assert "set NO_PROXY=127.0.0.1" in line("http://127.0.0.1:5000", **proxy)
    assert "(" not in line("http://127.0.0.1:5000", **proxy, NO_PROXY="127.0.0.1")
    assert "(" not in line("http://mlflow.example:5000", **proxy) and "(" not in line(FILE, **proxy)


def test_no_secret_is_shown_however_short(line):
    said = line(
        MLFLOW_TRACKING_PASSWORD="ab", RAY_AUTH_TOKEN="deadbeef", HTTPS_PROXY="http://me:pass@proxy:3128",
        MLFLOW_TRACKING_URI="http://h/?token=deadbeef", MLFLOW_TRACKING_USERNAME="me",
    )  # fmt: skip
    assert said == (
        "From the environment: HTTPS_PROXY=http://***@proxy:3128, MLFLOW_TRACKING_PASSWORD=***, "
        "MLFLOW_TRACKING_URI=http://h/?token=***, MLFLOW_TRACKING_USERNAME=me, RAY_AUTH_TOKEN=***."
    )


def test_it_stays_one_short_line(line):
    said = line(**{f"RAY_{n:02}": "x\ny" * 500 for n in range(MOST + 3)})
    assert "\n" not in said and said.endswith("... and 3 more.") and len(said) < MOST * 60


def test_a_study_says_it_once_and_not_where_only_json_is_wanted(fsg, files, monkeypatch, nothing_starts):
    from cli_texts import ABLATION

    files(ABLATION)
    monkeypatch.setenv("RAY_ADDRESS", "[bold]http://h:1")
    monkeypatch.setattr("fsg.cli.study.run", lambda *told: None)
    assert fsg("ablate", "study.yaml").out.count("RAY_ADDRESS=[bold]http://h:1 (not used") == 1
    assert "RAY_ADDRESS" not in fsg("ablate", "study.yaml", "--json").out
