#!/usr/bin/env bash
# Runs `ray start` with its options, and again where it failed, five times at most.
#   tries.sh .../ray start OPTIONS...
# Ray gives the agents of a node 15 seconds to come up: too little for a machine that has just begun, until its files are in the cache.
set -euo pipefail
for try in 1 2 3 4 5; do
  "$@" && exit 0
  echo "tries.sh: Ray did not start (try $try of 5)" >&2
  "$1" stop --force >/dev/null 2>&1 || true
done
exit 1
