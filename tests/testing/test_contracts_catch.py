"""That the contracts fail: parts broken in one way each, and the test and the words by which it is caught."""

import random
from dataclasses import dataclass, replace
from typing import Literal

import optuna
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsg import DataSection, DesignArm, DesignBase, OptimizerSection, Section, testing
from fsg.catalogue.schedulers import PopulationSection
from fsg.data import Images, make_splits
from fsg.gradients import GradientEstimator
from fsg.hypernetworks.history import GradientHistory
from fsg.layers import QuantLinear
from fsg.ops.slow_scan import reference
from fsg.parts import forget, register
from fsg.quantizers import ONE_LAYER, BwnQuantizer, DorefaQuantizer, Quantized
from fsg.study.domains import KINDS
from fsg.study.domains.continuous import Uniform


@pytest.fixture
def broken():
    """Registers a part named ``broken`` and gives its contract; nothing of it stays."""

    def make(contract, build, base=Section, attributes=None, **facts):
        class Broken(base):
            name: Literal["broken"] = "broken"

        register(contract.kind, "broken" if contract.kind == "metric" else Broken, build, **facts)
        return type("Contract", (contract,), {"config": "broken", "__module__": __name__, **(attributes or {})})()

    yield make
    forget(__name__)


def caught(contract, test, words, *args):
    with pytest.raises(AssertionError, match=words):
        getattr(contract, f"test_{test}")(*args)


# Estimators -----------------------------------------------------------------------------------------------------------
class Sound(GradientEstimator):
    """Nothing is wrong with it; each of the others changes one thing."""

    def __init__(self, config, spans):
        super().__init__(spans)
        self.logit = nn.Parameter(torch.zeros(len(spans)))
        self.register_buffer("average", torch.zeros(spans.total))

    def meta_groups(self):
        return [{"params": [self.logit], "lr": 1e-2}]

    def generate(self, signal):
        self.average.lerp_(signal.grad, 0.5)
        return signal.grad + self.spans.expand(self.logit) * self.average


class Forgets(Sound):
    last = 0

    def generate(self, signal):
        m = super().generate(signal) + self.last
        self.last = signal.grad.clone()
        return m


class Draws(Sound):
    def generate(self, signal):
        return super().generate(signal) + 1e-3 * torch.randn_like(signal.grad)


class ALayerEach(Sound):
    def generate(self, signal):
        return self.logit


class Single(Sound):
    def forward(self, signal):
        direction = super().forward(signal)
        return direction._replace(value=direction.value.float())


class Divides(Sound):
    def generate(self, signal):
        return super().generate(signal) / self.spans.expand(self.spans.norm(signal.grad))


class Writes(Sound):
    def generate(self, signal):
        signal.grad.mul_(2)
        return super().generate(signal)


class Ungrouped(Sound):
    def __init__(self, config, spans):
        super().__init__(config, spans)
        self.bias = nn.Parameter(torch.zeros(1))


class NoRate(Sound):
    def meta_groups(self):
        return [{"params": [self.logit]}]


class Foreign(Sound):
    def meta_groups(self):
        return [{"params": [torch.zeros(1, requires_grad=True)], "lr": 1e-2}]


class Detached(Sound):
    def generate(self, signal):
        return super().generate(signal).detach()


class Counts(Sound):
    steps = 0

    def generate(self, signal):
        self.steps += 1
        return super().generate(signal)


class Replaces(Sound):
    def generate(self, signal):
        self.average = torch.lerp(self.average, signal.grad, 0.5)
        return signal.grad + self.spans.expand(self.logit) * self.average


class Long(Sound):
    def __init__(self, config, spans):
        super().__init__(config, spans)
        self.history = GradientHistory(9, spans.total)

    def generate(self, signal):
        return super().generate(signal) + self.history.append(signal.grad).mean(0)


class Looks(Sound):
    def diagnose(self, signal):
        self.average.zero_()
        return {}


class Backwards(Sound):
    gates = True

    def gate(self, update, signal):
        return -torch.ones_like(signal.grad)


