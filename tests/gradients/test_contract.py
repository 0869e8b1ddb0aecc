"""What every gradient estimator must do. A new estimator joins by a line in ``CONFIGS``."""

import itertools

import pytest
import torch

from fsg.catalogue.gradients import Ema, Fsg, Gate, HandGate, MetaQuant, Scalar, Ste
from fsg.catalogue.rivals import GradQueue, Mstgd
from fsg.gradients import Signal, Update, make_estimator
from fsg.ops.spans import Spans

SIZES = [27, 1, 40]
SWITCHES = [Fsg(hgs=h, fsg=f, lre=e) for h in (True, False) for f in (True, False) for e in (True, False)]
VARIANTS = [
    Fsg(gain="locked"),
    Fsg(slow_net="lstm"),
    Fsg(slow_net="fir"),
    Fsg(slow_net="fir", lre=False),
    Fsg(layout="flattened"),
    Fsg(layout="flattened", slow_net="lstm", lre=False),
    Fsg(normalization="none"),
    Fsg(lre_size=3),
]
METAQUANT = [MetaQuant(name=n) for n in ("multi_fc", "fc_grad", "lstm_fc")]
GATES = [Gate(), Gate(name="gate_permuted"), HandGate()]
CONFIGS = [
    Ste(),
    Ema(),
    Scalar(),
    Scalar(gain="locked"),
    *METAQUANT,
    MetaQuant(gain="free"),
    GradQueue(),
    Mstgd(gain="free"),
    *SWITCHES,
    *VARIANTS,
    *GATES,
]
GENERATED = [c for c in CONFIGS if not isinstance(c, Gate | HandGate)]
LEARNED = [c for c in GENERATED if not isinstance(c, Ste | Ema | GradQueue | Mstgd)]


def name(config):
    return config.name + "".join(
        f"-{k}={v}" for k, v in config.model_dump(exclude_defaults=True).items() if k != "name"
    )


