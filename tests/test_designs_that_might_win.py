"""The designs of ablations/designs.py start as their rivals; ``testing/test_contracts_in_house.py`` has their contracts."""

from pathlib import Path

import pytest
import torch
from tiny_studies import ABLATION, BASE, ONE_SEED, LocalStudy

from fsg.config import parse_trial
from fsg.errors import ConfigError
from fsg.gradients import make_estimator
from fsg.ops.spans import Spans
from fsg.plugins import load_plugin
from fsg.testing.gradient import signals
from fsg.train.checkpoint import load_checkpoint

FILE = Path(__file__).parents[1] / "ablations" / "designs.py"


SMALL = {"slow": {"d_inner": 2, "d_state": 2}, "length": 2}
OWN = SMALL | {"name": "fsg_taught"}
TANH = {"name": "surrogate", "shape": "tanh"}


@pytest.mark.parametrize(
    ("design", "rival"),
    [
        ("fsg_on_curve", TANH),
        ("fsg_near_flips", "fsg"),
        ("scales", "ste"),
        ("learnt_curve", TANH),
        ("fsg_ahead", "fsg"),
        ("fsg_taught", "fsg"),
    ],
)
def test_a_design_starts_as_its_rival_without_anything_learnt(design, rival):
    load_plugin(FILE)
    sizes = (6, 11)
    spans = Spans(sizes)
    ours, theirs = (
        make_estimator(parse_trial({"gradient": each}).gradient, spans).double() for each in (design, rival)
    )
    for signal in signals(sizes, 4):
        torch.testing.assert_close(ours(signal).value, theirs(signal).value)


def test_only_weights_near_their_threshold_teach_fsg_near_flips():
    load_plugin(FILE)
    spans = Spans((4,))
    estimator = make_estimator(parse_trial({"gradient": "fsg_near_flips"}).gradient, spans).double()
    first, measured = signals((4,), 2)
    measured = measured._replace(pre=torch.tensor([1e-9, 1.0, 1.0, 1.0], dtype=torch.float64))
    value = estimator(first).value.detach().requires_grad_()
    direction = estimator(first)._replace(value=value)
    assert estimator.learn(direction, measured)
    rms = (3 / 4) ** 0.5
    near = torch.exp(-((measured.pre / (0.5 * rms)) ** 2))
    torch.testing.assert_close(value.grad, -near / near.mean() * measured.slope * measured.grad)


def test_fsg_ahead_learns_once_in_k_steps_from_the_mean_of_what_they_measured():
    load_plugin(FILE)
    sizes = (6, 11)
    spans, stream = Spans(sizes), signals(sizes, 6)
    made = []
    for gradient in ({"name": "fsg_ahead", "steps": 3}, "fsg"):
        torch.manual_seed(0)
        made.append(make_estimator(parse_trial({"gradient": gradient}).gradient, spans).double())
    ahead, plain = made
    plain.load_state_dict({name: value for name, value in ahead.state_dict().items() if name in plain.state_dict()})
    with torch.no_grad():
        for net in made:
            for p in net.parameters():
                p.add_(0.01)
    before = stream[0]
    direction = plain(before)
    taught = []
    for measured in stream[1:4]:
        taught.append(ahead.learn(ahead(before), measured))
        before = measured
    assert taught == [False, False, True]
    mean = sum(measured.slope * measured.grad for measured in stream[1:4]) / 3
    direction.value.backward(-mean)
    for (name, ours), theirs in zip(ahead.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study whose arm "slow_rate" has trained its networks for two epochs."""
    base = BASE | {"gradient": SMALL | {"name": "fsg"}, "epochs": 2}
    study = LocalStudy(tmp_path_factory.mktemp("trained"), ABLATION | ONE_SEED | {"base": base})
    assert study.run()
    return study.folder


def test_fsg_taught_starts_with_the_networks_of_another_study_s_arm(trained):
    """And its own layer embeddings: another network has other layers."""
    load_plugin(FILE)
    theirs = {}
    for record in trained.state().trials.values():
        if (record.arm, record.seed) == ("slow_rate", 0):
            theirs = load_checkpoint(trained.checkpoints / record.key / "last.pt")["step"]["estimator"]
    gradient = OWN | {"networks": f"{trained.path}#slow_rate"}
    own = make_estimator(parse_trial({"gradient": gradient}).gradient, Spans((6, 11))).state_dict()
    taken = [name for name in theirs if name.startswith(("slow.", "fast."))]
    assert len(taken) > 4 and any(theirs[name].any() for name in taken)
    for name in taken:
        assert torch.equal(own[name], theirs[name]), name


@pytest.mark.parametrize(
    ("arm", "changes", "message"),
    [
        ("none", {}, 'has no finished trial of an arm "none"'),
        ("slow_rate", {"slow": {"d_inner": 2, "d_state": 3}}, "its networks are others than these, in slow."),
        ("slow_rate", {"fsg": False}, "its networks are others than these, in fast."),
    ],
)
def test_networks_that_are_not_there_or_of_another_shape_are_refused(trained, arm, changes, message):
    load_plugin(FILE)
    gradient = OWN | {"networks": f"{trained.path}#{arm}"} | changes
    with pytest.raises(ConfigError, match=message):
        make_estimator(parse_trial({"gradient": gradient}).gradient, Spans((6, 11)))
