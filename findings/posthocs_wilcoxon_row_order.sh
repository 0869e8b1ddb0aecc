#!/usr/bin/env bash
# posthoc_wilcoxon of scikit-posthocs pairs rows by the order in which they stand: a shuffled table has another p.
#
# Date: 2026-11-28
# Packages: scikit-posthocs 0.17.1, numpy 2.4.6, pandas 3.1.1, scipy 1.17.1
# Guess: a post-hoc test of a long table (arm, seed, accuracy) does not depend on the order of its rows; a signed-rank
#   test that cannot know the pairs would ask for the column that names them.
# Seen: there is no such argument. The n-th row of one group is the pair of the n-th row of the other. In the order in
#   which trials happen to finish, p goes from 0.002 to 0.6 on the same numbers. sort=True sorts by group only and
#   changes nothing.
# Means: a table of finished trials is in order of finishing. Sort it by seed inside each arm, refuse arms with other
#   seeds, and only then hand columns to a paired test.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" \
  'scikit-posthocs==0.17.1' 'numpy==2.4.6' 'pandas==3.1.1' 'scipy==1.17.1'
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys
import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd

warnings.simplefilter("ignore")
import scikit_posthocs as posthocs

print(f"scikit-posthocs {version('scikit-posthocs')}, pandas {pd.__version__}")
rng = np.random.default_rng(0)
seeds = rng.normal(90, 3, 10)
a, b = seeds + 0.5 + rng.normal(0, 0.2, 10), seeds + rng.normal(0, 0.2, 10)
table = pd.DataFrame({"arm": ["a"] * 10 + ["b"] * 10, "seed": [*range(10)] * 2, "accuracy": [*a, *b]})


def p(rows, **options):
    return float(posthocs.posthoc_wilcoxon(rows, val_col="accuracy", group_col="arm", **options).loc["a", "b"])


shuffled = [table.sample(frac=1, random_state=n) for n in range(3)]
found = [p(rows) for rows in shuffled]
print(f"p by seed {p(table):.4f}; rows in three other orders {', '.join(f'{one:.3f}' for one in found)}; "
      f"with sort=True {', '.join(f'{p(rows, sort=True):.3f}' for rows in shuffled)}")
if not (p(table) < 0.01 and min(found) > 0.1 and p(shuffled[0], sort=True) > 0.1):
    sys.exit("changed: posthoc_wilcoxon no longer pairs rows by their order.")
PY
