"""Every optimizer by its name: it trains, repeats and resumes to the bit, or it is refused before launch with its reason."""

import copy
import io
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.optim import Optimizer

from fsg.catalogue.optimizers import BUILT_IN, OptimizerConfig
from fsg.config import load_trial, parse_trial
from fsg.data import DataSplits, Images
from fsg.errors import BackendUnavailable, ConfigError
from fsg.formats import FIRST
from fsg.layers import QuantConv2d, QuantLinear, using
from fsg.optimizer_names import UNFIT
from fsg.study.optimizers import check_optimizers
from fsg.study.spec import load_study
from fsg.train import Trainer, optimizers
from fsg.train.checkpoint import save_checkpoint
from fsg.train.curvature import backward_twice
from fsg.train.optim import base_optimizer
from fsg.train.optimizers import OF_TORCH, Guest, facts, known
from fsg.train.optimizers import __main__ as optimizers_page
from fsg.train.optimizers.facts import Facts, facts_of
from fsg.train.optimizers.plain import NotPlain, from_plain, to_plain
from fsg.train.pretrained import load_pretrained
from fsg.train.seeds import all_seeded

package = pytest.importorskip("pytorch_optimizer", reason="the extra `optimizers` is not installed")

CPU = torch.device("cpu")
KINDS = known()
# What is refused without being listed in UNFIT: found by trying it, with the reason that is said.
FOUND_OUT = {
    "asgd": "sets its rate itself at every step, and the schedule would set it back at every epoch",
    "sara": "leaves most weights as they are: ",
    "scionlight": "keeps its momentum in the gradients, which the trainer writes anew at every step",
}
ACCEPTED = [*BUILT_IN, *(name for name in KINDS if name not in UNFIT and name not in FOUND_OUT)]
NEWCOMERS = ("madeup", "noisy")  # of this file
SLOW = ("dadaptadan", "ranger")  # at their own rates they are still above their first loss after 12 steps
HEAVY = ("kron",)  # 50 times as long as the others on convolutions


def images(count: int, seed: int) -> Images:
    """Three classes of 4x4 images: a prototype each, and noise."""
    labels = torch.arange(count) % 3
    prototypes = torch.randint(0, 256, (3, 1, 4, 4), generator=torch.Generator().manual_seed(9))
    noise = torch.randint(-40, 41, (count, 1, 4, 4), generator=torch.Generator().manual_seed(seed))
    return Images((prototypes[labels] + noise).clamp(0, 255).to(torch.uint8), labels)


DATA = DataSplits(images(48, 0), images(12, 1), images(12, 2), 3, (0.5,), (0.3,))


def rate(name: str) -> float:
    """The rate that an optimizer comes with."""
    return 0.01 if name in BUILT_IN else facts(name).rate or 0.01


def trial(name, epochs=2, **over):
    plain = {
        "gradient": "ste",
        "optimizer": {"name": name, "lr": rate(name) if name in (*ACCEPTED, *NEWCOMERS) else 0.01},
        "data": {"batch_size": 24 if name in HEAVY else 8},
        "evaluate": {"batchnorm": "running", "ema_weights": 0.0},
        "schedule": "constant",
        "device": "cpu",
        "epochs": epochs,
        "checkpoint_every_steps": 1 if name in HEAVY else 4,
    }
    return parse_trial({**plain, **over})


def equal(a, b) -> bool:
    """Whether two states hold the same, to the bit."""
    flat_a, flat_b = (torch.utils._pytree.tree_flatten(x)[0] for x in (a, b))
    return len(flat_a) == len(flat_b) and all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(flat_a, flat_b, strict=True)
    )


def outcome(trainer):
    """The state at the end without the times, which are nobody's to repeat."""
    state = trainer.state_dict()
    metrics, layers = state.pop("last_result")
    return state, {k: v for k, v in metrics.items() if k not in ("step_ms", "images_per_s")}, layers