class Silent(Sound):
    def forward(self, signal):
        direction = super().forward(signal)
        return direction._replace(gain=direction.gain * float("nan"))


RESUMES = "a_trial_with_it_resumes_to_the_bit"
SHAPE = "the_direction_is_finite_and_of_the_weights_shape_and_dtype"
GROUPS = "what_it_learns_is_grouped_with_a_rate_and_requires_grad"
FULL = "its_memory_is_full_after_the_steps_it_states"


@pytest.mark.parametrize(
    ("estimator", "test", "words"),
    [
        (Forgets, "a_state_dict_continues_bit_for_bit", "what it remembers belongs into buffers"),
        (Forgets, RESUMES, "interrupted in .* ended otherwise"),
        (Draws, "the_same_seed_gives_the_same", "draws from torch's global generator"),
        (Draws, RESUMES, "nothing may draw from torch's global generator"),
        (Divides, "a_layer_without_gradient_gets_a_finite_direction", "which may be zero"),
        (Writes, "a_signal_is_left_as_it_is", r"signal\.grad was changed in place"),
        (Ungrouped, GROUPS, "bias: in no group of meta_groups"),
        (NoRate, GROUPS, "has the rate None"),
        (Foreign, GROUPS, "no parameter of the estimator"),
        (Detached, "what_it_learns_gets_gradients", "generate must give m with a graph"),
        (Counts, FULL, r"steps was \d+ and is \d+"),
        (Replaces, FULL, "average is another tensor"),
        (Long, FULL, r"history.window is another tensor or of another shape than 4 steps after memory_steps = 1"),
        (Looks, "looking_at_it_changes_nothing", "diagnose changes the estimator: state.average differs"),
        (Backwards, "a_gate_gives_every_weight_a_share", "from -1"),
        (Backwards, "its_facts_are_of_their_kind", "register it with gates=True"),
        (Silent, "a_trial_reports_what_its_facts_leave", "reports gain as nan"),
    ],
    ids=lambda value: getattr(value, "__name__", "")[:40],
)
def test_an_estimator_that_is_broken_is_caught(broken, estimator, test, words):
    caught(broken(testing.EstimatorContract, estimator), test, words)


