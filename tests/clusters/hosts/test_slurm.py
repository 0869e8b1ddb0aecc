"""``clusters/slurm.sbatch`` on a real Slurm of two nodes: what a user types, and what the job and its log then are.

Where there can be no Slurm the tests are skipped and say why. Seen on two busy cores: seven
seconds for the short ones, 13 minutes for the long ones.
"""

import os
import shutil
import stat
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import yaml
from machines import USERS
from slurm_lab import Slurm, missing

from fsg.bench.faults import promises
from fsg.config import canonical_json
from fsg.record.folder import StudyFolder

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

ROOT = Path(__file__).parents[3]
TRIALS = 8
STUDY = {
    "name": "small", "seeds": [0, 1, 2, 3], "metric": {"name": "val_accuracy", "mode": "max"},
    "arms": {"slow": {"optimizer": {"lr": 0.003}}}, "baselines": ["ste"],
    "base": {"gradient": "ste", "epochs": 30, "device": "cpu", "data": {"name": "digits", "batch_size": 64}},
}  # fmt: skip
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "RAY_memory_monitor_refresh_ms": "0",
    "RAY_raylet_start_wait_time_s": "60",  # 30 is short for a busy machine
}  # fmt: skip
PATIENCE = 600.0  # seconds for the longest step of a story


@pytest.fixture(scope="module")
def slurm():
    with Slurm(nodes=2) as made:
        yield made


def project(slurm, user, name="project"):
    """A working tree in a user's home, as a cluster's users have it: the package, the script, an environment, a study."""
    tree = slurm.home(user) / name
    if not tree.exists():
        shutil.copytree(ROOT / "fsg", tree / "fsg", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "clusters", tree / "clusters")
        (tree / ".venv").symlink_to(Path(sys.prefix).resolve())
        (tree / "small.yaml").write_text(yaml.safe_dump(STUDY))
        for path in (tree, *tree.rglob("*")):
            os.chown(path, USERS[user], USERS[user], follow_symlinks=False)
    return tree


def submit(slurm, user, *words, options=(), tree=None):
    """The number of a job of the script with one core a node and no GPU, and its log. AssertionError where it is refused."""
    tree = tree or project(slurm, user)
    line = ["clusters/slurm.sbatch", "--nodes=2", "--cpus-per-task=1", "--gpus-per-node=0", *options, *words]
    told = slurm.on(slurm.nodes[0], user, "bash", *line, cwd=tree, PYTHONPATH=str(tree), **ENVIRONMENT)
    job = int(told.split("Submitted batch job ")[1])
    return job, tree / f"fsg-{job}.log"


def said(log):
    return log.read_text(errors="replace") if log.exists() else ""


def left(slurm, job, user):
    """What a job has left on the nodes and in the tree."""
    found = [
        line
        for node in slurm.nodes
        for line in slurm.processes(node)
        if f"ray-{job}/" in line or "fsg" in line.split("/")
    ]
    found += [str(path) for path in project(slurm, user).glob(f".ray-token-{job}")]
    for node in slurm.nodes:
        found += [name for name in slurm.on(node, "root", "ls", "/tmp").split() if name == f"ray-{job}"]
    return found


def until(condition, what, log=None, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}\n{said(log)[-3000:] if log else ''}"
        time.sleep(0.5)


# Short -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--array=0-1", "a study is one job; several of an array would drive it at once. Leave --array out."),
        ("--gpus=3", "--gpus is shared out unevenly between nodes. Give --gpus-per-node instead."),
    ],
)
def test_what_slurm_allows_and_a_study_cannot_use_is_refused_with_exit_2(slurm, option, message):
    tree = project(slurm, "alice")
    script = (tree / "clusters/slurm.sbatch").read_text().replace("#SBATCH --gpus-per-node=4 ", "# ")
    (tree / "own.sbatch").write_text(script)
    words = ["--nodes=2", "--cpus-per-task=1", "--output=refused.log", "--open-mode=truncate", option, "own.sbatch"]
    ended = slurm.wait(slurm.submit("alice", tree, *words, "ablate", "small.yaml"))
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", "2:0")
    assert message in said(tree / "refused.log")