def training_loss(trainer) -> float:
    """Of all images at the point of evaluation, with their own BatchNorm statistics."""
    network = copy.deepcopy(trainer.model)
    with torch.no_grad(), trainer.step.at_evaluation_point():
        network.load_state_dict(trainer.model.state_dict())
        logits = network.train()(trainer.inputs(DATA.train.images))
        return torch.nn.functional.cross_entropy(logits, DATA.train.labels).item()


def read_back(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


# The table of all names -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.filterwarnings("ignore")
def test_an_accepted_optimizer_learns_repeats_and_resumes_to_the_bit(name):
    config, states = trial(name, epochs=8 if name in SLOW else 2), {}
    whole = Trainer(config, DATA)
    before = training_loss(whole)
    list(whole)
    assert training_loss(whole) < before, "learnt, at the rate that it comes with"
    again = Trainer(config, DATA)
    again.run_epoch()
    states["between epochs"] = read_back(again.state_dict())
    again.run_epoch(save=lambda state: states.setdefault("within one", read_back(state)))
    list(again)
    assert equal(outcome(again), outcome(whole)), "repeated"
    for when, state in states.items():
        resumed = Trainer(config, DATA)
        resumed.load_state_dict(state)
        list(resumed)
        assert equal(outcome(resumed), outcome(whole)), when


@pytest.mark.parametrize("name", UNFIT)
def test_an_unfit_optimizer_is_refused_as_its_name_is_read(name):
    why, instead = UNFIT[name]
    said = f'--set optimizer={name}: optimizer.name is "{name}", which cannot train here: it {why}. The nearest that'
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_trial(None, [f"optimizer={name}"])
    assert instead in ACCEPTED


@pytest.mark.parametrize("name", UNFIT)
@pytest.mark.filterwarnings("ignore")
def test_what_is_refused_by_name_is_refused_when_it_is_tried(name):
    """The day that a new version makes one of them work, its entry in the table is to go."""
    kind = KINDS[name] if name in KINDS else vars(torch.optim)["SparseAdam"]
    assert Facts(name, kind, torch.float32).refused


@pytest.mark.parametrize("name", FOUND_OUT)
def test_an_optimizer_that_trains_something_else_is_refused_with_its_reason(name):
    with pytest.raises(ConfigError, match=re.escape(f'optimizer.name is "{name}", which {FOUND_OUT[name]}')):
        Trainer(trial(name), DATA)


def test_the_table_has_every_optimizer_of_the_package_and_of_torch():
    package_names = set(package.get_supported_optimizers())
    assert {*ACCEPTED, *UNFIT, *FOUND_OUT} == package_names | {*OF_TORCH, "sparseadam"}
    torchs = {n.lower() for n, k in vars(torch.optim).items() if isinstance(k, type) and issubclass(k, Optimizer)}
    assert torchs - {"optimizer"} <= {*ACCEPTED, *UNFIT, *FOUND_OUT}


def test_docs_list_the_optimizers_as_they_are():
    page = Path(__file__).parents[2] / optimizers.PAGE
    versions = re.search(r"pytorch-optimizer (\S+), torch (\d+\.\d+)", page.read_text())
    if versions.groups() != optimizers_page.versions():
        pytest.skip(f"{optimizers.PAGE} is of {versions.group(0)}; here is another")
    assert page.read_text() == optimizers_page.page(), f"python -m fsg.train.optimizers > {optimizers.PAGE}"


# Where a network is evaluated -----------------------------------------------------------------------------------------
SWITCHING = ["schedulefreeadamw", "schedulefreeradam", "schedulefreesgd", "splus"]


def average_of(guest, index=0):
    """The point of evaluation by the authors' formula, from the state and the point of training."""
    p, group = guest.params[index].detach().clone(), guest.param_groups[0]
    state = guest.optimizer.state[guest.params[index]]
    if "ema" in state:  # SPlus: a moving average, and its bias taken out
        return state["ema"] / (1 - group["ema_rate"] ** group["step"])
    beta = group.get("momentum", group.get("betas", (None,))[0])  # y = beta x + (1 - beta) z, solved for x
    return (p - (1 - beta) * state["z"]) / beta


def test_the_switching_optimizers_are_known_by_what_they_are():
    assert [name for name in KINDS if facts_of(name, KINDS[name], torch.float32).switches] == SWITCHING


@pytest.mark.parametrize("name", SWITCHING)
def test_evaluation_is_at_the_authors_point_and_leaves_the_training_point_to_the_bit(name):
    trainer = Trainer(trial(name), DATA)
    list(trainer)
    guest = trainer.step.latent_optimizer
    trained, expected = trainer.step.latent.clone(), average_of(guest)
    before = read_back(trainer.step.state_dict())
    with trainer.step.at_evaluation_point():
        torch.testing.assert_close(guest.params[0].detach(), expected)
        assert name == "schedulefreeradam" or not torch.equal(trainer.step.latent, trained)
    assert torch.equal(trainer.step.latent, trained)
    assert equal(read_back(trainer.step.state_dict()), before)


def test_the_reported_loss_is_the_evaluated_networks():
    trainer = Trainer(trial("splus"), DATA)
    result = list(trainer)[-1].metrics["val_loss"]
    assert trainer._evaluate()["val_loss"] != result
    with trainer.step.at_evaluation_point():
        assert trainer._evaluate()["val_loss"] == result


def test_how_often_a_network_is_evaluated_does_not_change_its_training():
    """Its own way there and back rounds, in float32, from the first time on."""
    often, seldom = Trainer(trial("schedulefreesgd"), DATA), Trainer(trial("schedulefreesgd"), DATA)
    often.run_epoch(), seldom.run_epoch()
    for _ in range(10):
        with often.step.at_evaluation_point():
            pass
    often.run_epoch(), seldom.run_epoch()
    assert torch.equal(often.step.latent, seldom.step.latent)


def test_evaluation_before_the_first_step_is_at_the_weights_as_they_are():
    """SPlus has no average yet and raises KeyError; an epoch of a single batch moves no latent weight."""
    trainer = Trainer(trial("splus", data={"batch_size": 48}), DATA)
    assert trainer.run_epoch().metrics["val_loss"] > 0


def test_a_pretrained_start_takes_the_network_that_was_evaluated(tmp_path):
    trainer = Trainer(trial("splus", quantizer="none"), DATA)
    list(trainer)
    save_checkpoint(trainer.state_dict(), tmp_path / "last.pt")
    other = Trainer(trial("adam", quantizer="none"), DATA)
    load_pretrained(other.model, tmp_path / "last.pt")
    with trainer.step.at_evaluation_point():
        assert all(torch.equal(a, b) for a, b in zip(other.model.parameters(), trainer.model.parameters(), strict=True))
    assert not torch.equal(next(other.model.parameters()), next(trainer.model.parameters()))
    assert "evaluated" not in Trainer(trial("adam"), DATA).state_dict()


# Chance ---------------------------------------------------------------------------------------------------------------
DRAWING = ["dash", "gravity", "kron", "magma"]


def test_the_drawing_optimizers_are_known_by_what_they_do():
    assert [name for name in KINDS if name in ACCEPTED and facts(name).draws] == DRAWING


@pytest.mark.parametrize("name", [name for name in DRAWING if name not in HEAVY])
def test_draws_are_of_the_trials_seed_and_disturb_nobodys(name):
    import random

    import numpy as np

    def weights(seed):
        trainer = Trainer(trial(name, seed=0), DATA)
        for guest in trainer.step.guests():
            guest.seed += seed
        trainer.run_epoch()
        return trainer.step.latent.clone()

    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = torch.rand(3), np.random.rand(3), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    first = weights(0)
    assert torch.equal(torch.rand(3), expected[0])
    assert (np.random.rand(3) == expected[1]).all() and random.random() == expected[2]
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1)), "another seed is another trial"


