#!/usr/bin/env bash
# `ray symmetric-run` exits with 0 where Ray did not start and the command was never run.
#
# Date: 2026-11-28
# Packages: ray 2.60.0
# Guess: the command that Ray's pages give for SLURM, `srun ray symmetric-run --address HOST:PORT -- COMMAND`, fails where
#   Ray cannot start, as where another job on the node has the port: its exit code is the command's, or not 0.
# Seen: it says "Failed to start Ray", runs `ray stop`, and exits with 0; the command was not run. A command that fails
#   does hand on its code.
# Means: a batch system counts a job that did nothing as COMPLETED, and what depends on it begins. The `ray stop` has no
#   address either: it ends every Ray of this user on the machine, other jobs' too.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'ray[default]==2.60.0'
cd "$work"
# In a space of processes of its own: a Ray that runs here already would be found by the first check, and stopped at the end.
space=(unshare --user --map-root-user --pid --fork --kill-child --mount-proc)
"${space[@]}" true 2>/dev/null || { echo "no space of processes can be made here, so it was not tried"; exit 0; }
export PATH="$work/venv/bin:$PATH" RAY_USAGE_STATS_ENABLED=0 RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 RAY_TMPDIR="$work/ray"
"${space[@]}" "$work/venv/bin/python" - <<'PY'
import socket
import subprocess
import sys
from pathlib import Path

import ray

print(f"ray {ray.__version__}", flush=True)


def symmetric_run(port, *command):
    """Its exit code, what it said, and whether the command ran."""
    words = ["ray", "symmetric-run", "--address", f"127.0.0.1:{port}", "--num-cpus=1", "--include-dashboard=false", "--"]
    Path("ran").unlink(missing_ok=True)
    done = subprocess.run([*words, *command], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr, Path("ran").exists()


with socket.socket() as another:
    another.bind(("127.0.0.1", 0))
    another.listen()
    code, said, ran = symmetric_run(another.getsockname()[1], "touch", "ran")
    print(f"a port that is taken: exit {code}, the command {'ran' if ran else 'was not run'}")
    print(*[line for line in said.splitlines() if line.startswith("Failed to start Ray")], sep="\n")
if ran or code != 0 or "Failed to start Ray" not in said:
    sys.exit("changed: a Ray that did not start is no success any more, or the port is no hindrance")
PY
