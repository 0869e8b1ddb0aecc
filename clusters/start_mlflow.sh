#!/usr/bin/env bash
# Starts MLflow with a login on a cluster's head, in the background, and makes its password on the first start.
# The password lies in ~/.mlflow/credentials (mode 0600), where every MLflow client of this user finds it.
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
credentials=$HOME/.mlflow/credentials
if [ ! -s "$credentials" ]; then
  (umask 077; mkdir -p "$HOME/.mlflow"
   printf '[mlflow]\nmlflow_tracking_username = admin\nmlflow_tracking_password = %s\n' "$(openssl rand -hex 16)" > "$credentials")
fi
if curl --silent --fail --output /dev/null http://127.0.0.1:5000/health; then
  exit 0 # it runs already
fi
MLFLOW_AUTH_ADMIN_PASSWORD=$(sed -n 's/^mlflow_tracking_password = //p' "$credentials")
export MLFLOW_AUTH_ADMIN_PASSWORD
cd "$HOME"
setsid nohup "$tree/.venv/bin/fsg" ui --server "$tree/clusters/mlflow-sqlite.yaml" > "$HOME/mlflow.log" 2>&1 < /dev/null &
