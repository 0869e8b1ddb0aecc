"""What `fsg bench fused` puts side by side: the same trials, stepped apart and as one program."""

import torch

from fsg.bench import fused
from fsg.config import parse_trial


def test_both_sides_of_the_pair_train_the_same_trials():
    configs = [parse_trial({"gradient": "ste", "seed": seed, "device": "cpu"}) for seed in range(3)]
    pair = fused.pair_of(configs)
    for _ in range(3):
        pair.apart()
        pair.fused()
    pair.program.scatter(len(configs))
    apart = {trainer.config.seed: trainer for trainer in pair.trainers}
    for trainer in pair.pack:
        torch.testing.assert_close(trainer.step.latent, apart[trainer.config.seed].step.latent, rtol=1e-3, atol=1e-4)


def test_each_estimator_with_a_target_gives_a_ratio_beside_it(monkeypatch):
    monkeypatch.setattr(fused, "MEMBERS", 2)
    found = fused.run(rounds=1)
    assert [(each.what, each.case, each.target) for each in found] == [
        ("fused", "2 seeds of ste / as many steps apart", "<= 0.4 x"),
        ("fused", "2 seeds of fsg / as many steps apart", "<= 0.5 x"),
    ]
