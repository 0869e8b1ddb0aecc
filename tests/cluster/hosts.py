"""Several hosts on one machine: network namespaces, each with an address, joined by a bridge in a namespace of its own.

Nothing of the machine's own network is touched; the file system is shared, as a cluster's storage is. A host can be cut off
(its cable pulled at the bridge), killed (every process in it), and its link slowed and made lossy: by netem where the kernel
has it, else by a token bucket and nftables' random drops. A folder can be hidden from it and a port closed to it. Needs root,
iproute2, nftables and util-linux.
"""

import os
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

NETWORK = "198.18.77"  # set aside for tests of network devices (RFC 2544)


def missing() -> str | None:
    """Why hosts cannot be made here; None if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool, package in (("ip", "iproute2"), ("tc", "iproute2"), ("nft", "nftables"), ("nsenter", "util-linux")):
        if shutil.which(tool) is None:
            return f"{tool} is missing: apt-get install {package}"
    tried = subprocess.run(["ip", "netns", "add", "fsg-probe"], capture_output=True, text=True)
    if tried.returncode:
        return f"no network namespaces here: {tried.stderr.strip()}"
    _ip("netns", "delete", "fsg-probe")
    return None


class Hosts:
    """``count`` hosts, named by number; ``address(0)`` is the first one's. Use as a context manager."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._switch = f"fsg-{os.getpid()}-switch"
        self._undo = ExitStack()

    def __enter__(self) -> "Hosts":
        with self._undo:  # whatever was made is unmade where the rest fails
            self._add(self._switch)
            self._at_switch("ip", "link", "add", "bridge", "type", "bridge")
            self._at_switch("ip", "link", "set", "bridge", "up")
            for host in range(self.count):
                self._add(self.name(host))
                port, cable = f"port{host}", ["type", "veth", "peer", "name", "eth0", "netns", self.name(host)]
                self._at_switch("ip", "link", "add", port, *cable)
                self._at_switch("ip", "link", "set", port, "master", "bridge", "up")
                self.call(host, "ip", "link", "set", "lo", "up")
                self.call(host, "ip", "address", "add", f"{self.address(host)}/24", "dev", "eth0")
                self.call(host, "ip", "link", "set", "eth0", "up")
            self._undo = self._undo.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._undo.close()

    def name(self, host: int) -> str:
        """Of its namespace."""
        return f"fsg-{os.getpid()}-{host}"

    def address(self, host: int) -> str:
        """On the bridge."""
        return f"{NETWORK}.{host + 1}"

    def start(self, host: int, *command: str, env: dict[str, str], log: Path) -> subprocess.Popen:
        """A process on the host, in a session of its own; what it says goes to ``log``."""
        with log.open("ab") as out:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name(host), *command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=env, start_new_session=True,
            )  # fmt: skip

    def call(self, host: int, *command: str, env: dict[str, str] | None = None, timeout: float = 120) -> str:
        """Run a command on the host to its end; what it said. AssertionError, with that, where it failed."""
        ran = subprocess.run(
            ["ip", "netns", "exec", self.name(host), *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=timeout,
        )  # fmt: skip
        assert ran.returncode == 0, f"{' '.join(command)} on host {host}: exit {ran.returncode}\n{ran.stdout}"
        return ran.stdout

    def processes(self, host: int) -> list[int]:
        """Of the host."""
        found = subprocess.run(["ip", "netns", "pids", self.name(host)], capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def cut_off(self, host: int) -> None:
        """Pull its cable."""
        self._at_switch("ip", "link", "set", f"port{host}", "down")

    def plug_in(self, host: int) -> None:
        """Put it back."""
        self._at_switch("ip", "link", "set", f"port{host}", "up")

    def kill(self, host: int) -> None:
        """End every process on it at once, as a power cut does."""
        while pids := self.processes(host):
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)

    def hide(self, host: int, folder: Path) -> None:
        """Show an empty folder in its place to all that runs on the host now: every `ip netns exec` has mounts of its own."""
        views = {}
        for pid in self.processes(host):
            with suppress(OSError):  # it has ended
                views[Path(f"/proc/{pid}/ns/mnt").readlink()] = pid
        for pid in views.values():
            mount = ["mount", "-t", "tmpfs", "none", str(folder)]
            subprocess.run(["nsenter", "-t", str(pid), "-m", *mount], check=True, capture_output=True)

    def close(self, host: int, port: int) -> None:
        """Refuse the host every connection to that port of another, as a firewall does that says so."""
        self.call(host, "nft", "add", "table", "inet", "closed")
        self.call(host, "nft", "add", "chain", "inet", "closed", "out", "{ type filter hook output priority 0 ; }")
        rule = ["tcp", "dport", str(port), "reject", "with", "tcp", "reset"]
        self.call(host, "nft", "add", "rule", "inet", "closed", "out", "oifname", "eth0", *rule)

    def worsen(self, host: int, mbit: int, loss_percent: int) -> str:
        """Slow its link in both directions and lose packets of it; how, in words."""
        ends = ((self._switch, f"port{host}"), (self.name(host), "eth0"))
        netem = ["netem", "rate", f"{mbit}mbit", "delay", "20ms", "loss", f"{loss_percent}%"]
        shaped = [_succeeds("tc", "-n", where, "qdisc", "add", "dev", device, "root", *netem) for where, device in ends]
        if all(shaped):
            return f"netem: {mbit} Mbit/s, 20 ms, {loss_percent} % lost, each way"
        for where, device in ends:
            bucket = ["tbf", "rate", f"{mbit}mbit", "burst", "32kb", "latency", "50ms"]
            subprocess.run(["tc", "-n", where, "qdisc", "replace", "dev", device, "root", *bucket], check=True)
        for hook in ("input", "output"):
            self.call(host, "nft", "add", "table", "inet", "lossy")
            chain = f"{{ type filter hook {hook} priority 0 ; }}"
            self.call(host, "nft", "add", "chain", "inet", "lossy", hook, chain)
            rule = ["iifname" if hook == "input" else "oifname", "eth0"]
            dice = ["numgen", "random", "mod", "100", "<", str(loss_percent)]
            self.call(host, "nft", "add", "rule", "inet", "lossy", hook, *rule, *dice, "drop")
        return f"token bucket of {mbit} Mbit/s and {loss_percent} % lost, each way (this kernel has no netem)"

    def _add(self, name: str) -> None:
        _ip("netns", "add", name)
        self._undo.callback(_ip, "netns", "delete", name)
        if name != self._switch:
            self._undo.callback(self.kill, int(name.rpartition("-")[2]))

    def _at_switch(self, *command: str) -> None:
        subprocess.run(["ip", "netns", "exec", self._switch, *command], check=True, capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0