def make(config, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    return make_estimator(config, Spans(SIZES)).to(dtype)


def signals(count, dtype=torch.float64, seed=1):
    rng = torch.Generator().manual_seed(seed)
    n = sum(SIZES)
    return [
        Signal(
            1e-3 * torch.randn(n, generator=rng, dtype=dtype),
            torch.rand(n, generator=rng, dtype=dtype),
            torch.rand(n, generator=rng, dtype=dtype),
        )
        for _ in range(count)
    ]


def disturb(estimator, scale=0.3):
    """Move the hypernetworks away from where they start."""
    torch.manual_seed(5)
    with torch.no_grad():
        for p in estimator.parameters():
            p += scale * torch.randn_like(p)


@pytest.mark.parametrize("config", CONFIGS, ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_direction_is_finite_and_of_the_networks_shape_and_dtype(config, dtype):
    estimator = make(config, dtype)
    disturb(estimator)
    for signal in signals(7, dtype):
        value, gain, cosine = estimator(signal)
        assert value.shape == (sum(SIZES),) and value.dtype == dtype and torch.isfinite(value).all()
        assert gain.shape == cosine.shape == (len(SIZES),)
        assert torch.isfinite(gain).all() and (cosine.abs() <= 1 + 1e-5).all()


@pytest.mark.parametrize("config", CONFIGS, ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_first_direction_is_the_straight_through_estimators_bit_for_bit(config, dtype):
    (signal,) = signals(1, dtype)
    assert torch.equal(make(config, dtype)(signal).value, signal.slope * signal.grad)


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_no_gradient_leaks_into_what_the_base_network_measured(config):
    estimator = make(config)
    signal = Signal(*(part.requires_grad_() for part in signals(1)[0][:3]))
    value = estimator(Signal(*(part.detach() for part in signal[:3]))).value
    if value.requires_grad:
        value.sum().backward()
    assert all(part.grad is None for part in signal[:3])


@pytest.mark.parametrize("config", LEARNED, ids=name)
def test_every_hypernetwork_parameter_is_in_one_meta_group_and_gets_a_gradient(config):
    estimator = make(config)
    disturb(estimator)
    grouped = [p for group in estimator.meta_groups() for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, estimator.parameters()))
    for signal in signals(6):
        estimator(signal).value.backward(torch.randn(sum(SIZES), dtype=torch.float64))
    for key, parameter in estimator.named_parameters():
        if key == "logit" and config.gain == "locked":
            continue  # a locked gain leaves a layer factor nothing to do
        if key.endswith("A_log") and isinstance(config, Fsg) and not (config.hgs or config.lre):
            continue  # one token: nothing to forget
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("config", CONFIGS, ids=name)
@pytest.mark.parametrize("before", [0, 1, 3, 7])
def test_state_round_trip_continues_bit_for_bit(config, before):
    first = make(config)
    disturb(first)
    stream = signals(before + 3)
    for signal in stream[:before]:
        first(signal)
    second = make(config, seed=9)
    second.load_state_dict(first.state_dict())
    for signal in stream[before:]:
        assert torch.equal(first(signal).value, second(signal).value)


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_a_layer_without_gradient_stays_without_direction(config):
    estimator = make(config)
    for signal in signals(3):
        grad = signal.grad.clone()
        grad[: SIZES[0]] = 0
        value = estimator(signal._replace(grad=grad)).value
        assert torch.isfinite(value).all() and torch.equal(value[: SIZES[0]], torch.zeros(SIZES[0]).double())


@pytest.mark.parametrize("config", [c for c in LEARNED if c.gain == "bounded"], ids=name)
def test_bounded_gain_stays_within_a_quarter_and_four(config):
    estimator = make(config)
    disturb(estimator, scale=8.0)
    for signal in signals(6):
        value, gain, _ = estimator(signal)
        measured = estimator.spans.norm(value) / estimator.spans.norm(signal.slope * signal.grad)
        torch.testing.assert_close(gain, measured.detach())
        assert (measured > 1 / 4 - 1e-9).all() and (measured < 4 + 1e-9).all()


def test_locked_gain_is_one_whatever_the_network_says():
    estimator = make(Fsg(gain="locked"))
    disturb(estimator, scale=8.0)
    for signal in signals(6):
        torch.testing.assert_close(estimator(signal).gain, torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("config", [Fsg(gain=g) for g in ("bounded", "locked", "free")], ids=name)
def test_meta_gradient_passes_gradcheck_through_the_gain(config):
    stream = signals(6)

    def run(*values):
        estimator = make(config)
        disturb(estimator)
        for signal in stream[:-1]:
            estimator(signal)
        return torch.func.functional_call(estimator, dict(zip(keys, values, strict=True)), (stream[-1],))[0]

    keys = [k for k, _ in make(config).named_parameters()]
    reference = make(config)
    disturb(reference)
    values = [p.detach().clone().requires_grad_() for p in reference.parameters()]
    assert torch.autograd.gradcheck(run, values, atol=1e-7)


def test_an_estimator_draws_nothing_at_evaluation_or_diagnosis():
    for config in CONFIGS:
        estimator = make(config)
        for signal in signals(4):
            estimator(signal)
        before = {k: v.clone() for k, v in estimator.state_dict().items()}
        state = torch.get_rng_state()
        found = estimator.diagnose(signals(1)[0])
        assert all(v.shape == (len(SIZES),) and torch.isfinite(v).all() for v in found.values())
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(v, before[k]) for k, v in estimator.state_dict().items())


@pytest.mark.parametrize("config", GATES, ids=name)
def test_gates_are_not_negative_have_mean_one_in_each_layer_and_a_limit(config):
    estimator = make(config)
    disturb(estimator, 1.0)
    for t, signal in enumerate(signals(7)):
        estimator(signal)
        weight = torch.randn(sum(SIZES), dtype=torch.float64)
        k = estimator.gate(Update(weight, 1e-3 * signal.grad, t / 7), signal)
        assert (k >= 0).all() and (k <= 4).all()
        for part in estimator.spans.split(k):
            assert part.mean() <= 1 + 1e-9


def test_a_learned_gate_starts_at_one_and_learns_from_what_came_after():
    estimator = make(Gate())
    stream = signals(9)
    weight = torch.randn(sum(SIZES), dtype=torch.float64)
    learned = []
    for signal, measured in itertools.pairwise(stream):
        direction = estimator(signal)
        k = estimator.gate(Update(weight, 1e-3 * signal.grad, 0.5), signal)
        torch.testing.assert_close(k, torch.ones_like(k))
        learned.append(estimator.learn(direction, measured))
    assert learned == [False] * 4 + [True] * 4
    assert all(p.grad is not None for p in estimator.outer.parameters())


def test_the_permuted_gate_keeps_the_values_of_each_layer_and_moves_them():
    gate, sham = make(Gate()), make(Gate(name="gate_permuted"))
    disturb(gate)
    disturb(sham)
    (signal,) = signals(1)
    update = Update(torch.randn(sum(SIZES), dtype=torch.float64), signal.grad, 0.1)
    a, b = gate.gate(update, signal), sham.gate(update, signal)
    assert not torch.equal(a, b)
    for x, y in zip(gate.spans.split(a), gate.spans.split(b), strict=True):
        assert torch.equal(x.sort().values, y.sort().values)
