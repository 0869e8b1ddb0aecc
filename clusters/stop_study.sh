#!/usr/bin/env bash
# Stops the study that is driven on this machine, as Ctrl-C does, and waits until it has saved, or SECONDS have passed.
#   stop_study.sh SECONDS
set -euo pipefail
driver='^[^ ]*python[^ ]* [^ ]*fsg (ablate|sweep|resume) '
pkill -TERM -f "$driver" || exit 0 # none is driven here
for ((second = 0; second < ${1:-120}; second++)); do
  pgrep -f "$driver" >/dev/null || exit 0
  sleep 1
done
