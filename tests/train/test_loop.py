"""The trainer: what an epoch reports, what evaluation touches, and going on from a checkpoint."""

import pytest
import torch

from fsg.config import TrialConfig, parse_trial
from fsg.errors import BackendUnavailable, CheckpointCorrupt, ConfigError, TrialDiverged
from fsg.formats import FORMAT
from fsg.train import Trainer
from fsg.train.checkpoint import CheckpointStore, load_checkpoint, save_checkpoint
from fsg.train.device import resolve_device
from fsg.train.optim import rate_factor

REFERENCE = {"layout": "flattened", "normalization": "none", "gain": "free", "init": "random", "update": "reference"}
ARMS = ["ste", "ema", "scalar", "multi_fc", "fc_grad", "lstm_fc", "fsg", "gate", "gate_permuted", "hand_gate"]
GRADIENTS = [{"name": n} for n in ARMS]
GRADIENTS += [{"name": "fsg", "slow_net": n} for n in ("lstm", "fir")]
EXACT = [*GRADIENTS, {"name": "lstm_fc", "update": "reference"}]


def label(gradient):
    return "-".join(str(v) for v in gradient.values())


def trial(**over) -> TrialConfig:
    return parse_trial({"epochs": 3, "device": "cpu", "data": {"name": "digits", "batch_size": 256}, **over})


def run(config, epochs=None):
    trainer = Trainer(config)
    return trainer, [trainer.run_epoch() for _ in range(epochs or config.epochs)]


def comparable(results):
    """Metrics without the times, which are nobody's to repeat."""
    times = {"step_ms", "images_per_s"}
    return [({k: v for k, v in r.metrics.items() if k not in times}, r.layers) for r in results]


def equal_states(a, b):
    flat_a, flat_b = torch.utils._pytree.tree_flatten(a)[0], torch.utils._pytree.tree_flatten(b)[0]
    assert len(flat_a) == len(flat_b)
    for x, y in zip(flat_a, flat_b, strict=True):
        assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y


def test_an_epoch_reports_the_promised_metrics_and_the_last_one_the_test_scores():
    _, results = run(trial())
    every = {
        "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_accuracy_ema",
        "lr", "flip_ratio", "gain", "cosine", "uphill", "step_ms", "images_per_s", "grad_norm", "grad_norm_l1",
        "history_share", "slow_share", "moved", "moved_by_hgs", "moved_by_fsg", "moved_by_lre",
    }  # fmt: skip
    test = {"test_accuracy", "test_loss", "test_accuracy_last10", "test_accuracy_ema"}
    assert [set(r.metrics) - {"flips_other"} for r in results] == [every, every, every | test]
    assert [r.epoch for r in results] == [1, 2, 3]
    assert set(results[0].layers) == {"features.0", "features.3", "features.6", "classifier"}


def test_digits_are_learnt_by_a_one_bit_network():
    _, results = run(trial(epochs=8, gradient="ste", data={"name": "digits", "batch_size": 64, "split": "random"}))
    assert results[-1].metrics["test_accuracy"] > 90
    assert results[-1].metrics["train_loss"] < results[0].metrics["train_loss"] / 3


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    first, again, other = (comparable(run(trial(seed=s))[1]) for s in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("gradient", GRADIENTS, ids=label)
def test_all_arms_of_a_seed_start_from_the_same_weights_and_see_the_same_batches(gradient):
    reference, arm = Trainer(trial(gradient="ste")), Trainer(trial(gradient=gradient))
    assert all(torch.equal(a, b) for a, b in zip(reference.model.parameters(), arm.model.parameters(), strict=True))
    seen = []
    for trainer in (reference, arm):
        batches = []
        trainer.model.register_forward_pre_hook(
            lambda m, args, batches=batches: (
                batches.append(args[0].clone()) if m.training and torch.is_grad_enabled() else None
            )
        )
        trainer.run_epoch()
        trainer.run_epoch()
        seen.append(batches)
    assert len(seen[0]) > 4
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))


