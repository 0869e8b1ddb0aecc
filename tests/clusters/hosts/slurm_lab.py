"""A real Slurm: slurmctld on a machine of its own, slurmd on each node, munge between them; jobs of alice and bob.

Two partitions hold all nodes; what waits in ``high`` preempts what runs in ``low``. Processes are tracked as on most clusters, by
cgroups, where this kernel has them in the form that Debian's Slurm takes without systemd. Needs Debian's slurm-wlm and munge.
"""

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import machines
from machines import Machines

CONTROL = "ctl"
FREEZER = Path("/sys/fs/cgroup/freezer")
CONF = """
ClusterName=lab
SlurmctldHost={control}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={work}/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType={tracking}
TaskPlugin=task/none
ReturnToService=2
SlurmctldPidFile={work}/slurmctld.pid
SlurmdPidFile={work}/slurmd.%n.pid
StateSaveLocation={work}/state
SlurmdSpoolDir={work}/spool/%n
SlurmctldLogFile={work}/slurmctld.log
SlurmdLogFile={work}/slurmd.%n.log
SlurmdDebug=debug
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2{parameters}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait={kill_wait}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=3600
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={nodes} Gres=gpu:2 CPUs=4 Sockets=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=8000 State=UNKNOWN
PartitionName=low Nodes={nodes} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace}
PartitionName=high Nodes={nodes} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
CGROUP = "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nCgroupAutomount=no\nConstrainCores=no\nConstrainRAMSpace=no\n"
OVER = {
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "DEADLINE",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
}


def missing() -> str | None:
    """Why there can be no Slurm here; None if there can."""
    for tool, package in (("slurmctld", "slurm-wlm"), ("slurmd", "slurm-wlm"), ("munged", "munge")):
        if shutil.which(tool) is None and not Path(f"/usr/sbin/{tool}").exists():
            return f"{tool} is missing: apt-get install {package}"
    return machines.missing()


class Slurm:
    """``nodes`` nodes of four cores (n1, n2, ...). Use as a context manager; ``work`` is a folder that all machines have.

    ``grace``: seconds that a preempted job has. ``kill_wait``: seconds between SIGTERM and SIGKILL of one that is ended.
    """

    def __init__(self, nodes: int = 2, grace: int = 60, kill_wait: int = 30, parameters: str = "") -> None:
        self.nodes = [f"n{number + 1}" for number in range(nodes)]
        self.work = Path(tempfile.mkdtemp(prefix="fsg-slurm-", dir="/var/tmp"))
        self._settings = {"grace": grace, "kill_wait": kill_wait, "parameters": f",{parameters}" if parameters else ""}
        self._hosts = Machines([CONTROL, *self.nodes], self.work, as_debian=True)
        self._by_cgroup = FREEZER.is_dir() and os.access(FREEZER, os.W_OK)

    def __enter__(self) -> "Slurm":
        try:
            self._hosts.__enter__()
            self._configure()
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self._hosts.__exit__()
        for group in self._groups():
            _remove(group)
        shutil.rmtree(self.work, ignore_errors=True)

    def on(self, node: str, user: str, *words: str, **options) -> str:
        """A command on a node, to its end; what it said."""
        return self._hosts.call(node, user, *words, **self._environment() | options)

    def start(self, node: str, user: str, *words: str, **environment: str) -> subprocess.Popen:
        """A command on a node, begun."""
        command = self._hosts.command(node, user, *words, **self._environment() | environment)
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def address(self, node: str) -> str:
        """By which others know it."""
        return self._hosts.address(node)

    def home(self, user: str) -> Path:
        """Of a user, on every machine."""
        return self.work / "home" / user

    def submit(self, user: str, folder: Path, *words: str, **environment: str) -> int:
        """``sbatch`` in ``folder``; the job's number. AssertionError where it is refused."""
        said = self.on(self.nodes[0], user, "sbatch", "--parsable", *words, cwd=folder, **environment)
        return int(said.strip().splitlines()[-1])

    def job(self, number: int) -> dict[str, str]:
        """What Slurm says of a job."""
        said = self.on(self.nodes[0], "root", "scontrol", "--oneliner", "show", "job", str(number))
        return dict(word.partition("=")[::2] for word in said.split() if "=" in word)

    def wait(self, number: int, states: set[str] = OVER, seconds: float = 240) -> dict[str, str]:
        """Until a job is in one of the states; what Slurm says of it then."""
        end = time.monotonic() + seconds
        while (said := self.job(number))["JobState"] not in states:
            assert time.monotonic() < end, f"job {number} is {said['JobState']} ({said['Reason']}), not {states}"
            time.sleep(0.3)
        return said

    def processes(self, node: str, word: str = "") -> list[str]:
        """Command lines on a node that contain ``word``."""
        return [line for line in self._hosts.processes(node).values() if word in line]

    def _environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.work / "etc/slurm.conf")}

    def _configure(self) -> None:
        etc = self.work / "etc"
        for folder in (
            etc,
            self.work / "state",
            self.work / "munge",
            *(self.work / "spool" / node for node in self.nodes),
        ):
            folder.mkdir(parents=True)
        tracking = "proctrack/cgroup" if self._by_cgroup else "proctrack/linuxproc"
        nodes = f"n[1-{len(self.nodes)}]"
        values = {"control": CONTROL, "work": self.work, "tracking": tracking, "nodes": nodes, **self._settings}
        (etc / "slurm.conf").write_text(CONF.format(**values))
        (etc / "cgroup.conf").write_text(CGROUP)
        gpus = [f"NodeName={nodes} Name=gpu File={file}\n" for file in ("/dev/zero", "/dev/full")]
        (etc / "gres.conf").write_text("".join(gpus))
        key = self.work / "munge/key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)

    def _begin(self) -> None:
        files = [
            f"--{name}={self.work / 'munge' / name}"
            for name in ("socket", "key-file", "pid-file", "log-file", "seed-file")
        ]
        files[1] = f"--key-file={self.work / 'munge/key'}"
        self.on(CONTROL, "root", "munged", "--force", *files)
        self.on(CONTROL, "root", "slurmctld")
        for node, group in zip(self.nodes, self._groups(), strict=False):
            group.mkdir(exist_ok=True)
            mount = ["mount", "--bind", str(group), str(FREEZER)]
            self.on(node, "root", *mount)
            self.on(node, "root", "slurmd")
        end = time.monotonic() + 30
        while "idle" not in (said := self.on(self.nodes[0], "root", "sinfo", "-h", "-p", "low", "-o", "%t %D")) or (
            str(len(self.nodes)) not in said
        ):
            assert time.monotonic() < end, f"{said}\n{self.log()}"
            time.sleep(0.2)

    def _groups(self) -> list[Path]:
        return [FREEZER / f"fsg-{self.work.name}-{node}" for node in self.nodes] if self._by_cgroup else []

    def log(self) -> str:
        """The daemons' last words."""
        return "\n".join(
            f"{file.name}: {file.read_text(errors='replace')[-3000:]}" for file in self.work.glob("slurm*.log")
        )


def _remove(group: Path, seconds: float = 10) -> None:
    """A group of processes and those in it, once the kernel has buried what was in them."""
    end = time.monotonic() + seconds
    while group.is_dir() and time.monotonic() < end:
        with suppress(OSError):
            for folder in sorted((folder for folder in group.rglob("*") if folder.is_dir()), reverse=True):
                folder.rmdir()
            group.rmdir()
        time.sleep(0.05)
