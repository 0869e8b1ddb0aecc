"""Machines on one machine: each has its own network, processes, host name, /tmp and /dev/shm, and shares the other folders.

They are namespaces that no name keeps: all of it is gone once the process that made it has ended, however it ends. Nothing of
the machine's own network, users or folders is touched. Needs root and util-linux, iproute2 and, for users, setpriv.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

NETWORK = "198.18.78"  # set aside for tests of network devices (RFC 2544)
USERS = {"alice": 3001, "bob": 3002}
_BOUND = ["setpriv", "--pdeathsig", "KILL"]  # what follows dies with us


def missing() -> str | None:
    """Why such machines cannot be made here; None if they can."""
    if os.geteuid() != 0:
        return "machines in namespaces need root"
    for tool, package in (("ip", "iproute2"), ("nsenter", "util-linux"), ("setpriv", "util-linux")):
        if shutil.which(tool) is None:
            return f"{tool} is missing: apt-get install {package}"
    tried = [
        "unshare",
        "--net",
        "--mount",
        "--uts",
        "--pid",
        "--fork",
        "--mount-proc",
        "mount",
        "-t",
        "tmpfs",
        "none",
        "/mnt",
    ]
    done = subprocess.run(tried, capture_output=True, text=True)
    return f"no namespaces here: {done.stderr.strip()}" if done.returncode else None


class Machines:
    """Machines of these names; ``work`` is a folder that all of them have, as a cluster has shared storage.

    Use as a context manager. Users alice and bob are known on the machines alone; their homes are ``work/home/NAME``, the same
    folder on all machines or, with ``own_homes``, each machine's own. ``as_debian``: every machine knows its own name as
    127.0.1.1, as Debian and Ubuntu write it into /etc/hosts.
    """

    def __init__(self, names: list[str], work: Path, own_homes: bool = False, as_debian: bool = False) -> None:
        self.names, self.work, self._own_homes, self._as_debian = names, work, own_homes, as_debian
        self._pids: dict[str, int] = {}
        self._undo = ExitStack()

    def __enter__(self) -> "Machines":
        with self._undo:  # what was made is unmade where the rest fails
            self._write_files()
            switch = self._hold([*_BOUND, "unshare", "--net", "sleep", "infinity"])
            _inside(switch, "ip", "link", "add", "switch", "type", "bridge")
            _inside(switch, "ip", "link", "set", "switch", "up")
            for name in self.names:
                spaces = ["--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
                pid = self._pids[name] = self._hold([*_BOUND, "unshare", *spaces, "bash", str(self._init(name))])
                _inside(
                    switch, "ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", str(pid)
                )
                _inside(switch, "ip", "link", "set", f"to-{name}", "master", "switch", "up")
                _inside(pid, "ip", "link", "set", "lo", "up")
                _inside(pid, "ip", "address", "add", f"{self.address(name)}/24", "dev", "eth0")
                _inside(pid, "ip", "link", "set", "eth0", "up")
                _until(lambda name=name: (self.work / f"up-{name}").exists(), f"{name} did not come up")
            self._undo = self._undo.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._undo.close()

    def address(self, name: str) -> str:
        """On the switch."""
        return f"{NETWORK}.{10 + self.names.index(name)}"

    def command(self, name: str, user: str, *words: str, cwd: Path | None = None, **environment: str) -> list[str]:
        """What runs ``words`` on a machine as a user who has just logged in."""
        pid, home = self._pids[name], Path("/root") if user == "root" else self.work / "home" / user
        spaces = [
            "-t",
            str(pid),
            "-n",
            "-m",
            "-u",
            "-i",
            f"--pid=/proc/{pid}/ns/pid_for_children",
        ]
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user != "root" else []
        path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        known = {
            "HOME": str(home),
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/bash",
            "PATH": path,
            "LANG": "C.UTF-8",
        }
        return [
            "nsenter", *spaces, "--", *become, "env", "-i", "-C", str(cwd or home),
            *(f"{key}={value}" for key, value in (known | environment).items()), *words,
        ]  # fmt: skip

    def call(
        self, name: str, user: str, *words: str, timeout: float = 60, cwd: Path | None = None, **environment: str
    ) -> str:
        """Run ``words`` to their end; what they said. AssertionError, with that, where they failed."""
        command = self.command(name, user, *words, cwd=cwd, **environment)
        ran = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert ran.returncode == 0, f"{' '.join(words)} on {name}: exit {ran.returncode}\n{ran.stdout[-4000:]}"
        return ran.stdout

    def processes(self, name: str) -> dict[int, str]:
        """Command lines on a machine, by their number outside of it."""
        space = Path(f"/proc/{self._pids[name]}/ns/pid_for_children").readlink()
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (place / "ns/pid").readlink() == space:
                    found[int(place.name)] = (
                        (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    )
        return found

    def _hold(self, command: list[str]) -> int:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=(self.work / "machines.log").open("a"), start_new_session=True,
        )  # fmt: skip
        self._undo.callback(process.wait)
        self._undo.callback(process.kill)
        ours = Path("/proc/self/ns/net").readlink()
        _until(lambda: Path(f"/proc/{process.pid}/ns/net").readlink() != ours, f"{command} made no namespace")
        return process.pid

    def _write_files(self) -> None:
        self.work.chmod(0o755)
        for name in self.names:
            own = "127.0.1.1" if self._as_debian else self.address(name)
            known = {"localhost": "127.0.0.1"} | {other: self.address(other) for other in self.names} | {name: own}
            (self.work / f"hosts-{name}").write_text("".join(f"{at} {of}\n" for of, at in known.items()))
        for file, line in (("passwd", "{0}:x:{1}:{1}:{0}:{2}:/bin/bash\n"), ("group", "{0}:x:{1}:\n")):
            lines = [line.format(user, uid, self.work / "home" / user) for user, uid in USERS.items()]
            (self.work / file).write_text(Path(f"/etc/{file}").read_text() + "".join(lines))
        for user, uid in USERS.items():
            home = self.work / "home" / user
            shutil.copytree("/etc/skel", home)
            for path in (home, *home.iterdir()):
                os.chown(path, uid, uid)

    def _init(self, name: str) -> Path:
        """The first process of a machine: it mounts what is the machine's own, and waits for its end."""
        lines = ["set -e", f"hostname {name}", "mount --make-rprivate /"]
        files = {"hosts": f"hosts-{name}", "passwd": "passwd", "group": "group"}
        lines += [f"mount --bind {self.work / file} /etc/{place}" for place, file in files.items()]
        if self._own_homes:
            homes = self.work / f"home-{name}"
            homes.mkdir()
            lines += [f"cp -a {self.work}/home/. {homes}", f"mount --bind {homes} {self.work / 'home'}"]
        lines += _opened(
            [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[3]], self.work / f"stash-{name}"
        )
        lines += ["mount -t tmpfs -o mode=1777 none /dev/shm", f"touch {self.work / f'up-{name}'}"]
        lines += ["while :; do sleep 1 & wait || true; done"]
        script = self.work / f"init-{name}.sh"
        script.write_text("\n".join(lines) + "\n")
        return script


