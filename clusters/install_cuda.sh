#!/usr/bin/env bash
# Installs mamba-ssm, which must be compiled: once for a Python, torch and CUDA, into a folder that the nodes share.
#   install_cuda.sh FOLDER      from the tree, with its .venv
# The first node takes some ten minutes and holds a lock; the others wait for its wheel and install it in seconds.
set -euo pipefail
wheels=${1:?usage: install_cuda.sh FOLDER}
python=.venv/bin/python
export PATH=$HOME/.local/bin:/usr/local/cuda/bin:$PATH
kind=$($python -c 'import sys, torch; print(f"py{sys.version_info[0]}{sys.version_info[1]}-torch{torch.__version__}-cuda{torch.version.cuda}")')
if ! command -v nvcc >/dev/null; then
  echo "install_cuda.sh: no nvcc here, so no mamba-ssm; fsg uses its Triton kernels, which need no compiler." >&2
  exit 0
fi
mkdir -p "$wheels/$kind"
exec 9>"$wheels/$kind.lock"
flock 9
if ! compgen -G "$wheels/$kind/mamba_ssm-*.whl" >/dev/null; then
  made=$(mktemp -d "$wheels/$kind.XXXXXX")
  uv pip install --quiet --python "$python" pip setuptools wheel ninja packaging einops transformers
  MAX_JOBS=${MAX_JOBS:-4} "$python" -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir "$made" "mamba-ssm>=2.2.4"
  mv "$made"/mamba_ssm-*.whl "$wheels/$kind/"
  rmdir "$made"
fi
flock -u 9
uv pip install --quiet --python "$python" einops transformers
uv pip install --quiet --python "$python" --no-deps "$wheels/$kind"/mamba_ssm-*.whl
