#!/usr/bin/env bash
# Makes a fresh Ubuntu machine a node of a cluster: shared storage, Python, this tree with its packages. Safe to run again.
#   FSG_SHARE=SERVER:/PATH   the NFS export to mount at /mnt/fsg; left out where /mnt/fsg is there already
#   FSG_EXTRAS="cuda"        extras to install besides: cuda on GPU workers, server where MLflow runs
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$tree"

# A study's folder must be the same folder on every node: the worker that goes on with a trial reads its checkpoint there.
if [ -n "${FSG_SHARE:-}" ] && ! mountpoint -q /mnt/fsg; then
  command -v mount.nfs4 >/dev/null || { sudo apt-get update -qq; sudo apt-get install -y -qq nfs-common; }
  sudo mkdir -p /mnt/fsg
  sudo mount -t nfs4 -o nfsvers=4.1,hard,timeo=600 "$FSG_SHARE" /mnt/fsg
fi
[ -d /mnt/fsg ] || { echo "setup_node.sh: /mnt/fsg is not there; set FSG_SHARE or mount it" >&2; exit 1; }
mkdir -p /mnt/fsg/studies 2>/dev/null || { sudo mkdir -p /mnt/fsg/studies; sudo chown "$USER" /mnt/fsg/studies; }

# The same Python and the same packages on every node: Ray and fsg refuse others.
export PATH=$HOME/.local/bin:$PATH
command -v uv >/dev/null || pip install --user --quiet uv || { sudo apt-get install -y -qq pipx && pipx install uv; }
uv sync --quiet --inexact --no-dev --python 3.12
for extra in ${FSG_EXTRAS:-}; do
  case $extra in
    cuda) bash clusters/install_cuda.sh /mnt/fsg/wheels ;;
    *) uv pip install --quiet --editable ".[$extra]" ;;
  esac
done
line="export PATH=$tree/.venv/bin:\$PATH"
grep -qxF "$line" ~/.bashrc || echo "$line" >> ~/.bashrc