def test_latent_and_float_parameters_draw_apart():
    latent, rest = Trainer(trial("gravity"), DATA).step.guests()
    assert latent.seed != rest.seed


def test_every_global_generator_is_seeded_inside_and_as_before_outside():
    import random

    import numpy as np

    def drawn():
        return torch.rand(1).item(), np.random.random(), random.random()

    with all_seeded(3, 1, CPU):
        first = drawn()
    with all_seeded(3, 1, CPU):
        assert drawn() == first
    for other in ((3, 2), (4, 1)):
        with all_seeded(*other, CPU):
            assert not set(drawn()) & set(first)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with pytest.raises(ZeroDivisionError), all_seeded(3, 1, CPU):
        drawn(), 1 / 0
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[2]
    assert (np.random.get_state()[1] == before[1]).all()


# What a checkpoint holds ----------------------------------------------------------------------------------------------
def test_nadam_resumes_to_the_bit_in_float64():
    """torch 2.15 reads its product back in the parameters' dtype and goes on with more digits than it had."""
    config = trial("nadam", dtype="float64")
    whole, first, second = (Trainer(config, DATA) for _ in range(3))
    list(whole), first.run_epoch()
    second.load_state_dict(read_back(first.state_dict()))
    list(second)
    assert equal(outcome(second), outcome(whole))