@pytest.mark.parametrize("gradient", EXACT, ids=label)
@pytest.mark.parametrize("stop", [1, 2])
def test_resumed_trial_equals_uninterrupted_bit_for_bit(gradient, stop, tmp_path):
    config = trial(gradient=gradient)
    whole, uninterrupted = run(config)
    first, before = run(config, stop)
    save_checkpoint(first.state_dict(), tmp_path / "a.pt")
    second = Trainer(config)
    second.load_state_dict(load_checkpoint(tmp_path / "a.pt"))
    after = list(second)
    assert comparable(before + after) == comparable(uninterrupted)
    a, b = whole.state_dict(), second.state_dict()
    a.pop("last_result"), b.pop("last_result")
    equal_states(a, b)


@pytest.mark.parametrize("batchnorm", ["reestimated", "running"])
def test_evaluation_leaves_the_training_state_untouched(batchnorm):
    trainer, _ = run(trial(evaluate={"batchnorm": batchnorm}), 1)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer._evaluate()
    assert trainer.model.training
    for key, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_float64_and_sign_activations_train():
    for over in ({"dtype": "float64"}, {"model": {"activations": "sign"}}, {"quantizer": "bwn_channel"}):
        _, results = run(trial(epochs=1, **over))
        assert results[0].metrics["train_accuracy"] > 15


def test_a_diverging_trial_raises_with_the_epoch():
    trainer = Trainer(trial(gradient="ste"))
    with torch.no_grad():
        trainer.model.features[1].weight.fill_(float("nan"))
    with pytest.raises(TrialDiverged, match="epoch 1: the loss is not finite at step 1; no loss was finite"):
        trainer.run_epoch()


def test_a_checkpoint_of_another_trial_is_refused_with_what_differs():
    trainer, _ = run(trial(), 1)
    with pytest.raises(CheckpointCorrupt, match="seed was 0, is 5"):
        Trainer(trial(seed=5)).load_state_dict(trainer.state_dict())


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_checkpoint_is_set_aside_and_the_previous_one_used(damage, tmp_path):
    store = CheckpointStore(tmp_path / "t.pt")
    assert store.load() is None
    store.save({"epoch": 1})
    store.save({"epoch": 2})
    assert store.load() == {"format": FORMAT, "epoch": 2}
    content = bytearray(store.path.read_bytes())
    content[len(content) // 2] ^= 1
    store.path.write_bytes({"flip": bytes(content), "cut": bytes(content[:-5]), "empty": b""}[damage])
    assert store.load() == {"format": FORMAT, "epoch": 1}
    assert (tmp_path / "t.pt.damaged-1").exists()


def test_a_checkpoint_runs_no_code(tmp_path):
    import hashlib
    import io

    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    buffer = io.BytesIO()
    torch.save({"x": Evil()}, buffer)
    payload = buffer.getvalue()
    (tmp_path / "e.pt").write_bytes(hashlib.sha256(payload).digest() + payload)
    with pytest.raises(CheckpointCorrupt, match="is no checkpoint of ours"):
        load_checkpoint(tmp_path / "e.pt")


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "constant"}, [1, 1, 1, 1]),
        ({"name": "linear"}, [1, 0.75, 0.5, 0.25]),
        ({"name": "cosine"}, [1, 0.853553, 0.5, 0.146447]),
        ({"name": "step", "step_epochs": 2, "step_factor": 0.1}, [1, 1, 0.1, 0.1]),
        ({"name": "constant", "warmup_epochs": 2}, [1 / 3, 2 / 3, 1, 1]),
        ({"name": "linear", "warmup_epochs": 2}, [1 / 3, 2 / 3, 1, 0.5]),
    ],
)
def test_schedules_follow_their_formula(schedule, expected):
    config = trial(epochs=4, schedule=schedule).schedule
    assert [rate_factor(config, e, 4) for e in range(4)] == pytest.approx(expected, abs=1e-6)


def test_a_cuda_device_that_is_missing_is_refused():
    with pytest.raises(BackendUnavailable, match='device is "cuda:99"'):
        resolve_device("cuda:99")


