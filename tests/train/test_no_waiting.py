"""Inside an epoch the host never waits for the device.

On the CPU the epoch runs on meta tensors, which have a shape and no numbers: whoever asks for one (``item``, ``bool``,
``nonzero``, a copy to the CPU) raises. What a meta tensor lets pass, a tensor made from Python numbers or copied from the
CPU, is watched for. Where there is a GPU, CUDA itself judges.
"""

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fsg.config import parse_trial
from fsg.train import Trainer

ARMS = ["ste", "ema", "scalar", "multi_fc", "fc_grad", "lstm_fc", "gate", "gate_permuted", "hand_gate"]
FSG = [{"name": "fsg", **over} for over in ({}, {"slow_net": "fir"}, {"slow_net": "lstm"})]
CASES = [{"gradient": g} for g in [*ARMS, *FSG]]
CASES += [{"quantizer": q} for q in ("bwn", "bwn_channel", "bwn_reference", "none")]
CASES += [{"optimizer": {"name": "sgd", "momentum": 0.9}}, {"optimizer": "adamw"}]


class Uploads(TorchFunctionMode):
    """Refuses tensors made of Python numbers on the device."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor) and not isinstance(args[0], torch.Tensor):
            assert torch.device(kwargs.get("device") or "cpu").type == "cpu", "numbers are sent to the device"
        return function(*args, **kwargs)


class Copies(TorchDispatchMode):
    """Refuses copies to the device that are waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.ops.aten._to_copy.default and kwargs.get("device", args[0].device) != args[0].device:
            assert kwargs.get("non_blocking"), "a tensor is sent to the device and waited for"
        return function(*args, **kwargs)


def trial(**over):
    """Seven steps an epoch: the history is full, the gate has learnt."""
    return parse_trial({"data": {"name": "synthetic", "batch_size": 96}, "device": "cpu", **over})


def name(case):
    return "-".join(map(str, case.values()))


@pytest.mark.parametrize("case", CASES, ids=name)
def test_no_step_asks_the_device_for_a_number(case):
    trainer = Trainer(trial(**case).model_copy(update={"device": "meta"}))
    trainer.augmented = True
    trainer.begin_epoch()
    with Uploads(), Copies():
        trainer._train(None, lambda: False)
    assert trainer.tally.steps == trainer.steps_per_epoch == 7


QUESTIONS = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool((x > 0).any()),
    "cpu": lambda x: x.cpu(),
    "mask": lambda x: x[x > 0],
    "numbers": lambda x: torch.tensor([1.0], device=x.device),
    "copy": lambda x: torch.zeros(3).to(x.device),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_step_that_asks_is_caught(question):
    trainer = Trainer(trial(gradient="ste").model_copy(update={"device": "meta"}))
    trainer.model.register_forward_pre_hook(lambda module, args: QUESTIONS[question](args[0]) and None)
    trainer.begin_epoch()
    with pytest.raises((RuntimeError, NotImplementedError, AssertionError)), Uploads(), Copies():
        trainer._train(None, lambda: False)


@pytest.mark.gpu
@pytest.mark.parametrize("case", [*CASES, {"gradient": {"name": "fsg", "layout": "flattened"}}], ids=name)
def test_cuda_sees_no_wait_inside_an_epoch(case):
    trainer = Trainer(trial(**case).model_copy(update={"device": "cuda"}))
    trainer.augmented = True
    trainer.run_epoch()  # compiles, allocates, fills the history
    trainer.begin_epoch()
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer._train(None, lambda: False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
