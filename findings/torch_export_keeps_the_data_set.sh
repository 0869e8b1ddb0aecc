#!/usr/bin/env bash
# torch.export.save writes the whole tensor that the example was cut from: an exported network carries its data set.
#
# Date: 2026-11-28
# Packages: torch 2.15.0, numpy 2.4.6
# Guess: torch.export traces a network with an example of two images; torch.export.save writes the network's weights
#   and its graph, and at most these two images.
# Seen: the example is kept and saved with all the memory that it is a view of. With ``images[:2]`` of 10,000 images of
#   1x8x8 as the example, the file of a network of 2,600 bytes of weights has 2,571,322: all the images are in it,
#   readable. A clone of the two images makes a file of 11,845 bytes.
# Means: a file that is handed out may hold data that must not be, and is as large as the data. Trace with zeros of the
#   right shape.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'torch==2.15.0' 'numpy==2.4.6'
cd "$work"
"$work/venv/bin/python" - 2>"$work/log" <<'PY' || { tail -n 5 "$work/log" >&2; exit 1; }
import sys
import zipfile
from pathlib import Path

import torch

print(f"torch {torch.__version__}", flush=True)
torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
images = torch.rand(10_000, 1, 8, 8)
last = images[-1].numpy().tobytes()


def saved(name, example):
    """Bytes of the file, and whether the last of the images, which is none of the example, can be read from it."""
    torch.export.save(torch.export.export(network, (example,)), name)
    with zipfile.ZipFile(name) as file:
        parts = [file.read(part) for part in file.namelist()]
    return Path(name).stat().st_size, any(last in part for part in parts)


view, clone = saved("view.pt2", images[:2]), saved("clone.pt2", images[:2].clone())
weights = sum(each.nbytes for each in network.state_dict().values())
print(f"weights {weights:,} bytes, images {images.nbytes:,}; saved with images[:2] {view[0]:,} bytes, "
      f"the last image in it: {view[1]}; with images[:2].clone() {clone[0]:,} bytes: {clone[1]}")
if not (view[1] and view[0] > images.nbytes and not clone[1] and clone[0] < images.nbytes / 10):
    sys.exit("changed: torch.export.save no longer writes what its example input was cut from.")
PY
