"""What every gradient estimator must do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.optim import Adam

from fsg.gradients import GradientEstimator, Signal, Update, make_estimator
from fsg.metrics import EPOCH_METRICS, FINAL_METRICS, unreported
from fsg.ops.spans import Spans
from fsg.testing.contract import Contract
from fsg.testing.training import assert_resumes, copied, difference, same_bits, small_images
from fsg.train.loop import Trainer

SETTLING = 3  # steps beyond the memory's length: the first generated, the first measured, the first learnt from
_PLAIN = bool | int | float | str | tuple | None


class EstimatorContract(Contract):
    """Of a part of the kind ``gradient``. ``sizes``: the weights of each layer in the networks that it is tried on."""

    kind = "gradient"
    sizes: ClassVar[Sequence[Sequence[int]]] = ([27, 1, 40], [5], [3, 64, 7, 2])

    def make(self, sizes: Sequence[int], dtype: torch.dtype = torch.float64, seed: int = 0) -> GradientEstimator:
        """The estimator for layers of these sizes, as a trial makes it."""
        torch.manual_seed(seed)
        return make_estimator(self.section, Spans(sizes)).to(dtype)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_the_direction_is_finite_and_of_the_weights_shape_and_dtype(self, dtype: torch.dtype) -> None:
        """For several layers, of odd sizes too, before and after it has learnt."""
        for sizes in self.sizes:
            stream = signals(sizes, self._long, dtype)
            for m in map(self.make(sizes, dtype).generate, stream[:2]):
                assert m.shape == (sum(sizes),), (
                    f"generate gave {tuple(m.shape)} for layers of {list(sizes)} weights, expected ({sum(sizes)},)."
                )
            for value in directions(self.make(sizes, dtype), stream):
                assert value.dtype == dtype, (
                    f"the direction is {value.dtype}, expected {dtype}: make tensors like signal.grad."
                )
                assert torch.isfinite(value).all(), (
                    f"the direction holds {value[~torch.isfinite(value)][0]}, expected finite."
                )

    def test_a_layer_without_gradient_gets_a_finite_direction(self) -> None:
        """Nothing may be divided by a layer's size of zero."""
        sizes = self.sizes[0]
        for zeroed in (slice(0, sizes[0]), slice(None)):
            stream = signals(sizes, self._long)
            for signal in stream:
                signal.grad[zeroed] = 0
            for value in directions(self.make(sizes), stream):
                assert torch.isfinite(value).all(), "generate divides by the gradient of a layer, which may be zero."

    def test_the_same_seed_gives_the_same(self) -> None:
        """What an estimator draws, it draws from torch's global generator when it is made, and never later."""
        sizes = self.sizes[0]
        stream = signals(sizes, self._long)
        first = list(directions(self.make(sizes), stream))
        estimator = self.make(sizes)
        state = torch.get_rng_state()
        second = list(directions(estimator, stream))
        assert torch.equal(torch.get_rng_state(), state), (
            "generate, gate or learn draws from torch's global generator, which no checkpoint holds; draw in __init__ alone."
        )
        assert all(map(same_bits, first, second)), (
            "Two estimators of one seed gave two directions for the same gradients."
        )

    def test_a_signal_is_left_as_it_is(self) -> None:
        """The next step reads it again."""
        sizes = self.sizes[0]
        stream = signals(sizes, self._long)
        before = [[part.clone() for part in _parts(signal)] for signal in stream]
        list(directions(self.make(sizes), stream))
        for signal, was in zip(stream, before, strict=True):
            for name, part, old in zip(Signal._fields, _parts(signal), was, strict=True):
                assert torch.equal(part, old), f"signal.{name} was changed in place; work on a copy."

    def test_a_state_dict_continues_bit_for_bit(self) -> None:
        """Whenever a trial stops, its memory not begun, half full and full."""
        sizes, memory = self.sizes[0], self._memory
        for before in sorted({0, 1, memory // 2, memory + SETTLING}):
            stream = signals(sizes, before + memory + SETTLING)
            first = self.make(sizes)
            moves = _Moves(first)
            for signal in stream[:before]:
                moves(signal)
            second = self.make(sizes, seed=9)
            second.load_state_dict(copied(first.state_dict()))
            onward = moves.of(second)
            for signal in stream[before:]:
                assert same_bits(moves(signal), onward(signal)), (
                    f"After {before} steps, an estimator that took over the state_dict gives another direction: what it "
                    "remembers belongs into buffers, what it learns into parameters."
                )

    def test_a_trial_with_it_resumes_to_the_bit(self) -> None:
        """Stopped within an epoch and between two."""
        assert_resumes(self.make_trial(), small_images())

    def test_what_it_learns_is_grouped_with_a_rate_and_requires_grad(self) -> None:
        """All parameters are hypernetworks', each in one group of the meta-optimizer."""
        estimator = self.make(self.sizes[0])
        own = {id(p): name for name, p in estimator.named_parameters()}
        grouped: list[Tensor] = []
        for number, group in enumerate(estimator.meta_groups()):
            lr = group.get("lr")
            assert isinstance(lr, int | float) and lr > 0, (
                f'meta_groups()[{number}] has the rate {lr!r}, expected {{"params": [...], "lr": a number above 0}}.'
            )
            grouped += group["params"]
        for p in grouped:
            assert id(p) in own, (
                "meta_groups names a tensor that is no parameter of the estimator: no checkpoint holds it."
            )
            assert p.requires_grad, f"{own[id(p)]} is in meta_groups and does not require a gradient."
        left = [name for key, name in own.items() if key not in {id(p) for p in grouped}]
        assert not left, (
            f"{', '.join(left)}: in no group of meta_groups, so never learnt; name it there or make it a buffer."
        )
        assert len(grouped) == len({id(p) for p in grouped}), "meta_groups names a parameter twice."

    def test_what_it_learns_gets_gradients(self) -> None:
        """Of the parameters in meta_groups at least one, once the memory is full."""
        estimator = self.make(self.sizes[0])
        if not estimator.meta_groups():
            pytest.skip("nothing is learnt")
        list(directions(estimator, signals(self.sizes[0], self._long)))
        assert any(p.grad is not None for p in estimator.parameters()), (
            f"No parameter of meta_groups got a gradient in {self._long} steps: generate must give m with a graph to them."
        )

    def test_looking_at_it_changes_nothing(self) -> None:
        """``diagnose`` gives a number a layer, draws nothing and remembers nothing."""
        sizes = self.sizes[0]
        estimator, stream = self.make(sizes), signals(sizes, self._long)
        list(directions(estimator, stream))
        before, state = copied(estimator.state_dict()), torch.get_rng_state()
        found = estimator.diagnose(stream[0])
        for name, value in found.items():
            assert value.shape == (len(sizes),) and torch.isfinite(value).all(), (
                f"diagnose gave {tuple(value.shape)} for {name}, expected a finite number for each of {len(sizes)} layers."
            )
        assert torch.equal(torch.get_rng_state(), state), "diagnose draws from torch's global generator."
        assert (moved := difference(before, estimator.state_dict())) is None, (
            f"diagnose changes the estimator: {moved}."
        )

    def test_a_gate_gives_every_weight_a_share(self) -> None:
        """Where ``gates``: (N,), finite, never below zero."""
        sizes = self.sizes[0]
        estimator, stream = self.make(sizes), signals(sizes, self._long)
        if not estimator.gates:
            pytest.skip("it gates nothing")
        for number, signal in enumerate(stream):
            estimator(signal)
            share = estimator.gate(_update(signal, number / len(stream)), signal)
            assert share.shape == signal.grad.shape and torch.isfinite(share).all() and (share >= 0).all(), (
                f"gate gave {tuple(share.shape)} from {share.min():.3g}, expected ({sum(sizes)},) of finite numbers from 0 on."
            )

    def test_its_facts_are_of_their_kind(self) -> None:
        """What others ask without making it."""
        section, names = self.section, type(self.section).model_fields
        assert isinstance(self._memory, int) and self._memory >= 0, (
            f"the fact memory_steps is {self._memory!r}, expected a count of steps."
        )
        flops = self.fact("flops", 1000, 4)
        assert isinstance(flops, int | float) and math.isfinite(flops) and flops >= 0, (
            f"the fact flops is {flops!r} for 1,000 weights in 4 layers, expected a number from 0 on."
        )
        why = self.fact("uncapturable")
        assert why is None or (isinstance(why, str) and why), (
            f"the fact uncapturable is {why!r}, expected None or why a CUDA graph cannot hold the step."
        )
        for fact, allowed in (("unused", list(names)), ("unreported", [*EPOCH_METRICS, *FINAL_METRICS])):
            found = self.fact(fact)
            assert set(found) <= set(allowed), (
                f"the fact {fact} names {', '.join(set(found) - set(allowed))}; allowed: {', '.join(allowed)}."
            )
        gates = self.make(self.sizes[0]).gates
        assert self.part.fact("gates") is gates, (
            f"the fact gates is {self.part.fact('gates')!r}, the estimator's gates is {gates}: register it with gates={gates}."
        )
        reads = self.make(self.sizes[0]).reads_sign
        assert self.part.fact("reads_sign") is reads, (
            f"the fact reads_sign is {self.part.fact('reads_sign')!r}, the estimator's is {reads}: register it with "
            f"reads_sign={reads}."
        )
        own_step = self.fact("own_step")
        assert own_step is None or callable(own_step) or (isinstance(own_step, str) and ":" in own_step), (
            f'the fact own_step is {own_step!r} for {section!r}, expected None or "module:name".'
        )

    def test_its_memory_is_full_after_the_steps_it_states(self) -> None:
        """A CUDA graph is captured then: from there on a step changes numbers in their places, and nothing else."""
        if self.fact("uncapturable") is not None:
            pytest.skip("its step is never captured")
        sizes = self.sizes[0]
        estimator, stream = self.make(sizes), signals(sizes, self._long + 3)
        moves = _Moves(estimator)
        for signal in stream[:-3]:
            moves(signal)
        places, plain = _places(estimator), _plain(estimator)
        for signal in stream[-3:]:
            moves(signal)
        for name, place in _places(estimator).items():
            assert places.get(name) == place, (
                f"{name} is another tensor or of another shape than {SETTLING + 1} steps after memory_steps = {self._memory}. "
                "Fill it in place (copy_), state a longer memory_steps, or why not: uncapturable=lambda config: reason."
            )
        for name, value in _plain(estimator).items():
            assert plain.get(name) == value, (
                f"{name} was {plain.get(name)!r} and is {value!r} a few steps later: a CUDA graph repeats the first. Keep it "
                "in a buffer, or state the fact uncapturable=lambda config: reason."
            )

    def test_a_trial_reports_what_its_facts_leave(self) -> None:
        """Every metric that is not ``unreported`` is there, and finite."""
        trial = self.make_trial(epochs=1)
        *_, result = Trainer(trial, small_images())
        for metric in {*EPOCH_METRICS, *FINAL_METRICS} - unreported(trial).keys():
            value = result.metrics.get(metric)
            assert value is not None and math.isfinite(value), (
                f"a trial with it reports {metric} as {value}; where that is meant, state why: "
                f'unreported=lambda config: {{"{metric}": reason}}.'
            )

    @property
    def _memory(self) -> int:
        steps: int = self.fact("memory_steps")
        return steps

    @property
    def _long(self) -> int:
        """Steps in which all of it happens at least once."""
        return self._memory + SETTLING + 1


def signals(sizes: Sequence[int], count: int, dtype: torch.dtype = torch.float64) -> list[Signal]:
    """What ``count`` steps measured, the same at every call."""
    rng, n = torch.Generator().manual_seed(1), sum(sizes)

    def drawn() -> Tensor:
        return torch.randn(n, generator=rng, dtype=torch.float64)

    found = [[1e-3 * drawn(), drawn(), torch.rand(n, generator=rng, dtype=torch.float64)] for _ in range(count)]
    for number, parts in enumerate(found):
        grad, pre, slope = parts
        parts += [grad.new_tensor(number / count), pre, 1 + slope, slope]
    return [Signal(*(part.to(dtype).clone() for part in parts)) for parts in found]


def _parts(signal: Signal) -> list[Tensor]:
    return [part for part in signal if part is not None]


class _Moves:
    """Takes steps as a trial does: generate, gate, learn from what the step measured; the next signal is that measurement."""

    def __init__(self, estimator: GradientEstimator, meta: dict[str, Any] | None = None, before: Any = None) -> None:
        self.estimator = estimator
        groups = estimator.meta_groups()
        self.meta = Adam(groups) if groups else None
        if self.meta is not None and meta is not None:
            self.meta.load_state_dict(meta)
        self.before: Signal | None = before
        self.steps = 0

    def of(self, other: GradientEstimator) -> _Moves:
        """The same place in the same training, with another estimator."""
        with torch.no_grad():  # torch's optimizers keep the tensors they load
            meta = None if self.meta is None else _detached(self.meta.state_dict())
        moves = _Moves(other, meta, self.before)
        moves.steps = self.steps
        return moves

    def __call__(self, measured: Signal) -> Tensor:
        before = self.before if self.before is not None else measured
        direction = self.estimator(before)
        if self.estimator.gates:
            self.estimator.gate(_update(before, 1 - 1 / (2 + self.steps)), before)
        if self.meta is not None:
            self.meta.zero_grad(set_to_none=self.steps == 0)
            if self.estimator.learn(direction, measured):
                self.meta.step()
        self.before, self.steps = measured, self.steps + 1
        value: Tensor = direction.value.detach().clone()
        return value


def directions(estimator: GradientEstimator, stream: Sequence[Signal]) -> Iterator[Tensor]:
    """The direction of each step."""
    moves = _Moves(estimator)
    yield from map(moves, stream)


def _detached(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: _detached(value) for key, value in state.items()}
    return [_detached(each) for each in state] if isinstance(state, list) else state


def _update(signal: Signal, progress: float) -> Update:
    return Update(signal.pre, 1e-2 * signal.slope * signal.grad, progress)


def _places(estimator: GradientEstimator) -> dict[str, tuple[int, torch.Size]]:
    """Where its memory lies."""
    return {name: (each.data_ptr(), each.shape) for name, each in estimator.state_dict(keep_vars=True).items()}


def _plain(estimator: GradientEstimator) -> dict[str, Any]:
    """Its attributes that are no tensors."""
    return {
        ".".join(filter(None, (path, name))): value
        for path, module in estimator.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, _PLAIN) and not name.startswith("_") and name != "training"
    }