@pytest.mark.parametrize(
    ("estimator", "words"), [(ALayerEach, r"\(3,\) for layers"), (Single, "is torch.float32, expected")]
)
def test_an_estimator_of_another_shape_or_dtype_is_caught(broken, estimator, words):
    caught(broken(testing.EstimatorContract, estimator), SHAPE, words, torch.float64)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"memory_steps": lambda config: 2.5}, "memory_steps is 2.5"),
        ({"flops": lambda config, weights, layers: -1}, "flops is -1"),
        ({"uncapturable": lambda config: True}, "uncapturable is True"),
        ({"unused": lambda config: {"beta": None}}, "unused names beta; allowed: name"),
        ({"unreported": lambda config: {"gian": "why"}}, "unreported names gian; allowed: train_loss"),
        ({"own_step": lambda config: 3}, "own_step is 3"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_a_fact_of_the_wrong_kind_is_caught(broken, facts, words):
    contract = broken(testing.EstimatorContract, Sound, **facts)
    with pytest.raises(AssertionError, match=words):
        contract.test_its_facts_are_of_their_kind()


def test_nothing_is_caught_where_nothing_is_wrong(broken):
    contract = broken(testing.EstimatorContract, Sound)
    for name in dir(contract):
        if name.startswith("test_"):
            marks = getattr(getattr(contract, name), "pytestmark", [])
            try:
                getattr(contract, name)(*[torch.float32 for _ in marks])
            except pytest.skip.Exception as why:
                assert "gates" in str(why)


# Quantizers -----------------------------------------------------------------------------------------------------------
def quantizing(rule):
    """The builder of a quantizer that quantises by ``rule``."""

    @dataclass(frozen=True)
    class Made:
        def __call__(self, weight, scope=ONE_LAYER):
            return rule(weight, scope)

    return lambda config: Made()


def all_of_it(weight, scope):
    """bwn, its scale that of whatever it is given: of all layers at once one."""
    with torch.no_grad():
        return BwnQuantizer()(weight)._replace(
            value=weight.abs().mean() * torch.where(weight >= 0, 1.0, -1.0).to(weight)
        )


def three_values(weight, scope):
    return BwnQuantizer()(weight, scope)._replace(value=torch.round(weight.detach().clamp(-1, 1)))


def over_its_size(weight, scope):
    found = BwnQuantizer()(weight, scope)
    return found._replace(pre=found.pre / scope.largest(weight.detach().abs()))


def with_a_graph(weight, scope):
    return BwnQuantizer()(weight, scope)._replace(calibration=torch.cosh(weight))


def itself(weight, scope):
    return BwnQuantizer()(weight, scope)._replace(pre=weight.detach())


def single(weight, scope):
    return Quantized(*(part.float() for part in BwnQuantizer()(weight, scope)))


STAGES = "every_stage_is_finite_and_keeps_shape_and_dtype"


@pytest.mark.parametrize(
    ("rule", "test", "words", "args"),
    [
        (
            all_of_it,
            "all_layers_at_once_are_each_layer_alone_bit_for_bit",
            "value of all layers at once",
            [torch.float64],
        ),
        (three_values, "a_channel_takes_no_more_values_than_its_bits_allow", "3 values, of 1 bits at most 2", []),
        (over_its_size, STAGES, "pre is not finite", [torch.float64]),
        (with_a_graph, "no_stage_has_a_graph_or_moves_with_the_weight", "calibration has a graph", []),
        (itself, "no_stage_has_a_graph_or_moves_with_the_weight", "pre is the latent weight itself", []),
        (single, STAGES, "pre is torch.float32 of a weight in torch.float64", [torch.float64]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_quantizer_that_is_broken_is_caught(broken, rule, test, words, args):
    caught(broken(testing.QuantizerContract, quantizing(rule)), test, words, *args)


def test_a_quantizer_without_bits_or_without_equality_is_caught(broken):
    contract = broken(testing.QuantizerContract, lambda config: BwnQuantizer(), bits=lambda config: None)
    caught(contract, "it_is_made_unless_its_fact_says_that_weights_stay_float", "bits is None and the quantizer Bwn")
    forget(__name__)
    contract = broken(testing.QuantizerContract, lambda config: lambda weight, scope=None: BwnQuantizer()(weight))
    caught(contract, "one_configuration_is_one_quantizer", "frozen=True")


# Networks -------------------------------------------------------------------------------------------------------------
class Net(nn.Module):
    """Nothing is wrong with it."""

    def __init__(self, config, image_shape, classes, quantizer):
        super().__init__()
        inputs = image_shape[0] * image_shape[1] * image_shape[2]
        self.first = QuantLinear(inputs, 16, quantizer=quantizer)
        self.norm = nn.BatchNorm1d(16)
        self.last = QuantLinear(16, classes, quantizer=quantizer)

    def forward(self, images):
        return self.last(F.relu(self.norm(self.first(images.flatten(1)))))


class Dropped(Net):
    def forward(self, images):
        return F.dropout(super().forward(images), training=self.training)


class PastTheLayer(Net):
    def forward(self, images):
        return F.linear(F.relu(self.norm(self.first(images.flatten(1)))), self.last.weight)


class OfItsOwn(Net):
    def __init__(self, config, image_shape, classes, quantizer):
        super().__init__(config, image_shape, classes, DorefaQuantizer())


class AllFloat(Net):
    def __init__(self, config, image_shape, classes, quantizer):
        super().__init__(config, image_shape, classes, None)


class SeedsItself(Net):
    def __init__(self, *args):
        torch.manual_seed(0)
        super().__init__(*args)


class ReadsTheBatch(Net):
    def forward(self, images):
        return super().forward(images - images.mean())


class OneLogit(Net):
    def forward(self, images):
        return super().forward(images)[:, :1]


class Remembers(Net):
    seen = 0.0

    def forward(self, images):
        self.seen = self.seen + images.mean().item() if self.training else self.seen
        return super().forward(images) + self.seen


@pytest.mark.parametrize(
    ("net", "test", "words"),
    [
        (Dropped, RESUMES, "nothing may draw from torch's global generator"),
        (PastTheLayer, "a_gradient_reaches_every_quantised_weight", "no gradient reaches last"),
        (
            OfItsOwn,
            "it_has_quantised_layers_where_a_quantizer_is_given_and_none_without",
            "first, last: quantised though",
        ),
        (AllFloat, "it_has_quantised_layers_where_a_quantizer_is_given_and_none_without", "no layer is quantised"),
        (SeedsItself, "its_first_weights_follow_the_seed", "networks of two seeds are the same"),
        (ReadsTheBatch, "an_image_is_read_the_same_whatever_stands_beside_it", "something depends on the batch"),
        (OneLogit, "logits_are_finite_one_for_each_class", r"gave \(4, 1\), expected \(4, 3\)"),
        (Remembers, "a_state_dict_is_the_whole_network", "gives other logits"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_network_that_is_broken_is_caught(broken, net, test, words):
    caught(broken(testing.ModelContract, net), test, words)


# Data sets ------------------------------------------------------------------------------------------------------------
def images(seed=0, classes=3, count=90):
    rng = torch.Generator().manual_seed(seed)
    return Images(torch.randint(256, (count, 1, 5, 5), generator=rng).byte(), torch.arange(count) % classes)


def split(config, of=None, **changed):
    return replace(make_splits(config, of or images(), list("abc")), **changed)


def shared(config):
    data = split(config)
    return replace(data, validation=data.train)


def missing(config):
    data = split(config)
    return replace(data, train=data.train.select(data.train.labels > 0))


def floats(config):
    data = split(config)
    return replace(data, test=Images(data.test.images.float(), data.test.labels))


def of_one_split(config):
    return split(config.model_copy(update={"split_seed": 0}))


def of_its_share(config):
    return split(config.model_copy(update={"validation_share": 0.15}))


DISJOINT = "the_three_parts_share_no_image"
SPLIT = "another_split_seed_splits_the_same_images_otherwise"


@pytest.mark.parametrize(
    ("load", "test", "words"),
    [
        (shared, DISJOINT, "the parts are not disjoint"),
        (lambda config: split(config, test=images().select(torch.zeros(0).long())), DISJOINT, "test has no images"),
        (missing, "every_class_is_in_the_training_part", r"class \[0\]"),
        (floats, "images_are_bytes_of_one_shape_with_labels", "of test are torch.float32"),
        (lambda config: split(config, std=(0.0,)), "each_channel_has_a_mean_and_a_deviation", "std is"),
        (of_one_split, SPLIT, "the same split"),
        (lambda config: split(config, images(config.split_seed)), SPLIT, "other images"),
        (of_its_share, "the_validation_share_is_heeded", "at a share of 0.15 and"),
        (lambda config: split(config, images(torch.randint(99, ()).item())),
         "the_same_configuration_gives_the_same_images", "draws from torch's global generator"),
        (lambda config: split(config, images(random.randrange(10**9))),
         "the_same_configuration_gives_the_same_images", "gave two data sets"),
    ],
)  # fmt: skip
def test_a_data_set_that_is_broken_is_caught(broken, load, test, words):
    contract = broken(testing.DataContract, load, DataSection, {"config": {"name": "broken", "batch_size": 16}})
    caught(contract, test, words)


def test_facts_of_a_data_set_that_cannot_be_are_caught(broken):
    contract = broken(testing.DataContract, split, DataSection, stand_in=lambda config: 3)
    caught(contract, "its_facts_are_of_their_kind", "stand_in gave int")


# Schedules, optimizers, metrics ---------------------------------------------------------------------------------------
CALLS = []


@pytest.mark.parametrize(
    ("factor", "test", "words"),
    [
        (lambda config, done, epochs: 1 - 2 * done / epochs, "factors_are_finite_numbers_from_zero_on", "is -0"),
        (lambda config, done, epochs: float("nan"), "factors_are_finite_numbers_from_zero_on", "is nan"),
        (lambda config, done, epochs: 0.0, "some_epoch_learns", "every factor is 0"),
        (
            lambda config, done, epochs: CALLS.append(1) or 1 / len(CALLS),
            "a_factor_depends_on_its_epoch_alone",
            "backwards",
        ),
    ],
)
def test_a_schedule_that_is_broken_is_caught(broken, factor, test, words):
    caught(broken(testing.ScheduleContract, factor), test, words)


class Sgd(torch.optim.SGD):
    def __init__(self, config, params):
        super().__init__(params, lr=config.lr, momentum=0.9)


class OfItsRate(Sgd):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p -= 0.01 * p.grad


class AtTwice(Sgd):
    def __init__(self, config, params):
        super().__init__(config.model_copy(update={"lr": 2 * config.lr}), params)


class MatricesAlone(Sgd):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None if p.dim() < 2 else p.grad
        super().step(closure)


class Hides(Sgd):
    steps = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.steps += 1
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p -= group["lr"] / self.steps * p.grad


@pytest.mark.parametrize(
    ("optimizer", "test", "words"),
    [
        (OfItsRate, "its_rate_is_the_configured_one_and_rules_the_step", "at a rate of 0 a parameter moved"),
        (AtTwice, "its_rate_is_the_configured_one_and_rules_the_step", "starts with the rate 0.02"),
        (MatricesAlone, "it_moves_every_parameter_that_has_a_gradient", r"shape \(6,\) did not move"),
        (Hides, "its_state_continues_bit_for_bit", "what a step depends on"),
        (Hides, RESUMES, "ended otherwise"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_optimizer_that_is_broken_is_caught(broken, optimizer, test, words):
    caught(broken(testing.OptimizerContract, optimizer, OptimizerSection), test, words)


@pytest.mark.parametrize(
    ("metric", "test", "words"),
    [
        (lambda logits, labels: logits.argmax(1) == labels, "it_is_one_finite_number", "expected one finite number"),
        (lambda logits, labels: (logits[labels == 1].argmax(1) == 1).float().mean(), "it_is_one_finite_number", "nan"),
        (lambda logits, labels: logits[0].max(), "the_order_of_images_does_not_matter", "in another order"),
        (
            lambda logits, labels: logits.clamp_(0, 1).mean(),
            "it_leaves_logits_and_labels_as_they_are",
            "input was changed",
        ),
        (lambda logits, labels: torch.rand(()), "it_leaves_logits_and_labels_as_they_are", "draws from"),
    ],
)
def test_a_metric_that_is_broken_is_caught(broken, metric, test, words):
    caught(broken(testing.MetricContract, metric), test, words)


# Domains --------------------------------------------------------------------------------------------------------------
class Outside(Uniform):
    def draw(self, rng):
        return 2 * self.high


class Elsewhere(Uniform):
    def draw(self, rng):
        return random.uniform(self.low, self.high)


class Misplaced(Uniform):
    def encode(self, value):
        return super().encode(value) / 2


class Written(Uniform):
    @property
    def arguments(self):
        return [self.low, 2 * self.high]


class Leaves(Uniform):
    def perturb(self, value, factor):
        return 10 * value * factor


class Halved(Uniform):
    def from_optuna(self, value):
        return value / 2


class Wide(Uniform):
    def to_optuna(self):
        return Uniform(self.low, 100 * self.high).to_optuna()


class Miscounted(Uniform):
    count = 3

    def grid(self):
        return iter([self.low, self.high])


@pytest.mark.parametrize(
    ("kind", "test", "words"),
    [
        (Outside, "what_it_draws_and_its_ends_belong_to_it", "holds says that it does not belong"),
        (Elsewhere, "the_same_generator_draws_the_same", "draw from rng alone"),
        (Misplaced, "a_value_has_a_place_and_a_place_has_a_value", "comes back as"),
        (Written, "it_is_read_as_it_is_written", "read as another domain"),
        (Leaves, "a_value_that_is_changed_stays_in_it", "does not belong"),
        (Halved, "optuna_remembers_it", "Optuna remembers"),
        (Wide, "what_optuna_proposes_belongs_to_it", "Optuna proposes"),
        (Miscounted, "its_count_is_that_of_its_grid", "count is 3, and grid gives 2"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_domain_that_is_broken_is_caught(monkeypatch, kind, test, words):
    monkeypatch.setattr(kind, "kind", "broken")
    monkeypatch.setitem(KINDS, "broken", kind)
    caught(type("Contract", (testing.DomainContract,), {"config": {"broken": [1.0, 2.0]}})(), test, words)


# Samplers -------------------------------------------------------------------------------------------------------------
class Points(optuna.samplers.BaseSampler):
    """Sound: one draw after another from a generator of its own."""

    def __init__(self, config, space, seed, epochs):
        self.domains, self.rng = space.domains, random.Random(seed)

    def infer_relative_search_space(self, study, trial):
        return {path: domain.to_optuna() for path, domain in self.domains.items()}

    def sample_relative(self, study, trial, search_space):
        return {path: domain.draw(self.rng) for path, domain in self.domains.items()}

    def sample_independent(self, study, trial, name, distribution):
        raise AssertionError("asked for a path by itself")


class FromTheProgram(Points):
    def sample_relative(self, study, trial, search_space):
        return {path: domain.draw(random) for path, domain in self.domains.items()}


class OnlyFinished(Points):
    def sample_relative(self, study, trial, search_space):
        values = [t.value for t in study.get_trials(deepcopy=False)[:-1]]
        assert all(v is None or v > 0 for v in values) and (None not in values or len(values) < 3), "no value"
        return super().sample_relative(study, trial, search_space)


class Unconditional(Points):
    def infer_relative_search_space(self, study, trial):
        return {path: domain.to_optuna() for path, domain in self.domains.items() if not domain.when}

    def sample_relative(self, study, trial, search_space):
        return {path: self.domains[path].draw(self.rng) for path in search_space}


class WithOneObjective(Points):
    def sample_relative(self, study, trial, search_space):
        assert study.direction is not None
        return super().sample_relative(study, trial, search_space)


def test_a_sampler_that_is_sound_passes(broken, tmp_path):
    contract = broken(testing.SamplerContract, Points)
    for name in (
        "what_it_proposes_belongs_to_the_space",
        "the_same_seed_proposes_the_same",
        "it_goes_on_after_trials_that_were_stopped_or_failed",
        "it_proposes_while_others_run",
    ):
        getattr(contract, f"test_{name}")()
    contract.test_a_restart_goes_on_from_what_was_told(tmp_path)


@pytest.mark.parametrize(
    ("sampler", "test", "words", "facts"),
    [
        (FromTheProgram, "the_same_seed_proposes_the_same", "draws from the program's own generator", {}),
        (OnlyFinished, "it_goes_on_after_trials_that_were_stopped_or_failed", "no value", {}),
        (Unconditional, "it_searches_paths_with_conditions_where_it_says_so", "by itself", {"conditional": True}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_sampler_that_is_broken_is_caught(broken, sampler, test, words, facts):
    contract = broken(testing.SamplerContract, sampler, **facts)
    caught(contract, test, words)


def test_a_sampler_that_promises_several_objectives_is_held_to_it(broken):
    contract = broken(testing.SamplerContract, WithOneObjective, objectives=True)
    with pytest.raises(RuntimeError, match="multi-objective"):
        contract.test_it_takes_several_objectives_where_it_says_so()


# Schedulers -----------------------------------------------------------------------------------------------------------
class Falls:
    """Sound: a trial ends when it falls below half of the best at its epoch."""

    def __init__(self, config, epochs, expected):
        self.best = {}

    def stop(self, key, epoch, value):
        self.best[epoch] = max(value, self.best.get(epoch, value))
        return f"{value:g} is too little" if value < 0.5 * self.best[epoch] else None


class SaysNothing(Falls):
    def stop(self, key, epoch, value):
        return super().stop(key, epoch, value) and ""


class Rolls(Falls):
    def stop(self, key, epoch, value):
        return "bad luck" if random.random() < 0.02 else None


class Counts(Falls):
    """Remembers whom it stopped, and forgets it at a restart: the driver tells only what was heard."""

    calls = 0

    def stop(self, key, epoch, value):
        type(self).calls += 1
        return "too many" if self.calls % 50 == 0 else None


class StopsTheBest(Falls):
    def stop(self, key, epoch, value):
        return "too good" if epoch > 3 and value > 1 else None


@pytest.mark.parametrize(
    ("rule", "test", "words"),
    [
        (SaysNothing, "it_says_why_it_stops", "say why"),
        (Rolls, "the_same_results_give_the_same_decisions", "decided otherwise"),
        (Counts, "telling_it_again_after_a_restart_restores_it", "decided otherwise"),
        (StopsTheBest, "what_leads_at_every_epoch_runs_to_its_end", "the best of all"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_scheduler_that_is_broken_is_caught(broken, rule, test, words):
    caught(broken(testing.SchedulerContract, rule), test, words)


@pytest.mark.parametrize(
    "test",
    ["it_says_why_it_stops", "the_same_results_give_the_same_decisions", "what_leads_at_every_epoch_runs_to_its_end"],
)
def test_a_scheduler_that_is_sound_passes(broken, test):
    getattr(broken(testing.SchedulerContract, Falls), f"test_{test}")()


class Explodes:
    def __init__(self, config, domains):
        pass

    def points(self, donors, members, epoch, feasible, rng):
        return [{path: 1e9 for path in donor} for donor in donors]


class Shuffles(Explodes):
    def points(self, donors, members, epoch, feasible, rng):
        return [{path: value * random.uniform(0.9, 1.0) for path, value in donor.items()} for donor in donors]


@pytest.mark.parametrize(("explore", "words"), [(Explodes, "does not belong|may not be run"), (Shuffles, "otherwise")])
def test_a_population_that_is_broken_is_caught(broken, explore, words):
    contract = broken(testing.SchedulerContract, explore, PopulationSection, population=True)
    caught(contract, "a_population_changes_within_its_space", words)


# Designs --------------------------------------------------------------------------------------------------------------
def design(answers):
    """The contract of a design of two arms that gives other ``answers``."""

    def arms(self):
        return [DesignArm("full", {}), DesignArm("short", {"gradient": {"length": 1}})]

    class Broken(DesignBase):
        kind: Literal["broken"] = "broken"

    for name, answer in ({"arms": arms} | answers).items():
        setattr(Broken, name, answer)
    register("design", Broken)
    return type("Contract", (testing.DesignContract,), {"config": {"kind": "broken"}, "__module__": __name__})()


@pytest.mark.parametrize(
    ("answers", "test", "words"),
    [
        ({"levels": lambda self: {"nobody": (True,)}}, "what_it_names_are_its_arms", "levels.. has nobody"),
        ({"ends": lambda self: ("full", "nobody")}, "what_it_names_are_its_arms", "ends.. is"),
        ({"doses": lambda self: ("", {"full": 1})}, "what_it_names_are_its_arms", "doses.. is"),
        (
            {"aliases": lambda self: [str(random.random())]},
            "it_is_the_same_whenever_it_is_asked",
            "aliases.. is .* and then",
        ),
    ],
)
def test_a_design_that_is_broken_is_caught(answers, test, words):
    try:
        caught(design(answers), test, words)
        getattr(design({}), f"test_{test}")()
    finally:
        forget(__name__)


# Backends -------------------------------------------------------------------------------------------------------------
def half(tokens, weights, outputs):
    return 0.5 * reference.slow_scan(tokens, weights, outputs)


def without_a_gradient(tokens, weights, outputs):
    return reference.slow_scan(tokens, weights._replace(D=weights.D.detach() + 0 * weights.D), outputs)


@pytest.mark.parametrize(("scan", "words"), [(half, "output is off"), (without_a_gradient, "dD is off")])
def test_a_backend_that_is_broken_is_caught(broken, scan, words):
    register("backend", "broken", scan)
    try:
        contract = type("Contract", (testing.BackendContract,), {"config": "broken", "__module__": __name__})()
        caught(contract, "output_and_every_gradient_are_those_of_the_reference", words)
    finally:
        forget(__name__)