def test_a_state_of_the_optimizer_alone_is_taken_too():
    """As a checkpoint of fsg 0.1.0 has it."""
    params = [torch.nn.Parameter(torch.ones(3, 2))]
    guest = base_optimizer(OptimizerConfig(name="lion"), params)
    params[0].grad = torch.ones(3, 2)
    guest.step()
    other = base_optimizer(OptimizerConfig(name="lion"), [torch.nn.Parameter(torch.ones(3, 2))])
    other.load_state_dict(read_back(guest.optimizer.state_dict()))
    assert equal(other.optimizer.state_dict(), guest.optimizer.state_dict())


@pytest.mark.parametrize("name", ["adam", "lion"])
def test_two_trainers_that_go_on_from_one_state_share_nothing(name):
    """torch's load_state_dict keeps the very tensors it is given."""
    first = Trainer(trial(name), DATA)
    first.run_epoch()
    state = first.state_dict()
    alone, one, other = (Trainer(trial(name), DATA) for _ in range(3))
    alone.load_state_dict(read_back(state))
    one.load_state_dict(state), other.load_state_dict(state)
    for trainer in (alone, one, other):
        trainer.run_epoch()
    assert equal(outcome(one), outcome(alone)) and equal(outcome(other), outcome(alone))


class Projector:
    def __init__(self, rank):
        self.rank, self.matrix = rank, torch.ones(2, rank)
        raise AssertionError("a class that is read back is not run")


def test_objects_of_the_package_come_back_and_no_others():
    made = Projector.__new__(Projector)
    vars(made).update(rank=2, matrix=torch.ones(2, 2))
    own = __name__.partition(".")[0]
    written = read_back(to_plain({"projector": made, 1.5: (torch.Size([2]), [None])}, own))
    back = from_plain(written, own, CPU)
    assert type(back["projector"]) is Projector and torch.equal(back["projector"].matrix, torch.ones(2, 2))
    assert back[1.5] == (torch.Size([2]), [None])
    with pytest.raises(NotPlain, match="Projector"):
        to_plain(made, "pytorch_optimizer")
    for foreign in ("os:system", "subprocess:Popen", f"{own}:KINDS", f"{own}:missing", f"{own}.never_imported:X"):
        with pytest.raises(ValueError, match="no class of"):
            from_plain({"fsg.object": foreign, "fsg.holds": {}}, own, CPU)


