"""Which trials a study runs, in which order, and which stop early: the home of Optuna. Knows no engine."""
