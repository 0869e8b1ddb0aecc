"""The one home of ray and optuna: what is run, in which order, on which resources, and when it is stopped early."""
