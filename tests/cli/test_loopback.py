"""Nothing listens beyond this machine without being told: every process of a real study, and of `fsg ui` on it."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import psutil
from cli_texts import ABLATION
from command_line import python_environment

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", "from fsg.cli import main; main()", *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, cwd=folder, env=python_environment(),
    )  # fmt: skip


def open_to(pid):
    """{(program, address, port)} at which a process or a descendant of it takes connections or datagrams."""
    found = set()
    with suppress(psutil.NoSuchProcess):
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                for at in process.net_connections("inet"):
                    if at.status == "LISTEN" or (at.type == socket.SOCK_DGRAM and not at.raddr):
                        found.add((process.name(), at.laddr.ip, at.laddr.port))
    return found


def test_a_study_and_its_ui_listen_on_loopback_alone(tmp_path, migrated_store):
    shutil.copy(migrated_store, tmp_path / "mlflow.db")
    (tmp_path / "study.yaml").write_text(ABLATION.replace("{gradient: fsg}", "{gradient: ema}"))
    study, seen = start(tmp_path, "ablate", "study.yaml", "--quiet"), set()
    while study.poll() is None:
        seen |= open_to(study.pid)
        time.sleep(1)
    assert study.returncode == 0, study.stderr.read()
    programs = {program for program, _, _ in seen}
    assert {"gcs_server", "raylet"} <= programs and any("ray::" in program for program in programs), programs
    assert {address for _, address, _ in seen} <= LOOPBACK, seen

    ui = start(tmp_path, "ui", "small")
    try:
        assert ui.stdout.readline().startswith("MLflow: http://127.0.0.1:")
        seen = open_to(ui.pid)
        assert {address for _, address, _ in seen} == {"127.0.0.1"}, seen
        (port,) = {port for _, _, port in seen}
        ours = {a.address for of in psutil.net_if_addrs().values() for a in of if a.family == socket.AF_INET}
        for address in ours - LOOPBACK:
            with socket.socket() as other:
                other.settimeout(2)
                assert other.connect_ex((address, port)) != 0, address
    finally:
        ui.send_signal(signal.SIGINT)
        ui.communicate(timeout=30)
    assert ui.returncode == 0
