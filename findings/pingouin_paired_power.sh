#!/usr/bin/env bash
# Pingouin's paired t test reports a power of 8 % beside p = 0.0002: effect size and power do not know that pairs are
# paired.
#
# Date: 2026-11-28
# Packages: pingouin 0.7.0, numpy 2.4.6, scipy 1.17.1, statsmodels 0.15.0
# Guess: in pingouin.ttest(a, b, paired=True) all columns speak of the differences, cohen_d and power like T, p and
#   CI95.
# Seen: cohen_d divides by the spread of the two samples, and power is that of a paired test with this d: as if the
#   two were not correlated. Arms on the same seeds are correlated at 0.99 (a seed that is good for one is good for
#   the other), so with ten seeds and a clear difference power is near alpha. The power of this test at the
#   differences' own d is 1.
# Means: a study planned from this power runs a hundred times too many seeds, and "p < 0.001, power 0.08" reads as
#   luck. For paired seeds take d from the differences: mean(d) / sd(d).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" \
  'pingouin==0.7.0' 'numpy==2.4.6' 'scipy==1.17.1' 'statsmodels==0.15.0'
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")
import pingouin
from statsmodels.stats.power import TTestPower

print(f"pingouin {pingouin.__version__}, numpy {np.__version__}")
rng = np.random.default_rng(0)
seeds = rng.normal(90, 3, 10)  # what a seed does to both arms
a, b = seeds + 0.5 + rng.normal(0, 0.2, 10), seeds + rng.normal(0, 0.2, 10)
row = pingouin.ttest(a, b, paired=True).iloc[0]
d = (a - b).mean() / (a - b).std(ddof=1)
own = TTestPower().power(d, nobs=10, alpha=0.05)
print(f"p {row['p_val']:.5f}, cohen_d {row['cohen_d']:.2f}, power {row['power']:.2f}; "
      f"the differences' own d {d:.2f}, power {own:.2f}")
if not (row["p_val"] < 0.001 and row["power"] < 0.2 and own > 0.95):
    sys.exit("changed: pingouin's power of a paired t test is that of the differences.")
PY
