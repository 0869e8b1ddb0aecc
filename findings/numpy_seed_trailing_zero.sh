#!/usr/bin/env bash
# numpy's SeedSequence takes [5], [5, 0] and [5, 0, 0] for one seed, and [5, 1] for 2**32 + 5.
#
# Date: 2026-11-28
# Packages: numpy 2.4.6
# Guess: default_rng([seed, stream]) gives each pair of numbers a stream of its own; that is what a list of entropy is
#   for.
# Seen: each number is cut into words of 32 bits, the words are put in a row and the row is filled up with zeros. So
#   stream 0 of a seed is the seed's own generator, [5, 0] is [5, 0, 0], and from 2**32 on seeds meet the pairs: 2**32
#   + 5 is [5, 1]. SeedSequence(5).spawn gives other streams than any of these.
# Means: number streams from 1, or spawn them; where the first stream is 0, nothing else may be seeded with the bare
#   seed. Two trials that should be independent draw the same numbers to the bit, and no test of one trial alone can
#   see it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'numpy==2.4.6'
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys

import numpy as np

print(f"numpy {np.__version__}")


def first(entropy):
    return round(float(np.random.default_rng(entropy).random()), 6)


bare = [first(entropy) for entropy in (5, [5], [5, 0], [5, 0, 0])]
pairs = [first(entropy) for entropy in ([5, 1], 2**32 + 5, [2**32 + 5, 0])]
spawned = [first(sequence) for sequence in np.random.SeedSequence(5).spawn(2)]
print(f"5, [5], [5, 0], [5, 0, 0]: {bare}; [5, 1], 2**32 + 5, [2**32 + 5, 0]: {pairs}; spawned from 5: {spawned}")
if not (len(set(bare)) == len(set(pairs)) == 1 and len({*bare, *pairs, *spawned}) == 4):
    sys.exit("changed: SeedSequence tells lists apart that differ in zeros at their end.")
PY
