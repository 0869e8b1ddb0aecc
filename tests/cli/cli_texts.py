"""Studies as a user writes them, small enough to train in a second."""

ABLATION = """\
name: small
question: Does a learnt gradient beat a plain one?
base:
  gradient: ste
  epochs: 2
  data: {name: digits, batch_size: 256}
seeds: [0, 1]
metric: {name: val_accuracy, mode: max, unit: "%"}
arms:
  learnt: {gradient: fsg}
baselines: [ste]
analysis: {reference: learnt, baseline: ste}
"""
SWEEP = """\
name: search
base: {gradient: ste, epochs: 4, data: {name: digits, batch_size: 256}}
metric: {name: val_accuracy, mode: max}
space:
  optimizer.lr: {loguniform: [1e-4, 1e-1]}
  quantizer.bits: {randint: [1, 2]}
search: {trials: 3}
scheduler: {name: asha, grace_epochs: 1}
"""