# What a step is given -------------------------------------------------------------------------------------------------
def test_the_hessians_diagonal_is_estimated_without_bias():
    torch.manual_seed(0)
    root = torch.randn(4, 4, dtype=torch.float64)
    matrix, x = root @ root.T, torch.zeros(4, dtype=torch.float64, requires_grad=True)
    estimates = []
    for step in range(1000):
        noise = torch.randint(0, 2, (4,), generator=torch.Generator().manual_seed(step)).double() * 2 - 1
        estimates.append(backward_twice(0.5 * x @ matrix @ x + x.sum(), [x], [noise])[0])
    assert torch.equal(x.grad, torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(torch.stack(estimates).mean(0), matrix.diagonal(), rtol=0.15, atol=0.15)


def test_curvature_along_a_latent_weight_is_that_of_its_quantised_one_times_the_squared_slope():
    trainer = Trainer(trial("adahessian"), DATA)
    step, seen = trainer.step, {}
    latent, _ = step.guests()
    latent.see = lambda loss, diagonal=None: seen.update(diagonal=diagonal)
    images, labels = trainer.inputs(DATA.train.images[:8]), DATA.train.labels[:8]
    quantized = step.quantizer(step.latent, step.scope)
    noise = torch.cat([z.flatten() for z in latent.noise()])
    rest = step.float_optimizer.noise()
    weights = quantized.value.detach().requires_grad_()
    with using(step.layers, step.parts(weights)):
        loss = torch.nn.functional.cross_entropy(trainer.model(images), labels)
        expected = backward_twice(loss, [weights, *step.float_optimizer.params], [noise, *rest])[0]
    step(images, labels)
    diagonal = torch.cat([part.flatten() for part in seen["diagonal"]])
    torch.testing.assert_close(diagonal, quantized.slope**2 * expected)


def test_sophia_asks_for_curvature_when_its_authors_do():
    trainer = Trainer(trial("sophiah", epochs=4), DATA)
    guest = trainer.step.float_optimizer
    asked = []
    step = guest.step
    guest.step = lambda: (asked.append(guest.asks_curvature), step())
    list(trainer)
    assert [number for number, was in enumerate(asked) if was] == [0, 10, 20]


def test_an_optimizer_that_steps_by_the_loss_is_told_that_of_its_gradient():
    trainer = Trainer(trial("emonavi"), DATA)
    latent, rest = trainer.step.guests()
    assert latent.uses_loss and rest.uses_loss and not facts("lion").uses_loss
    images, labels = trainer.inputs(DATA.train.images[:8]), DATA.train.labels[:8]
    losses = [trainer.step(images, labels).loss.item() for _ in range(2)]
    assert rest.optimizer.state["ema"]["short"] == pytest.approx(0.3 * losses[1] + 0.7 * losses[0])
    assert latent.optimizer.state["ema"]["short"] == pytest.approx(losses[0]), "a latent weight steps one batch later"


MUONS = ["adago", "adamuon", "muon", "muonclip", "normuon"]


@pytest.mark.parametrize("name", MUONS)
def test_muons_step_hidden_matrices_and_adamw_the_rest(name):
    trainer = Trainer(trial(name), DATA)
    latent, rest = trainer.step.guests()
    hidden, output = latent.param_groups
    convolutions = [m.weight for m in trainer.model.modules() if isinstance(m, QuantConv2d)]
    (classifier,) = (m.weight for m in trainer.model.modules() if isinstance(m, QuantLinear))
    assert hidden["use_muon"] and all(p is q for p, q in zip(hidden["params"], convolutions, strict=True))
    assert not output["use_muon"] and output["params"][0] is classifier
    assert [group["use_muon"] for group in rest.param_groups] == [False]
    assert (hidden["lr"], output["lr"]) == (rate(name), 3e-4)
    trainer.step.set_rates(0.5, 1.0)
    assert (hidden["lr"], output["lr"]) == (rate(name) / 2, 1.5e-4)


def test_a_rate_set_for_adafactor_is_its_rate():
    assert not facts("adafactor").warms_up
    assert all(
        group["relative_step"] is False
        for group in Trainer(trial("adafactor"), DATA).step.latent_optimizer.param_groups
    )


def test_ranger21_is_told_how_long_training_is():
    optimizer = Trainer(trial("ranger21", epochs=50), DATA).step.latent_optimizer.optimizer
    assert optimizer.start_warm_down == int(0.72 * 300)


# Before launch --------------------------------------------------------------------------------------------------------
def study(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return load_study(path)


ABLATION = """name: small
seeds: [0, 1]
metric: {name: val_accuracy, mode: max}
base: {gradient: ste, epochs: 2}
arms:
  plain: {optimizer: sgd}
  other:
    optimizer:
      name: NAME
"""
SWEEP = """name: search
base: {gradient: ste, epochs: 2}
metric: {name: val_accuracy, mode: max}
space:
  optimizer.weight_decay: {choice: [0.0, 0.1]}
  optimizer.name:
    choice: [adam, NAME]
search: {trials: 3}
"""


RETUNE = """name: tuned
seeds: [0, 1]
metric: {name: val_accuracy, mode: max}
base: {gradient: ste, epochs: 2}
arms: {plain: {}, other: {gradient: ema}}
retune:
  trials_per_arm: 2
  spaces:
    plain: {optimizer.lr: {choice: [0.1, 0.2]}}
    other:
      optimizer.name: {choice: [sgd, NAME]}
"""
STUDIES = pytest.mark.parametrize("text", [ABLATION, SWEEP, RETUNE], ids=["ablation", "sweep", "retune"])


@STUDIES
def test_a_study_with_an_unfit_optimizer_is_refused_as_it_is_read_with_its_line(text, tmp_path):
    line = 1 + next(i for i, row in enumerate(text.splitlines()) if "NAME" in row)
    said = rf'study.yaml:{line}: optimizer.name is "lomo", which cannot train here: it updates the weights inside'
    with pytest.raises(ConfigError, match=said):
        study(tmp_path, text.replace("NAME", "lomo"))


@STUDIES
def test_a_study_that_has_begun_with_one_is_read_and_does_not_go_on(text, tmp_path):
    (tmp_path / "spec.yaml").write_text(text.replace("NAME", "lomo"))
    spec = load_study(tmp_path / "spec.yaml", recorded=True)
    assert spec.format == FIRST
    with pytest.raises(ConfigError, match=r'spec.yaml:\d+: optimizer.name is "lomo", which cannot train here'):
        check_optimizers(spec)


def test_a_trial_of_the_first_format_goes_on_where_a_new_one_would_not_begin(caplog):
    optimizers._say.cache_clear()
    new = trial("sm3", optimizer={"name": "sm3", "lr": 0.1, "weight_decay": 0.1})
    with pytest.raises(ConfigError, match=r"optimizer\.weight_decay is 0\.1, but sm3 has none"):
        Trainer(new, DATA)
    with caplog.at_level(logging.WARNING, "fsg"):
        assert Trainer(new.in_format(FIRST), DATA).run_epoch()
    assert "optimizer.weight_decay is 0.1, but sm3 has none" in caplog.text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sara", r'study.yaml:9: optimizer.name is "sara", which leaves most weights as they are'),
        ("adabelif", r'study.yaml:9: optimizer.name is "adabelif", which is no optimizer\. Did you mean "adabelief"'),
    ],
)
def test_a_study_is_refused_before_launch_for_what_only_trying_tells(name, said, tmp_path):
    spec = study(tmp_path, ABLATION.replace("NAME", name))
    with pytest.raises(ConfigError, match=said):
        check_optimizers(spec)


