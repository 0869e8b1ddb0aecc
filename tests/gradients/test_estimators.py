"""Each estimator against its closed form."""

import pytest
import torch

from fsg.catalogue.gradients import Ema, Fsg, MetaQuant, Scalar
from fsg.gradients import make_estimator
from fsg.ops.spans import Spans
from tests.gradients.test_contract import SIZES, disturb, make, signals


def test_ema_is_the_moving_average_of_g_started_at_the_first():
    estimator = make(Ema(beta=0.7))
    stream = signals(4)
    expected = stream[0].grad
    for signal in stream:
        expected = 0.7 * expected + 0.3 * signal.grad
        torch.testing.assert_close(estimator(signal).value, signal.slope * expected)


def test_scalar_multiplies_each_layer_by_its_own_positive_factor():
    estimator = make(Scalar(gain="free"))
    with torch.no_grad():
        estimator.logit.copy_(torch.tensor([-30.0, 0.0, 3.0]))
    (signal,) = signals(1)
    _, gain, cosine = estimator(signal)
    expected = torch.nn.functional.softplus(estimator.logit) / torch.log(torch.tensor(2.0, dtype=torch.float64))
    torch.testing.assert_close(gain, expected.detach())
    torch.testing.assert_close(cosine, torch.ones(3, dtype=torch.float64))


def test_multi_fc_is_g_times_a_positive_function_of_the_weight_alone():
    estimator = make(MetaQuant(gain="free"))
    disturb(estimator)
    a, b = signals(2)
    ratio = estimator(a).value / (a.slope * a.grad)
    again = estimator(a._replace(grad=b.grad, slope=b.slope)).value / (b.slope * b.grad)
    torch.testing.assert_close(ratio, again)
    assert (ratio > 0).all()


def responds(config, change):
    """Whether the fourth direction differs when ``change`` has been made to an estimator or its past."""
    values = []
    for changed in (False, True):
        estimator = make(config)
        disturb(estimator)
        stream = signals(4)
        if changed:
            change(estimator, stream)
        values.append([estimator(s).value for s in stream][-1])
    return not torch.equal(*values)


def older(estimator, stream):
    stream[0] = stream[0]._replace(grad=-3 * stream[0].grad)


def embedding(estimator, stream):
    if estimator.embedding is not None:
        with torch.no_grad():
            estimator.embedding.table.weight.add_(1)


def fast(estimator, stream):
    if estimator.fast is not None:
        with torch.no_grad():
            estimator.fast.outer.bias.add_(1)


@pytest.mark.parametrize("hgs", [True, False])
@pytest.mark.parametrize("mix", [True, False])
@pytest.mark.parametrize("lre", [True, False])
def test_each_switch_turns_off_its_component_and_nothing_else(hgs, mix, lre):
    config = Fsg(hgs=hgs, fsg=mix, lre=lre)
    assert responds(config, older) == hgs
    assert responds(config, embedding) == lre
    assert responds(config, fast) == mix


def test_beta_mixes_from_fast_alone_to_slow_alone():
    stream = signals(3)

    def last(config):
        estimator = make(config)
        disturb(estimator)
        return [estimator(s).value for s in stream][-1]

    free = {"gain": "free"}
    fast, slow, mix = (last(Fsg(beta=b, **free)) for b in (0.0, 1.0, 0.25))
    torch.testing.assert_close(mix, 0.25 * slow + 0.75 * fast)
    torch.manual_seed(0)
    assert not torch.equal(fast, slow)


def test_slow_gradient_scales_with_the_gradients():
    values = []
    for scale in (1.0, 1e4):
        estimator = make(Fsg(gain="free"))
        disturb(estimator)
        values.append([estimator(s._replace(grad=scale * s.grad)).value / scale for s in signals(4)][-1])
    torch.testing.assert_close(*values)


def test_history_of_one_layer_does_not_reach_another():
    values = []
    for changed in (False, True):
        estimator = make(Fsg())
        disturb(estimator)
        stream = signals(3)
        if changed:
            grad = stream[0].grad.clone()
            grad[: SIZES[0]] *= -2
            stream[0] = stream[0]._replace(grad=grad)
        values.append([estimator(s).value for s in stream][-1])
    same, other = values
    assert torch.equal(same[SIZES[0] :], other[SIZES[0] :]) and not torch.equal(same, other)


def test_equal_weights_in_different_layers_are_told_apart_by_the_embedding_alone():
    def directions(lre):
        torch.manual_seed(0)
        estimator = make_estimator(Fsg(lre=lre), Spans([5, 5])).double()
        disturb(estimator)
        (signal,) = signals(1)
        part = type(signal)(*(x[:5].repeat(2) for x in signal[:3]))
        return estimator(part).value.view(2, 5)

    assert torch.equal(*directions(lre=False))
    assert not torch.equal(*directions(lre=True))
