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
failed=$wheels/$kind/failed.log
if ! compgen -G "$wheels/$kind/mamba_ssm-*.whl" >/dev/null && [ ! -e "$failed" ]; then
  made=$(mktemp -d "$wheels/$kind.XXXXXX")
  if uv pip install --python "$python" pip setuptools wheel ninja packaging einops transformers > "$made/log" 2>&1 &&
    MAX_JOBS=${MAX_JOBS:-4} "$python" -m pip wheel --no-build-isolation --no-deps --wheel-dir "$made" "mamba-ssm>=2.2.4" \
      >> "$made/log" 2>&1; then
    mv "$made"/mamba_ssm-*.whl "$wheels/$kind/"
  else
    echo "Remove this file to try again." >> "$made/log"
    mv "$made/log" "$failed"
  fi
  rm -rf "$made"
fi
flock -u 9
# It is an extra: a node that ended with an error would be replaced by another, which ends with the same, while trials wait.
if [ -e "$failed" ]; then
  echo "install_cuda.sh: mamba-ssm could not be built, as $failed says; fsg uses its Triton kernels." >&2
elif ! uv pip install --quiet --python "$python" einops transformers ||
  ! uv pip install --quiet --python "$python" --no-deps "$wheels/$kind"/mamba_ssm-*.whl; then
  echo "install_cuda.sh: mamba-ssm could not be installed; fsg uses its Triton kernels." >&2
fi
