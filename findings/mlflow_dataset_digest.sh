#!/usr/bin/env bash
# The digest of MLflow's NumpyDataset sees the first 10,000 numbers: of CIFAR images, the first three.
#
# Date: 2026-11-28
# Packages: mlflow 3.17.2, numpy 2.4.6, pandas 3.1.1
# Guess: mlflow.data.from_numpy(images, targets=labels).digest changes when the data changes. Sampling rows of a large
#   data set would be understandable: some rows all over it.
# Seen: features and targets are flattened, and their first 10,000 values and shapes are hashed. Of 32 x 32 colour
#   images that is images 0 to 2 and a quarter of the fourth; all others can be zero, shuffled against their labels,
#   or another split, and the digest stays. Of a DataFrame it is the first 10,000 rows, without columns of arrays,
#   dates or true/false.
# Means: two runs with one digest may have trained on different data. Keep a digest of all bytes of each split beside
#   the run.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'mlflow==3.17.2' 'numpy==2.4.6' 'pandas==3.1.1'
cd "$work"
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_LOGGING_LEVEL=ERROR
"$work/venv/bin/python" - 2>"$work/log" <<'PY' || { tail -n 5 "$work/log" >&2; exit 1; }
import sys

import mlflow
import mlflow.data
import numpy as np
import pandas as pd

print(f"mlflow {mlflow.__version__}, numpy {np.__version__}, pandas {pd.__version__}", flush=True)
rng = np.random.default_rng(0)
images, labels = rng.integers(0, 256, (50_000, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, 50_000)
digest = mlflow.data.from_numpy(images, targets=labels).digest
blank, third = images.copy(), images.copy()
blank[4:] = 0
third[2] = 0
blank_digest = mlflow.data.from_numpy(blank, targets=labels).digest
third_digest = mlflow.data.from_numpy(third, targets=labels).digest
later = np.concatenate([labels[:10_000], rng.permutation(labels[10_000:])])
later_digest = mlflow.data.from_numpy(images, targets=later).digest
frame = pd.DataFrame({"accuracy": rng.normal(size=100), "kept": rng.random(100) > 0.5})
frame_digests = {mlflow.data.from_pandas(f).digest for f in (frame, frame.assign(kept=~frame["kept"]))}
print(f"50,000 images {digest}; all but four of them black {blank_digest}; labels from 10,000 on shuffled "
      f"{later_digest}; third image black {third_digest}; a true/false column inverted: {len(frame_digests)} digest")
if not (digest == blank_digest == later_digest != third_digest and len(frame_digests) == 1):
    sys.exit("changed: MLflow's dataset digest sees more than the first 10,000 values.")
PY