@pytest.mark.parametrize("gradient", [{"name": "ste"}, {"name": "fsg"}, {"name": "gate"}], ids=label)
def test_a_trial_stopped_within_an_epoch_goes_on_bit_for_bit(gradient, tmp_path):
    config = trial(gradient=gradient, epochs=2, checkpoint_every_steps=2)
    whole = comparable(run(config)[1])
    saved = []
    first = Trainer(config)
    first.run_epoch(
        lambda state: (save_checkpoint(state, tmp_path / "m.pt"), saved.append(state["tally"]["counts"][0]))
    )
    assert saved == [2]  # of 4 steps; the end of an epoch is not within it
    second = Trainer(config)
    second.load_state_dict(load_checkpoint(tmp_path / "m.pt"))
    assert comparable(list(second)) == whole


def test_a_float_network_trains_and_its_checkpoint_starts_a_binary_one(tmp_path):
    trainer, results = run(trial(quantizer="none"))
    assert results[-1].metrics["train_accuracy"] > 80
    assert "gain" not in results[-1].metrics
    path = tmp_path / "float.pt"
    save_checkpoint(trainer.state_dict(), path)
    binary = Trainer(trial(gradient="ste", model={"name": "digits_cnn", "pretrained": str(path)}))
    assert all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), binary.model.parameters(), strict=True))
    assert binary.run_epoch().metrics["train_accuracy"] > 20


@pytest.mark.parametrize("damage", ["missing", "cut", "text", "other network", "pickle"])
def test_a_pretrained_file_that_is_none_is_refused_in_one_message(damage, tmp_path):
    path = tmp_path / "w.pth"
    model = Trainer(trial(quantizer="none")).model
    if damage != "missing":
        torch.save(model.state_dict() if damage != "other network" else {"conv.weight": torch.zeros(1)}, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    if damage == "text":
        path.write_text("hello")
    if damage == "pickle":
        torch.save({"x": TrialConfig}, path)
    with pytest.raises(ConfigError, match=f"model.pretrained {path}") as error:
        Trainer(trial(model={"name": "digits_cnn", "pretrained": str(path)}))
    assert len(str(error.value).splitlines()) == 1


def test_the_float_resnets_at_hand_load_with_every_key(golden_dir):
    from fsg.models import build_model
    from fsg.train.pretrained import load_pretrained

    folder = golden_dir.parent / "checkpoints"
    if not folder.is_dir():
        pytest.skip(f"no checkpoints in {folder}")
    for depth in (20, 32):
        model = build_model(trial(model=f"resnet{depth}"), (3, 32, 32), 10)
        before = model.conv1.weight.detach().clone()
        load_pretrained(model, folder / f"resnet{depth}_cifar10_fp32.pth")
        assert not torch.equal(model.conv1.weight, before)


def test_diagnostics_explain_each_layer_every_epoch():
    _, results = run(trial(), 1)
    expected = {"flip_ratio", "gain", "cosine", "uphill", "slow_share", "history_share", "lre_distance"}
    expected |= {"moved", "moved_by_hgs", "moved_by_fsg", "moved_by_lre"}
    assert all(set(values) == expected for values in results[0].layers.values())
    assert all(0 <= v["slow_share"] <= 1 for v in results[0].layers.values())


def test_a_diverging_loss_names_step_layer_and_last_good_value():
    trainer = Trainer(trial(gradient="ste", optimizer={"name": "sgd", "lr": 0.1}))
    step = trainer.step.latent_optimizer.step

    def poisoned(closure=None):
        step(closure)
        with torch.no_grad():
            trainer.step.layers[1].weight.fill_(float("nan"))

    trainer.step.latent_optimizer.step = poisoned
    with pytest.raises(TrialDiverged, match=r"epoch 1: the loss is not finite at step 2; the last finite loss was .* at step 1; "
                       r"not finite: features.3"):  # fmt: skip
        trainer.run_epoch()


@pytest.mark.gpu
@pytest.mark.parametrize("gradient", GRADIENTS, ids=label)
def test_training_on_cuda_follows_the_cpu(gradient):
    results = [
        run(trial(gradient=gradient, epochs=1, device=d, dtype="float64"))[1][0].metrics for d in ("cpu", "cuda")
    ]
    assert results[0]["train_loss"] == pytest.approx(results[1]["train_loss"], rel=1e-6)


@pytest.mark.gpu
def test_deterministic_cuda_repeats_itself_bit_for_bit():
    assert comparable(run(trial(device="cuda"))[1]) == comparable(run(trial(device="cuda"))[1])