def test_weight_decay_that_an_optimizer_has_not_is_refused(tmp_path):
    """The package takes any argument: sm3 takes weight_decay and decays nothing."""
    with pytest.raises(ConfigError, match=r"study.yaml:7: optimizer.weight_decay is 0.1, but sm3 has none"):
        check_optimizers(study(tmp_path, SWEEP.replace("NAME", "sm3")))
    check_optimizers(study(tmp_path, SWEEP.replace("NAME", "lion")))


@pytest.mark.parametrize("name", ["splus", "schedulefreesgd", "ftrl", "madgrad"])
def test_a_gate_is_refused_for_an_optimizer_that_keeps_its_own_point(name):
    with pytest.raises(ConfigError, match=f'"{name}", which steps from a point of its own, and gradient hand_gate'):
        Trainer(trial(name, gradient="hand_gate"), DATA)


@pytest.mark.parametrize("name", ["lion", "adamg", "soap"])
def test_a_gate_goes_with_an_optimizer_that_steps_from_where_the_weights_are(name):
    assert Trainer(trial(name, gradient="hand_gate"), DATA).run_epoch()


def test_an_optimizer_that_cannot_train_in_double_precision_says_so():
    with pytest.raises(ConfigError, match=r'"fadam", which cannot train in float64 \(.*\); use dtype: float32'):
        Trainer(trial("fadam", dtype="float64"), DATA)


