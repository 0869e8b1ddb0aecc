"""A real Ray head with its dashboard and a token on loopback: what is refused, the doctor, a study sent as a job.

One head for the module; every command is a process of its own, as a user's is.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import yaml
from command_line import run_main
from small_disks import small_disk

import fsg
from fsg.errors import BackendUnavailable
from fsg.ray_engine.jobs import NOT_SHIPPED, job_server
from fsg.ray_engine.nodes import skew_problems
from fsg.record.driver_lock import driver_of
from fsg.record.folder import StudyFolder
from fsg.report.schemas import DoctorDocument

SOURCE = Path(fsg.__file__).parents[1]
TOKEN, WRONG = "f" * 64, "0" * 64
STUDY = {
    "name": "small", "seeds": [0], "metric": {"name": "val_accuracy", "mode": "max"}, "analysis": {"interval": None},
    "arms": {"slow": {"optimizer": {"lr": 0.003}}}, "baselines": ["ste"],
    "base": {"gradient": "ste", "epochs": 2, "data": {"name": "digits", "batch_size": 256}},
}  # fmt: skip


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """A head, and commands run as by somebody who has its token."""

    def __init__(self, folder):
        self.port, self.dashboard = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.jobs = f"job:http://127.0.0.1:{self.dashboard}"
        self.folder = folder
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))
        }
        self.environment |= {
            "HOME": str(folder), "RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN,
            "RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0", "MLFLOW_DISABLE_TELEMETRY": "true",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "COLUMNS": "160",
            "OMP_NUM_THREADS": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        command = [
            "ray", "start", "--head", "--block", f"--port={self.port}", "--num-cpus=2", "--include-dashboard=true",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard}", "--node-ip-address=127.0.0.1",
            "--disable-usage-stats", f"--dashboard-agent-listen-port={free_port()}",  # another Ray here has the usual one
        ]  # fmt: skip
        self.log = (folder / "head.log").open("w")
        self.head = subprocess.Popen(
            command, env=self.environment, stdout=self.log, stderr=self.log, start_new_session=True
        )

    def wait(self, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.dashboard)) == 0:
                    return
            if self.head.poll() is not None:
                break
            time.sleep(0.2)
        pytest.fail(f"the head did not start:\n{(self.folder / 'head.log').read_text()[-2000:]}")

    def stop(self):
        """The head and what it started, these alone: `ray stop` would end every Ray of this machine."""
        ours = [*psutil.Process(self.head.pid).children(recursive=True), psutil.Process(self.head.pid)]
        self.head.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(ours, timeout=5)
        for process in left:
            process.kill()
        self.head.wait()
        self.log.close()

    def start(self, *arguments, cwd=None, source=SOURCE, **environment):
        environment = self.environment | {"PYTHONPATH": str(source)} | environment
        return subprocess.Popen(
            [sys.executable, "-m", "fsg.cli", *map(str, arguments)], env=environment, cwd=cwd or self.folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def fsg(self, *arguments, **options):
        """(exit code, what it printed, what it complained of)."""
        process = self.start(*arguments, **options)
        out, err = process.communicate(timeout=400)
        return process.returncode, out, err


@pytest.fixture(scope="module")
def cluster():
    folder = Path(tempfile.mkdtemp(prefix="fsg-ray-", dir="/tmp"))  # Ray's sockets allow 107 characters
    made = Cluster(folder)
    try:
        made.wait()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def project(cluster):
    """A working tree as a user has it: the package, a study, and much that nobody wants to send."""
    tree = cluster.folder / "project"
    shutil.copytree(SOURCE / "fsg", tree / "fsg", ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "study.yaml").write_text(yaml.safe_dump(STUDY))
    for name in ("data/images.bin", ".venv/lib.so", "studies/old/last.pt", "weights.pt", "mlflow.db"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(
            b"" if name.endswith(".db") else b"x" * 1000
        )  # a store that has nothing yet is no junk
    return tree


# Without a cluster -----------------------------------------------------------------------------------------------------
def test_addresses_of_job_servers():
    assert job_server("job:http://head:8265/") == "http://head:8265"
    assert job_server("ray://head:10001") == job_server("ray://head") == "http://head:8265"
    assert job_server("auto") is job_server("10.0.0.1:6379") is job_server(None) is None
    for address in ("job:head", "job:ftp://head", "ray://"):
        with pytest.raises(BackendUnavailable, match="expected job:http://HOST:8265 or ray://HOST"):
            job_server(address)


def test_the_package_of_data_sets_is_sent_though_the_folder_of_data_is_not():
    assert "/data/" in NOT_SHIPPED and "data/" not in NOT_SHIPPED and "data" not in NOT_SHIPPED


def test_clocks_are_judged():
    assert skew_problems({"a": 0.0, "b": -4.0}) == []
    ahead, behind = skew_problems({"a": 60.4, "b": -7.0})
    assert ahead.startswith("a: its clock is 60 s ahead of this machine's. Set up NTP")
    assert behind.startswith("b: its clock is 7 s behind")


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """What ``fsg ablate`` says in this process, and that nothing was begun."""
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # whatever other tests have
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)  # whoever may read the one in ~/.ray, which Ray itself leaves open

    def refused(**options):
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        said = run_main(monkeypatch, tmp_path, "ablate", "study.yaml", *words)
        assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]
        return one_message((said.code, said.out, said.err))

    return refused


def test_an_address_where_nobody_is_is_refused(refused, tmp_path):
    storage = tmp_path / "wrong"
    assert "no Ray cluster answers there (Connection refused)" in refused(storage=storage, address="127.0.0.1:9")
    said = refused(storage=storage, address="job:http://127.0.0.1:9")
    assert "no Ray dashboard answers there" in said and "ray dashboard ray_cluster.yaml" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"storage": "studies"}, "would be a folder of the job, gone with it"),
        ({"tracking_uri": "http://me:hush@mlflow:5000"}, "has a password, which everyone who sees the cluster's jobs"),
    ],
)
def test_what_would_be_lost_or_shown_in_a_job_is_refused(changes, said, refused):
    message = refused(**{"storage": "/mnt/fsg", "address": "job:http://127.0.0.1:9"} | changes)
    assert said in message and "hush" not in message


# What is refused, in one message and with nothing begun -----------------------------------------------------------------
def one_message(result):
    code, out, err = result
    assert code == 2
    assert "Traceback" not in out + err
    assert "recorded in" not in out
    return next(line for line in err.splitlines() if line.startswith("fsg: "))


def test_a_wrong_token_is_refused_and_nothing_begins(cluster, project):
    words = ("ablate", "study.yaml", "--storage", cluster.folder / "wrong")
    said = one_message(cluster.fsg(*words, "--address", cluster.address, cwd=project, RAY_AUTH_TOKEN=WRONG))
    assert "a Ray cluster is there, but it refuses our token. Put the cluster's token into" in said
    said = one_message(cluster.fsg(*words, "--address", cluster.jobs, cwd=project, RAY_AUTH_TOKEN=WRONG))
    assert "the cluster refuses our token, or wants one" in said
    assert not (cluster.folder / "wrong").exists()


@pytest.mark.long
def test_a_gpu_that_the_cluster_does_not_have_is_refused(cluster, project):
    words = ("ablate", "study.yaml", "--storage", cluster.folder / "wrong", "--address", cluster.address)
    said = one_message(cluster.fsg(*words, "--gpus-per-trial", "0.5", cwd=project))
    assert said.startswith("fsg: --gpus-per-trial is 0.5, and there are 0 GPUs.")
    assert not (cluster.folder / "wrong").exists()


@pytest.mark.long
def test_a_storage_that_is_full_on_a_node_is_refused(cluster, project):
    disk = cluster.folder / "disk"
    disk.mkdir()
    with small_disk(disk, 2**20):
        (disk / "taken").write_bytes(b"x" * 2**18)
        result = cluster.fsg("ablate", "study.yaml", "--storage", disk, "--address", cluster.address, cwd=project)
        assert one_message(result) == "fsg: The cluster is not fit for this study; nothing was started."
        (line,) = result[2].strip().splitlines()[1:]
        assert line.startswith("node 1 (") and f"{disk} cannot be written (No space left on device)." in line
        assert [path.name for path in disk.iterdir()] == ["taken"]


# The doctor ------------------------------------------------------------------------------------------------------------
def test_the_doctor_looks_at_every_node_in_one_document_and_leaves_no_trace(cluster):
    storage = cluster.folder / "examined"
    code, out, err = cluster.fsg("doctor", "--cluster", "--address", cluster.address, "--storage", storage, "--json")
    assert code == 0, out + err
    found = DoctorDocument.model_validate_json(out)
    assert found.fine and all(check.fine for check in found.checks)
    assert [check.name for check in found.checks] == ["address", "node", "versions", "storage", "tracking", "clocks"]
    assert list(storage.iterdir()) == []


@pytest.mark.long
def test_the_doctor_says_what_to_mend(cluster):
    away = f"http://127.0.0.1:{free_port()}"
    code, out, _ = cluster.fsg(
        "doctor", "--cluster", "--address", cluster.address, "--storage", cluster.folder / "examined",
        "--tracking-uri", away, "--gpu-kind", "A10G",
    )  # fmt: skip
    assert code == 1
    assert f"the tracking server {away} cannot be reached from here" in out
    assert "no node has a GPU of the kind A10G; there are: none." in out


# A study sent there ----------------------------------------------------------------------------------------------------
@pytest.mark.long
def test_a_study_goes_on_without_who_sent_it_ends_when_told_to_and_then_goes_on_where_it_was(cluster, project):
    """Ctrl-C leaves it to itself, ``attach --stop`` ends it; sent again it survives that the laptop closes, and is picked up."""
    long = STUDY | {"name": "long", "base": STUDY["base"] | {"epochs": 300}}
    (project / "long.yaml").write_text(yaml.safe_dump(long))
    storage = cluster.folder / "shared"
    study = StudyFolder(storage / "long")
    send = ("ablate", "long.yaml", "--storage", storage, "--address", cluster.jobs)
    attach = ("attach", "long", "--address", cluster.jobs)

    def epochs(more_than, seconds=120):
        """How many the ledger has, once these are more."""
        end = time.monotonic() + seconds
        while (count := sum(e["event"] == "epoch" for e in study.ledger().read())) <= more_than:
            assert time.monotonic() < end, "no progress"
            time.sleep(0.1)
        return count

    sender = cluster.start(*send, cwd=project, source=project)
    said = sender.stdout.readline()
    assert said.startswith(f"long runs on http://127.0.0.1:{cluster.dashboard} as raysubmit_"), sender.stderr.read()
    code, _, err = cluster.fsg(*send, cwd=project, source=project)
    assert code == 1 and "runs on" in err and "already" in err and "fsg attach long" in err
    epochs(0)
    sender.send_signal(signal.SIGINT)
    out, err = sender.communicate(timeout=60)
    assert (sender.returncode, err) == (0, ""), "Ray's own words reached the user"
    assert f"The study goes on. Follow it again with: fsg attach long --address {cluster.jobs}" in out
    left_at = epochs(epochs(0))

    code, out, err = cluster.fsg(*attach, "--stop")
    assert (code, err) == (0, ""), out
    assert "Stopped. Go on with: fsg resume" in out, "the driver had no time to say its last"
    assert out.endswith("Stopped there. Sending its file again goes on with it.\n")
    left = {trial.status for trial in study.state().trials.values()}
    assert "running" in left <= {"running", "finished"}
    assert driver_of(study.path)["alive"] is False

    laptop = cluster.start(*send, cwd=project, source=project)
    assert laptop.stdout.readline().startswith("long runs on"), laptop.stderr.read()
    laptop.kill()
    laptop.communicate()
    code, out, err = cluster.fsg(*attach)
    assert code == 0, out + err
    assert "2 of 2 trials done" in out and "Browse the arms side by side" in out
    events = study.ledger().read()
    assert sum(e["event"] == "finished" for e in events) == 2
    trained = [(e["key"], e["metrics"]["epoch"]) for e in events if e["event"] == "epoch"]
    assert len(trained) == len(set(trained)) == 2 * 300 > left_at, "an epoch was lost or run again"
    assert (storage / "mlflow.db").exists(), "beside the studies, not in the job's own folder"
    (shipped,) = [p.parent for p in cluster.folder.rglob("study.yaml") if "working_dir_files" in p.parts]
    assert sorted(path.name for path in shipped.iterdir()) == ["fsg", "long.yaml", "study.yaml"]
    assert (shipped / "fsg" / "data" / "__init__.py").exists()


def test_a_study_that_was_refused_there_exits_as_it_would_here(cluster, project):
    send = ("ablate", "study.yaml", "--storage", cluster.folder / "wrong", "--address", cluster.jobs)
    code, out, err = cluster.fsg(*send, "--gpus-per-trial", "1", cwd=project, source=project)
    assert (code, err) == (2, f"fsg: small failed on {cluster.jobs[4:]}; what it said stands above.\n")
    assert "fsg: --gpus-per-trial is 1, and there are 0 GPUs." in out
    assert not (cluster.folder / "wrong").exists()


@pytest.mark.parametrize("token", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_job_is_sent_by_the_commands_of_kuberays_submitter_with_the_token_alone(cluster, token):
    """As its operator writes them for a RayJob (1.6: BuildJobSubmitCommand); ``authOptions`` gives the pod the two variables."""
    server, job = cluster.jobs.removeprefix("job:"), f"fsg-{token}"
    known = f"ray job status --address {server} {job} >/dev/null 2>&1"
    send = f"ray job submit --address {server} --submission-id {job} --no-wait -- fsg --version"
    follow = f"ray job logs --address {server} --follow {job}"
    gone = () if token else ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
    environment = {name: value for name, value in cluster.environment.items() if name not in gone}
    words = ["bash", "-ce", f"if ! {known} ; then {send} ; fi ; {follow}"]
    sent = subprocess.run(words, env=environment, cwd=cluster.folder, capture_output=True, text=True, timeout=400)
    assert (sent.returncode == 0) == token, sent.stderr
    assert ("succeeded" in sent.stdout) == token
    assert ("Missing authentication token" in sent.stdout + sent.stderr) == (not token)


@pytest.mark.long
def test_a_study_that_was_never_sent_cannot_be_attached(cluster):
    assert 'no job of a study "other" is known there' in one_message(
        cluster.fsg("attach", "other", "--address", cluster.jobs)
    )


def test_a_cluster_on_loopback_listens_on_loopback_alone(cluster):
    """What a local study starts, too: the same setting keeps it there."""
    ours = {process.pid for process in psutil.Process(cluster.head.pid).children(recursive=True)}
    listening = {
        c.laddr.ip.removeprefix("::ffff:")
        for c in psutil.net_connections("tcp")
        if c.status == "LISTEN" and c.pid in ours
    }
    assert listening == {"127.0.0.1"}