@pytest.mark.parametrize(
    "option", ["--nodes=9", "--gpus-per-node=4", "--cpus-per-task=16", "--partition=none", "--nodes=many"]
)
def test_what_slurm_cannot_give_is_refused_beforehand_with_what_it_has(slurm, option):
    """Slurm itself takes some of these, and keeps them waiting."""
    with pytest.raises(AssertionError) as refused:
        submit(slurm, "alice", "ablate", "small.yaml", options=[option])
    assert " exit 2\nslurm.sbatch: SLURM cannot give such a job: " in str(refused.value)
    assert "\nlow: 2 nodes with 4 cores, 8000 MB, generic resources gpu:2, for infinite at most\n" in str(refused.value)
    assert slurm.on("n1", "alice", "squeue", "--noheader") == ""


def test_without_being_asked_slurm_keeps_a_job_that_can_never_begin(slurm):
    """What docs/cluster.md says of `sbatch` itself."""
    tree = project(slurm, "alice")
    words = ["--nodes=9", "--cpus-per-task=1", "--gpus-per-node=0", "clusters/slurm.sbatch", "ablate", "small.yaml"]
    job = slurm.submit("alice", tree, *words)
    until(lambda: slurm.job(job)["Reason"] not in ("None", "Priority"), "no reason is given")
    assert slurm.job(job)["Reason"] == "PartitionConfig"
    slurm.on("n1", "alice", "scancel", str(job))


def test_a_job_in_which_ray_does_not_start_is_failed_and_says_so(slurm):
    tree = project(slurm, "alice", "broken")
    (tree / ".venv").unlink()
    for name, body in (("ray", "echo 'no room here'; exit 1"), ("python", f'exec {sys.prefix}/bin/python "$@"')):
        command = tree / ".venv/bin" / name
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text(f"#!/bin/sh\n{body}\n")
        command.chmod(0o755)
    job, log = submit(slurm, "alice", "ablate", "small.yaml", tree=tree)
    ended = slurm.wait(job)
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", "1:0")
    assert "n2: Ray did not start (try 5 of 5): no room here" in said(log)
    assert "Ray did not start on all 2 nodes, so nothing was run; why is said above." in said(log)
    assert list(tree.glob(".ray-token*")) == []


# Long: both nodes; a study that is cancelled, runs out of time and is preempted ----------------------------------------
@pytest.mark.long
def test_a_job_of_two_nodes_has_both_and_leaves_nothing_behind(slurm):
    """The doctor stands for a study: it asks every node, and takes ten seconds. A node knows its own name as 127.0.1.1."""
    assert slurm.on("n1", "alice", "getent", "ahostsv4", "n1").split()[0] == "127.0.1.1"
    job, log = submit(slurm, "alice", "doctor", "--cluster")
    token = project(slurm, "alice") / f".ray-token-{job}"
    until(lambda: token.exists() and token.stat().st_size == 64, "no token was made", log)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    ended = slurm.wait(job, seconds=PATIENCE)
    assert ended["JobState"] == "COMPLETED", said(log)
    for node in slurm.nodes:
        assert f"({node}, {slurm.address(node)}): no GPU" in said(log)
    assert left(slurm, job, "alice") == []


class Story:
    """One study, of which each job does a part; what was seen after each."""

    def __init__(self, slurm):
        self.slurm, self.folder = slurm, StudyFolder(project(slurm, "alice") / "studies" / "small")
        self.logs, self.ends, self.rests = {}, {}, {}

    def events(self):
        return self.folder.ledger().read() if self.folder.ledger_path.exists() else []

    def finished(self):
        return sum(event["event"] == "finished" for event in self.events())

    def begin(self, name, *options):
        job, self.logs[name] = submit(self.slurm, "alice", "ablate", "small.yaml", options=options)
        before = len(self.events())

        def runs():
            return any(event["event"] == "epoch" for event in self.events()[before:])

        until(runs, f"{name}: nothing was trained", self.logs[name])
        return job

    def over(self, name, job, states):
        self.ends[name] = self.slurm.wait(job, states, PATIENCE)
        self.rests[name] = left(self.slurm, job, "alice")