def said_of(config):
    return " ".join(optimizers.notes(facts(config.optimizer.name), config))


@pytest.mark.parametrize("name", ["prodigy", "dadaptadam", "dadaptsgd", "adamg", "adadelta"])
def test_a_rate_far_below_the_optimizers_own_is_remarked(name):
    config = trial(name)
    assert "rate" not in said_of(config)
    low = config.model_copy(update={"optimizer": OptimizerConfig(name=name, lr=0.01)})
    assert f"{name} comes with a rate of 1, and optimizer.lr is less than a tenth: it may learn nothing." in said_of(
        low
    )


def test_what_is_to_be_known_of_an_optimizer_is_said_once(caplog):
    optimizers._say.cache_clear()
    with caplog.at_level(logging.WARNING, "fsg"):
        for _ in range(2):
            Trainer(trial("vsgd"), DATA)
    assert [record.message for record in caplog.records] == [
        "vsgd is Variational SGD; the vSGD of Schaul and LeCun, a rate for each coordinate, is another method: vsgd_schaul."
    ]


def test_a_schedule_free_optimizer_is_remarked_beside_a_schedule():
    assert "use schedule: constant" in said_of(trial("schedulefreeadamw", schedule="cosine"))
    assert "reestimated" in said_of(trial("schedulefreeadamw", evaluate={"batchnorm": "running"}))
    assert "schedule:" not in said_of(trial("schedulefreeadamw"))


