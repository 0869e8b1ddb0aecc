#!/usr/bin/env bash
# `ray symmetric-run` ends with 0 where Ray did not start, and what it was to run has not run.
#
# Date: 2026-11-28
# Packages: ray 2.60.0
# Guess: the command that Ray's guide gives for batch jobs ends with the exit code of what it runs, and with another
#   than 0 where that could not be run. So a batch system sees a job that failed.
# Seen: one misspelt option, `--num-gpu=0` for `--num-gpus=0`. "Failed to start Ray" and the reason are printed, the
#   command is not run, and the exit code is 0; of any other reason for which `ray start` fails, too.
# Means: under Slurm such a job is COMPLETED: it is not queued again, no mail says FAILED, and what waits for its
#   success (`afterok`) begins. Let the command leave a mark that it ran, or start Ray by `ray start` and look at its
#   exit code.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'ray[default]==2.60.0'
cd "$work"
# It begins with a look for a Ray of this machine and ends with `ray stop`, which ends every one of this user. Here
# nothing is started, so others are left alone: nobody looks, and `stop` does nothing.
mkdir bin
printf '#!/bin/sh\n[ "$1" = stop ] || exec "%s" "$@"\n' "$work/venv/bin/ray" > bin/ray
chmod +x bin/ray
export PATH=$work/bin:$PATH RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 RAY_USAGE_STATS_ENABLED=0 PYTHONWARNINGS=ignore
"$work/venv/bin/python" - <<'PY'
import sys
from pathlib import Path

import ray
from ray.scripts import symmetric_run

print(f"ray {ray.__version__}", flush=True)
symmetric_run.check_ray_already_started = lambda: False
sys.argv[1:] = ["--address", "127.0.0.1:6379", "--num-gpu=0", "--", "touch", "ran"]
try:
    symmetric_run.symmetric_run()
    code = 0
except SystemExit as ended:
    code = ended.code or 0
ran = Path("ran").exists()
print(f"the exit code is {code}, and the command {'ran' if ran else 'did not run'}")
if code != 0 or ran:
    sys.exit("changed: the exit code says that Ray did not start")
PY
