"""Every shipped search space loads, says what it costs, and proposes points that are trials; no training, no Ray."""

from pathlib import Path

import pytest

from fsg.search.configurations import configuration
from fsg.search.proposals import Proposals
from fsg.search.samplers import make_sampler
from fsg.search.stopping import Ends, make_rule
from fsg.study.search import constraints_of, feasible, longest, sampler_of
from fsg.study.spec import SweepSpec, load_study, to_yaml

FILES = sorted(Path(__file__).parents[1].glob("search_spaces/*.yaml"))
SHIPPED = ["cifar10_resnet20", "components", "digits_smoke", "fsg_core", "optimizer", "pbt", "quantizer"]
spaces = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def test_the_shipped_spaces_are_there():
    assert [path.stem for path in FILES] == SHIPPED


@spaces
def test_a_shipped_space_opens_with_its_question_search_and_cost(path):
    head = path.read_text().partition("\nname:")[0]
    assert all(f"# {word}" in head for word in ("Question", "Search", "Cost"))
    assert load_study(path).name == path.stem


@spaces
def test_a_shipped_space_survives_its_resolved_file(path, tmp_path):
    spec = load_study(path)
    (tmp_path / "spec.yaml").write_bytes(to_yaml(spec))
    assert load_study(tmp_path / "spec.yaml") == spec


@spaces
def test_a_shipped_space_plans_distinct_feasible_trials(path):
    spec = load_study(path)
    assert isinstance(spec, SweepSpec)
    make_rule(spec, Ends())
    proposals = Proposals(
        spec.space,
        make_sampler(sampler_of(spec), spec.search.seed, spec.space, longest(spec)),
        None,
        spec.metric.name,
        spec.metric.mode,
        key_of=lambda point: configuration(spec, point).key,
        objectives=[(o.name, o.mode) for o in spec.objectives],
    )
    keys = set()
    for n in range(25):
        key, point = proposals.ask()
        keys.add(key)
        config = configuration(spec, point).trial(spec, spec.seed).config
        assert feasible(constraints_of(spec)[0], config)
        metrics = {spec.metric.name: float(n), **{o.name: float(n % 5) for o in spec.objectives}}
        proposals.report(key, {"epoch": 1, **metrics})
        proposals.end(key, "finished")
    assert len(keys) == 25
