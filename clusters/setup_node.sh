#!/usr/bin/env bash
# Makes a fresh Ubuntu machine a node of a cluster: shared storage, Python, this tree with its packages. Safe to run again.
#   FSG_SHARE=SERVER:/PATH   the NFS export to mount at /mnt/fsg; left out where /mnt/fsg is there already
#   FSG_EXTRAS="cuda"        what to install besides: cuda on GPU workers; server where MLflow runs; gcp on a head in Google Cloud,
#                            whose autoscaler cannot ask for machines without; mps where several trials share a GPU, so that
#                            their kernels run side by side (one that makes the GPU fail takes the others with it: they are retried)
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$tree"
# A fresh machine updates itself in its first minutes, and holds dpkg's lock meanwhile.
packages() { sudo apt-get -qq -o DPkg::Lock::Timeout=600 update && sudo apt-get -qq -o DPkg::Lock::Timeout=600 install -y "$@"; }

# A study's folder must be the same folder on every node: the worker that goes on with a trial reads its checkpoint there.
if [ -n "${FSG_SHARE:-}" ] && ! mountpoint -q /mnt/fsg; then
  command -v mount.nfs4 >/dev/null || packages nfs-common
  sudo mkdir -p /mnt/fsg
  sudo mount -t nfs4 -o nfsvers=4.1,hard,timeo=600 "$FSG_SHARE" /mnt/fsg
fi
[ -d /mnt/fsg ] || { echo "setup_node.sh: /mnt/fsg is not there; set FSG_SHARE or mount it" >&2; exit 1; }
mkdir -p /mnt/fsg/studies 2>/dev/null || { sudo mkdir -p /mnt/fsg/studies; sudo chown "$USER" /mnt/fsg/studies; }

# The same Python and the same packages on every node: Ray and fsg refuse others.
export PATH=$HOME/.local/bin:$PATH
# Ubuntu from 23.04 on lets pip install nothing beside its own packages (PEP 668); pipx gives uv an environment of its own.
command -v uv >/dev/null || pip install --user --quiet uv 2>/dev/null || { packages pipx && pipx install --quiet uv; }
uv sync --quiet --inexact --no-dev --python 3.12
for extra in ${FSG_EXTRAS:-}; do
  case $extra in
    cuda) bash clusters/install_cuda.sh /mnt/fsg/wheels ;;
    gcp) uv pip install --quiet google-api-python-client ;;
    mps) pgrep -f nvidia-cuda-mps-control >/dev/null || nvidia-cuda-mps-control -d ;;
    *) uv pip install --quiet --editable ".[$extra]" ;;
  esac
done
line="export PATH=$tree/.venv/bin:\$PATH"
grep -qxF "$line" ~/.bashrc || echo "$line" >> ~/.bashrc
