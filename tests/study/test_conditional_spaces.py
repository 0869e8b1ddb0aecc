"""Random spaces with conditions, sound by the way they are made: all that reads a space agrees on what its points are.

Each path is drawn with the values under which it exists, at whatever depth, in whatever order of paths and choices.
``FSG_FUZZ=100`` looks longer.
"""

import random

import optuna
import pytest
from fuzzing import looking
from hypothesis import given
from hypothesis import strategies as st

from fsg.config import digest, parse_trial
from fsg.search.cube import Cube
from fsg.search.proposals import Proposals
from fsg.search.samplers import make_sampler
from fsg.study.inputs import absolute_root, data_of
from fsg.study.search import SearchSpec
from fsg.study.space import Space, trial_at
from fsg.study.spec import SearchMetricSpec, SweepSpec

BASE = parse_trial({"epochs": 4, "gradient": "ste"})
FLOATS = st.sampled_from(
    [{"uniform": [0.1, 0.9]}, {"loguniform": [1e-3, 0.5]}, {"quniform": [0.1, 0.9, 0.2]}, {"choice": [0.25, 0.5]},
     {"quniform": [0.0625, 0.5, 2.0**-30]}, {"choice": [0.5, 0.1, 0.25]}, {"fixed": 0.5}]
)  # fmt: skip
WHOLE = st.sampled_from(
    [{"randint": [4, 8]}, {"lograndint": [4, 8]}, {"choice": [8, 4, 5]}, {"randint": [4, 5]}, {"fixed": 4}]
)
KINDS = ["ste", "ema", "scalar", "multi_fc", "gate", "hand_gate", "fsg"]
# path: (its values, and the values of others under which a trial has it)
TREE = {
    "gradient": (KINDS, {}),
    "gradient.beta": (FLOATS, {"gradient": ["ema", "fsg"]}),
    "gradient.lr": (FLOATS, {"gradient": ["scalar", "gate"]}),
    "gradient.length": (WHOLE, {"gradient": ["gate", "fsg"]}),
    "gradient.fast.lr": (FLOATS, {"gradient": ["multi_fc", "fsg"]}),
    "gradient.slow_net": (["mamba", "lstm", "fir"], {"gradient": ["fsg"]}),
    "gradient.slow.d_state": (WHOLE, {"gradient.slow_net": ["mamba"]}),
    "gradient.slow.d_inner": (WHOLE, {"gradient.slow_net": ["mamba", "lstm"]}),
    "gradient.init": (["ste", "random"], {"gradient.slow_net": ["lstm", "fir"]}),
    "quantizer": (["dorefa", "bwn", "bwn_channel"], {}),
    "quantizer.bits": (WHOLE, {"quantizer": ["dorefa"]}),
    "optimizer": (["sgd", "adam", "adamw"], {}),
    "optimizer.momentum": (FLOATS, {"optimizer": ["sgd"]}),
    "optimizer.lr": (FLOATS, {}),
    "data": (["digits", "synthetic", "image_folder", "cifar10"], {}),
    "data.root": (["/a", "/b", "/c"], {"data": ["image_folder"]}),
    "data.image_size": (WHOLE, {"data": ["image_folder", "synthetic"]}),
    "data.batch_size": (WHOLE, {}),
}
UNCONDITIONAL = ("data.root",)  # a folder of images has to be named


@st.composite
def spaces(draw):
    """A space: some paths of TREE and all that they depend on, some hanging on a further path too, in any order."""
    chosen = set(draw(st.lists(st.sampled_from(sorted(TREE)), min_size=1, max_size=8, unique=True)))
    chosen |= {"optimizer.lr"} | ({"data.root"} if any(path.startswith("data") for path in chosen) else set())
    while missing := {parent for path in chosen for parent in TREE[path][1]} - chosen:
        chosen |= missing
    domains, values = {}, {}
    for path in (path for path in TREE if path in chosen):
        kind, parents = TREE[path]
        if isinstance(kind, list):
            needed = {allowed[0] for child in chosen for parent, allowed in TREE[child][1].items() if parent == path}
            some = draw(st.permutations(kind))[: draw(st.integers(1, len(kind)))]
            values[path] = [*some, *sorted(needed - set(some))]
            domain = {"choice": values[path]} if len(values[path]) > 1 else {"fixed": values[path][0]}
        else:
            domain = draw(kind)
        when = {parent: [v for v in allowed if v in values[parent]] for parent, allowed in parents.items()}
        others = [other for other in values if other != path and other not in when]
        if path not in UNCONDITIONAL and others and draw(st.booleans()):
            other = draw(st.sampled_from(others))
            when[other] = draw(st.lists(st.sampled_from(values[other]), min_size=1, unique=True))
        domains[path] = domain | ({"when": when} if when else {})
    space = Space.model_validate({path: domains[path] for path in draw(st.permutations(sorted(domains)))})
    return space if space.domains else Space.model_validate(domains | {"schedule": {"choice": ["cosine", "step"]}})


