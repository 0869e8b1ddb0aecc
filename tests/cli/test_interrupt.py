"""Ctrl-C, as a terminal sends it: to the driver and to every process it started."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from cli_texts import ABLATION
from command_line import python_environment
from listening import LOOPBACK, open_to

from fsg.record.folder import StudyFolder

SHORT = ABLATION.replace("epochs: 2", "epochs: 12").replace("[0, 1]", "[0]")
SHORT = SHORT.replace("{reference:", "{interval: null, reference:").replace("{gradient: fsg}", "{gradient: ema}")


def driver(folder, *words):
    return subprocess.Popen(
        [sys.executable, "-c", "from fsg.cli import main; main()", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=python_environment(),
        start_new_session=True,
    )  # fmt: skip


def wait_for(condition, process):
    deadline = time.monotonic() + 240
    while process.poll() is None and not condition():
        assert time.monotonic() < deadline, "waited four minutes in vain"
        time.sleep(0.2)


def test_ctrl_c_stops_cleanly_a_second_one_now_and_resume_completes_the_study(tmp_path, fsg, empty_store, shared_ray):
    """Two trials, one after the other. Nothing of the study listens beyond this machine meanwhile."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    (tmp_path / "study.yaml").write_text(SHORT)
    study, seen = StudyFolder(tmp_path / "studies" / "small"), set()

    def one_has_finished():
        seen.update(open_to(stopped.pid))
        return any(t.status == "finished" for t in study.state().trials.values())

    stopped = driver(tmp_path, "ablate", "study.yaml", "--cpus-per-trial", "2")
    wait_for(one_has_finished, stopped)
    os.killpg(stopped.pid, signal.SIGINT)
    out, err = stopped.communicate(timeout=120)
    assert stopped.returncode == 130, (out, err)
    assert "Traceback" not in out + err
    assert out.rstrip().endswith("Stopped. Go on with: fsg resume small")
    before = study.state().trials
    finished = [key for key, trial in before.items() if trial.status == "finished"]
    assert len(finished) == 1
    programs = {program for program, _, _ in seen}
    assert {"gcs_server", "raylet"} <= programs and any("ray::" in program for program in programs), programs
    assert {address for _, address, _ in seen} <= LOOPBACK, seen
    assert "failed" not in {trial.status for trial in before.values()}
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    assert "RUNNING" not in {run.info.status for run in runs}, "nobody works on it any more"

    ended = driver(tmp_path, "resume", "small", "--cpus-per-trial", "2")
    epochs = len(study.ledger().read())
    wait_for(lambda: len(study.ledger().read()) > epochs + 3, ended)
    os.killpg(ended.pid, signal.SIGINT)
    time.sleep(0.3)
    with suppress(ProcessLookupError):
        os.killpg(ended.pid, signal.SIGINT)
    out, err = ended.communicate(timeout=60)
    assert ended.returncode == 130, (out, err, study.ledger_path.read_text()[-2000:])
    assert "Traceback" not in out + err
    finished = [key for key, trial in study.state().trials.items() if trial.status == "finished"]

    said = fsg("resume", "small")
    assert said.code == 0
    assert f"{len(finished)} of them done before" in said.out
    after = study.state().trials
    assert {trial.status for trial in after.values()} == {"finished"}
    assert all(after[key].attempts == 1 for key in finished), "a finished trial was run again"
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == 1 + 2 + 2, "a trial has two runs"


@pytest.mark.long
def test_sigterm_stops_a_driver_as_ctrl_c_does(tmp_path, fsg, with_store, shared_ray):
    """As a batch system ends a job; that such a study is resumed is shown above."""
    (tmp_path / "study.yaml").write_text(SHORT.replace("epochs: 12", "epochs: 200"))
    study, before = StudyFolder(tmp_path / "studies" / "small"), signal.getsignal(signal.SIGTERM)

    def end():
        while not any(trial.epochs for trial in study.state().trials.values()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end, daemon=True).start()
    said = fsg("ablate", "study.yaml", "--cpus-per-trial", "2")
    assert said.code == 130
    assert "Traceback" not in said.out + said.err
    assert said.out.rstrip().endswith("Stopped. Go on with: fsg resume small")
    assert {trial.status for trial in study.state().trials.values()} <= {"running", "planned"}
    assert signal.getsignal(signal.SIGTERM) is before