def test_a_study_of_built_in_optimizers_is_checked_without_torch(tmp_path):
    (tmp_path / "study.yaml").write_text(ABLATION.replace("NAME", "adamw"))
    code = (
        "import sys; from fsg.study.spec import load_study; from fsg.study.optimizers import check_optimizers; "
        f"check_optimizers(load_study({str(tmp_path / 'study.yaml')!r})); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# An optimizer that nobody has seen ------------------------------------------------------------------------------------
class MadeUp(Optimizer):
    """Plain gradient descent, to be bent."""

    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.move(p, group)

    def move(self, p, group):
        p.sub_(p.grad, alpha=group["lr"])


class WithTemperature(MadeUp):
    def __init__(self, params, temperature, lr=0.1):
        super().__init__(params, lr)


class Raises(MadeUp):
    def move(self, p, group):
        raise SystemError("no such thing")


class OfMatrices(MadeUp):
    def move(self, p, group):
        p.sub_(p.grad @ p.grad.T @ p.grad, alpha=group["lr"])


class Replaces(MadeUp):
    def move(self, p, group):
        p.data = p - group["lr"] * p.grad


class DropsGradients(MadeUp):
    def move(self, p, group):
        super().move(p, group)
        p.grad = None


class Explodes(MadeUp):
    def move(self, p, group):
        p.mul_(1e30)


class Deaf(MadeUp):
    def move(self, p, group):
        p.sub_(p.grad, alpha=0.1)


class Frozen(MadeUp):
    def move(self, p, group):
        if p.ndim == 1:
            super().move(p, group)


class CountsInSecret(MadeUp):
    def step(self, closure=None):
        self.count = getattr(self, "count", 0) + 1
        super().step()


class Momentum(MadeUp):
    """Its buffer is no part of its state."""

    def move(self, p, group):
        buffers = self.__dict__.setdefault("buffers", {})
        buffers[id(p)] = 0.9 * buffers.get(id(p), 0) + p.grad
        p.sub_(buffers[id(p)], alpha=group["lr"])


class KeepsGenerator(MadeUp):
    def move(self, p, group):
        self.state[p]["draws"] = torch.Generator()
        super().move(p, group)


class AsksTwice(MadeUp):
    def step(self, closure):
        if closure() < 0 or closure() < 0:
            raise RuntimeError
        super().step()


class SetsItsRate(MadeUp):
    def move(self, p, group):
        group["lr"] *= 0.999
        super().move(p, group)


class NoRate(MadeUp):
    def __init__(self, params, **options):
        Optimizer.__init__(self, params, {"scale": 0.1})

    def move(self, p, group):
        p.sub_(p.grad, alpha=group["scale"])


class ReadsClock(MadeUp):
    def move(self, p, group):
        import time

        p.sub_(p.grad, alpha=group["lr"] * (1 + time.perf_counter_ns() % 1000 / 1000))


class Noisy(MadeUp):
    """Chance, an object and a deque in its state, and another point to evaluate at: all of it is provided for."""

    def move(self, p, group):
        import random
        from collections import deque

        import numpy as np

        state = self.state[p]
        past = state.setdefault("past", deque(maxlen=2))
        past.append(p.grad.clone())
        noise = torch.randn_like(p) * np.random.random() * random.random()
        p.sub_(sum(past) + 0.01 * noise, alpha=group["lr"])

    def eval(self):
        for p in self.state:
            p.data.mul_(0.5)

    def train(self):
        for p in self.state:
            p.data.mul_(2.1)


REFUSED = {
    WithTemperature: "needs temperature beside parameters and a rate",
    Raises: "fails in its first steps (SystemError: no such thing)",
    OfMatrices: "takes matrices alone, and these networks have convolutions, biases and BatchNorm (",
    Replaces: "puts other tensors in the place of weights or gradients, and the trainer would not see them",
    DropsGradients: "puts other tensors in the place of weights or gradients, and the trainer would not see them",
    Explodes: "brings weights that are not finite within 14 steps at a rate of 0.1",
    Deaf: "does not heed its learning rate, so optimizer.lr and the schedule would do nothing",
    Frozen: "leaves most weights as they are: 3% of them moved in 14 steps",
    CountsInSecret: "does not go on from its state as if it had not been interrupted",
    Momentum: "does not go on from its state as if it had not been interrupted",
    KeepsGenerator: "keeps a Generator in its state, which a checkpoint cannot hold",
    AsksTwice: "measures the loss several times in each step, and a step here measures it once",
    SetsItsRate: "sets its rate itself at every step, and the schedule would set it back at every epoch",
    NoRate: "has no learning rate that a schedule can set",
    ReadsClock: "does not go on from its state as if it had not been interrupted",
}


@pytest.fixture
def newcomer(monkeypatch):
    """Puts a class among the package's optimizers, as a later version of it would."""
    from pytorch_optimizer.optimizer import OPTIMIZERS

    return lambda kind: monkeypatch.setitem(OPTIMIZERS, kind.__name__.lower(), kind)


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_a_new_optimizer_that_cannot_train_is_refused_before_launch(kind, newcomer, tmp_path):
    newcomer(kind)
    name = kind.__name__.lower()
    with pytest.raises(ConfigError) as refused:
        check_optimizers(study(tmp_path, ABLATION.replace("NAME", name)))
    assert str(refused.value).startswith(f'{tmp_path}/study.yaml:9: optimizer.name is "{name}", which {REFUSED[kind]}')


@pytest.mark.parametrize("kind", [MadeUp, Noisy])
def test_a_new_optimizer_that_can_train_does(kind, newcomer):
    newcomer(kind)
    test_an_accepted_optimizer_learns_repeats_and_resumes_to_the_bit(kind.__name__.lower())
    assert facts(kind.__name__.lower()).draws is (kind is Noisy)


def test_the_nearest_name_is_told_among_all():
    with pytest.raises(ConfigError, match=r'"nadm", which is no optimizer\. Did you mean "nadam"'):
        facts("nadm")


@pytest.mark.parametrize("name", OF_TORCH)
def test_torchs_own_need_no_other_package(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    assert isinstance(base_optimizer(OptimizerConfig(name=name), [torch.nn.Parameter(torch.ones(2, 2))]), Guest)


def test_a_missing_package_is_named_with_what_works_without(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(BackendUnavailable, match=r'"lion"; built in are sgd, adam.*pip install \'fsg\[optimizers\]\''):
        facts("lion")