def study(space, sampler="random"):
    metric = SearchMetricSpec(name="val_accuracy", mode="max")
    return SweepSpec(name="s", base=BASE, metric=metric, space=space, search=SearchSpec(trials=3, sampler=sampler))


def loaded(config):
    data = config.data
    return None if data.name in ("digits", "synthetic") else (data.name, str(absolute_root(data)))


@given(space=spaces(), seed=st.integers(0, 2**32 - 1))
@looking(100)
def test_all_that_reads_a_space_agrees_on_its_points(space, seed):
    assert space.misfits(BASE) == []
    assert Space.model_validate(space.model_dump()) == space
    known = {(data.name, data.root) for data in data_of(study(space))}
    cube, rng = Cube(space), random.Random(seed)
    for _ in range(10):
        point = space.draw(rng)
        assert set(point) == {path for path in space.paths if space.is_set(path, space.settings(point))}
        config = space.resolve(BASE, point)
        assert space.point_of(config.model_dump()) == point
        assert space.outside(config.model_dump()) == {}
        assert loaded(config) in known | {None}
        back = cube.decode(cube.encode(point))
        assert back == {
            path: value if isinstance(value, str) else pytest.approx(value) for path, value in point.items()
        }
        distributions = {path: space.domains[path].to_optuna() for path in point}
        trial = optuna.trial.create_trial(value=0.0, params=point, distributions=distributions)
        assert {path: space.domains[path].from_optuna(value) for path, value in trial.params.items()} == point


@given(space=spaces())
@looking(60)
def test_the_data_sets_of_a_space_are_those_of_all_its_corners(space):
    everything = [path for path in space.root if space.root[path].choices]
    found = {loaded(trial_at(BASE, settings)) for settings in space.corners(everything)}
    assert {(data.name, data.root) for data in data_of(study(space))} == found - {None}


@given(space=spaces(), order=st.randoms(use_true_random=False))
@looking(40)
def test_the_order_of_paths_and_choices_changes_nothing(space, order):
    written = space.model_dump()
    paths = list(written)
    order.shuffle(paths)
    for domain in written.values():
        if isinstance(domain, dict) and "choice" in domain:
            order.shuffle(domain["choice"])
    other = Space.model_validate({path: written[path] for path in paths})
    assert other.misfits(BASE) == space.misfits(BASE) == []
    assert {d.root for d in data_of(study(other))} == {d.root for d in data_of(study(space))}
    if all(domain.count and domain.count < 100 for domain in space.root.values()) and space.size < 3000:
        points = [digest(point) for point in space.grid()]
        assert len(points) == space.size == other.size
        assert {digest(point) for point in other.grid()} == set(points)


@pytest.mark.parametrize("sampler", ["random", "tpe", "curves"])
@given(space=spaces(), seed=st.integers(0, 1000))
@looking(8)
def test_what_is_proposed_in_any_space_is_a_point_of_it_and_is_recalled(sampler, space, seed):
    made = make_sampler(sampler, seed, space, 3)
    searcher = Proposals(space, made, None, "m", "max", lambda point: digest(space.resolve(BASE, point).identity()))
    asked = []
    for n in range(14):
        found = searcher.ask()
        if found is None:
            break  # a small space
        key, point = found
        asked.append((key, point))
        assert space.point_of(space.resolve(BASE, point).model_dump()) == point
        searcher.report(key, {"epoch": 1, "m": float(n % 5)})
        if n % 3:
            searcher.end(key, "finished")
    again = Proposals(space, make_sampler(sampler, 0, space, 3), None, "m", "max", digest)
    again._study = searcher._study
    assert again.recall({}) == [asked[n] for n in range(len(asked)) if n % 3 == 0]
