"""What an epoch costs: counted operations against counts made by hand, and the order of measured times."""

import pytest
import torch

from fsg.config import load_trial
from fsg.data import load_data
from fsg.ops.slow_scan.operations import flops, operations
from fsg.train.cost import epoch_flops, epoch_seconds
from fsg.train.loop import Trainer


def configs(*settings):
    return load_trial(None, ["epochs=1", "data=synthetic", "data.batch_size=16", *settings])


def counted(*settings):
    return epoch_flops({"x": configs(*settings)})["x"]


def sizes():
    trainer = Trainer(configs("gradient=ste"), load_data(configs().data))
    return trainer.spans.total, len(trainer.spans), trainer.steps_per_epoch


def test_the_network_counts_two_operations_for_each_multiply_add_of_each_pass():
    trainer = Trainer(configs("gradient=ste"), load_data(configs().data))
    adds = 0

    def note(module, inputs, output):
        nonlocal adds
        adds += output.numel() * module.weight[0].numel()

    images = trainer.inputs(trainer.data.train.images[:16])
    layers = [m for m in trainer.model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    trainer.model(images)
    for hook in hooks:
        hook.remove()
    first = images.shape[0] * images.shape[2] * images.shape[3] * layers[0].weight.numel()  # no gradient of its input
    assert counted("gradient=ste") == trainer.steps_per_epoch * 2 * (3 * adds - first)


def test_a_fused_scan_is_counted_by_its_formula():
    weights, _, steps = sizes()
    scan = operations(weights * 9, weights * 8, weights, 8, 4, 8)  # 4 of the embedding, 5 gradients
    without_fast = counted("gradient.fsg=false")
    assert without_fast == pytest.approx(counted("gradient=ste") + steps * flops(scan))


def test_the_count_does_not_depend_on_the_backend():
    assert counted("gradient.slow.backend=reference") == counted("gradient.slow.backend=cpu")


def test_the_formula_is_that_of_the_readme_for_one_weight():
    t, d, s, k = 6, 8, 4, 4
    found = operations(t, t - 1, 1, d, s, k)
    assert found["exp"] == 2 * ((t - 1) * d * s + 3 * t * d + d)
    assert found["divide"] == 3 * t * d + 2 * d
    assert found["multiply-add"] == 6 * (t - 1) * d * s + 4 * (t * d * (1 + s) + d * s) + 4 * k * t * d


def test_costs_order_the_estimators_as_their_work_does():
    found = {name: counted(f"gradient={name}") for name in ("ste", "ema", "multi_fc", "lstm_fc", "fsg", "gate")}
    assert found["ste"] == found["ema"] < found["multi_fc"] < found["gate"] < found["lstm_fc"] < found["fsg"]
    assert counted("gradient.slow_net=fir") < found["fsg"] < counted("gradient.slow_net=lstm")
    assert counted("gradient.hgs=false") < found["fsg"]


def test_times_are_given_for_every_configuration():
    found = epoch_seconds({"x": configs("gradient=ste"), "y": configs("gradient=ema")}, rounds=1)
    assert list(found) == ["x", "y"] and min(found.values()) > 0


def test_an_epoch_of_cifar_costs_what_it_costs_before_cifar_is_there(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("the network was asked")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    settings = ["data=cifar10", f"data.root={tmp_path}/nowhere", "data.download=true", "model=resnet20", "gradient=ste"]
    config = load_trial(None, [*settings, "data.batch_size=128", "data.validation_share=0.1"])
    found = epoch_flops({"x": config})["x"]
    image = (
        41e6 * 2 * 3
    )  # 41 M multiply-adds of ResNet-20 on 32x32 images, two operations each, forward and twice backward
    assert found == pytest.approx(image * (45_000 // 128) * 128, rel=0.05)
    assert epoch_seconds({"x": config.model_copy(update={"device": "cpu"})}, rounds=1)["x"] > 0
    assert not (tmp_path / "nowhere").exists()