@pytest.fixture(scope="module")
def story(slurm):
    tale = Story(slurm)
    job = tale.begin("cancelled")
    # Beside alice's Ray, and beside each other.
    guests = [submit(slurm, "bob", "doctor", "--cluster", options=["--nodes=1", "--nodelist=n1"]) for _ in range(2)]
    until(lambda: tale.finished() >= 1, "no trial finished", tale.logs["cancelled"])
    slurm.on("n1", "alice", "scancel", str(job))
    tale.over("cancelled", job, {"CANCELLED"})
    tale.guests = [(slurm.wait(guest, seconds=PATIENCE), said(log)) for guest, log in guests]

    job = tale.begin("out of time", "--signal=TERM@60")
    minutes = int(slurm.job(job)["RunTime"].split(":")[1]) + 2
    slurm.on("n1", "alice", "scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")
    tale.over("out of time", job, {"FAILED", "TIMEOUT", "COMPLETED"})

    job = tale.begin("preempted", "--partition=low")
    urgent = slurm.submit("bob", slurm.home("bob"), "--partition=high", "--nodes=2", "--exclusive", "--wrap", "sleep 5")
    tale.over("preempted", job, {"PENDING"})
    slurm.wait(urgent)
    tale.over("gone on", job, {"COMPLETED", "FAILED", "CANCELLED"})
    return tale


@pytest.mark.long
def test_a_cancelled_job_stops_its_study_cleanly(story):
    assert story.ends["cancelled"]["JobState"] == "CANCELLED"
    assert "Stopped. Go on with: fsg resume small" in said(story.logs["cancelled"])
    assert story.rests["cancelled"] == []


@pytest.mark.long
def test_another_users_jobs_on_the_same_node_are_no_hindrance(story):
    for ended, log in story.guests:
        assert ended["JobState"] == "COMPLETED", log


@pytest.mark.long
def test_a_job_whose_time_is_up_hears_it_before_and_ends_with_the_studys_code(story):
    assert (story.ends["out of time"]["JobState"], story.ends["out of time"]["ExitCode"]) == ("FAILED", "130:0")
    assert "Stopped. Go on with: fsg resume small" in said(story.logs["out of time"])
    assert story.rests["out of time"] == []


@pytest.mark.long
def test_a_preempted_job_stops_is_queued_again_and_goes_on_by_itself(story):
    assert story.rests["preempted"] == []
    assert (story.ends["gone on"]["JobState"], story.ends["gone on"]["Restarts"]) == ("COMPLETED", "1")
    log = said(story.logs["preempted"])
    stopped, report = log.index("Stopped. Go on with: fsg resume small"), log.index("Browse the arms side by side")
    assert stopped < report, "the log was begun anew"


@pytest.mark.long
def test_four_jobs_have_the_results_of_none_that_was_interrupted(story):
    trials = story.folder.state().trials
    assert Counter(trial.status for trial in trials.values()) == {"finished": TRIALS}
    configs = {canonical_json(trial.config): trial.config for trial in trials.values()}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        twins = dict(zip(configs, pool.map(promises.uninterrupted, configs.values()), strict=True))
    broken = promises.of_the_ledger(story.events(), lambda config: twins[canonical_json(config)], planned=TRIALS)
    assert broken == []
    assert stat.S_IMODE(story.folder.ledger_path.stat().st_mode) & 0o444 == 0o444, (
        "the token's umask was left to the study"
    )
    nodes = {event["node"] for event in story.events() if event["event"] == "started"}
    assert nodes == {story.slurm.address(node) for node in story.slurm.nodes}
