#!/usr/bin/env bash
# Runs `ray start` with its options, and again where it failed, five times at most.
#   tries.sh .../ray start OPTIONS...
# Ray gives the agents of a node 15 seconds to come up: too little for a machine that has just begun, until its files are in the cache.
# A head whose port is taken is told so at once: Ray takes ten seconds a try, and speaks of its storage backend.
set -euo pipefail
port=$(sed -n 's/.* --head .*--port=\([0-9]*\).*/\1/p' <<< "$*")
for address in ${port:+127.0.0.1 $(hostname -I)}; do
  if (: < "/dev/tcp/$address/$port") 2>/dev/null; then
    echo "tries.sh: port $port of this machine is taken, by somebody else's Ray perhaps. End that, or take another port: --port of" \
      "the head and --address of the workers." >&2
    exit 2
  fi
done
for try in 1 2 3 4 5; do
  "$@" && exit 0
  echo "tries.sh: Ray did not start (try $try of 5)" >&2
  "$1" stop --force >/dev/null 2>&1 || true
done
exit 1
