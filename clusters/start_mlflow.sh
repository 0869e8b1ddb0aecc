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
# Studies that are started by hand here, as after `ray attach`, write there too.
uri=http://127.0.0.1:5000
line="export MLFLOW_TRACKING_URI=$uri"
grep -qxF "$line" "$HOME/.bashrc" || echo "$line" >> "$HOME/.bashrc"
if curl --silent --fail --output /dev/null $uri/health; then
  exit 0 # it runs already
fi
MLFLOW_AUTH_ADMIN_PASSWORD=$(sed -n 's/^mlflow_tracking_password = //p' "$credentials")
export MLFLOW_AUTH_ADMIN_PASSWORD
cd "$HOME"
# A machine that has just begun is slow, and the first start makes the database: the second is quicker.
for _ in 1 2 3; do
  setsid nohup "$tree/.venv/bin/fsg" ui --server "$tree/clusters/mlflow-sqlite.yaml" > "$HOME/mlflow.log" 2>&1 < /dev/null &
  while kill -0 $! 2>/dev/null; do # it ends by itself where MLflow does not answer
    if curl --silent --fail --output /dev/null $uri/health; then
      exit 0
    fi
    sleep 1
  done
done
echo "start_mlflow.sh: MLflow does not answer at $uri; $HOME/mlflow.log ends so:" >&2
tail -n 5 "$HOME/mlflow.log" >&2
exit 1
