"""A study from a notebook: run in this process, looked at as tables, and its best network used. No Ray.

Each part between two empty comments is a cell. As a script: python examples/notebook_run.py
"""

# %%
from pathlib import Path

import torch

import fsg

# %% A study of own parts, one trial after the other, in this process
here = Path(__file__).parent
study = fsg.run(here / "own_parts.yaml", engine=fsg.LocalEngine(), tracking_uri="sqlite:///mlflow.db")

# %% Tables: the arms, the trials, their epochs
print(study.compare())
print(study.trials[["arm", "seed", "status", "val_worst_class_error", "test_accuracy"]])
print(study.epochs.groupby(["arm", "epoch"])["val_loss"].mean().unstack(0))

# %% The best network: binary weights, ready to be used on images as they are
best = study.best()
network = study.load_network(best["key"])
print(f"The best trial is {best['key']} of arm {best['arm']}, with {best['test_accuracy']:.2f} % on the test images.")
print(network(torch.zeros(1, 1, 12, 12, dtype=torch.uint8)).softmax(1))

# %% A drawing, which a notebook shows
study.plot_learning_curves("val_accuracy").savefig("learning_curves.png")