def _opened(needed: list[Path], stash: Path) -> list[str]:
    """Commands that give a machine a /tmp of its own, and every user the way to ``needed`` where they lie in a closed folder."""
    tops: dict[Path, list[Path]] = {Path("/tmp"): []}
    for path in {path.resolve() for path in needed}:
        for folder in reversed(path.parents):
            if folder == Path("/tmp") or not folder.stat().st_mode & 0o001:
                tops.setdefault(folder, []).append(path)
                break
    lines, moved = [], iter(range(99))
    for top, paths in tops.items():
        kept = [(path, f"{stash}/{next(moved)}") for path in paths]
        for path, aside in kept:
            lines += [f"mkdir -p {aside}", f"mount --bind {path} {aside}"]
        lines += [f"mount -t tmpfs -o mode={'1777' if top == Path('/tmp') else '755'} none {top}"]
        for path, aside in kept:
            lines += [f"mkdir -p {path}", f"mount --bind {aside} {path}", f"umount {aside}"]
    return lines


def _inside(pid: int, *command: str) -> None:
    subprocess.run(["nsenter", "-t", str(pid), "-n", *command], check=True, capture_output=True)


def _until(condition, problem: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, problem
        time.sleep(0.02)


def kill(pid: int) -> None:
    """At once."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
