"""What a study asks of GPUs, held against what there is. Real machines and clusters: tests/cli, tests/clusters."""

import importlib.util

import pytest
import yaml

from fsg.errors import FsgError
from fsg.execution.engine import Resources
from fsg.ray_engine.preflight import asks_for_cuda, fit, gpu_problem
from fsg.report.dry_run import describe_plan
from fsg.study.spec import load_study

ABLATION = {
    "name": "small", "seeds": [0], "metric": {"name": "val_accuracy", "mode": "max"}, "analysis": {"interval": None},
    "arms": {"slow": {"optimizer": {"lr": 0.003}}}, "baselines": ["ste"], "base": {"gradient": "ste", "epochs": 2},
}  # fmt: skip
SWEEP = {
    "name": "search", "base": {"epochs": 2, "device": "cuda"}, "metric": {"name": "val_accuracy", "mode": "max"},
    "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}}, "search": {"trials": 3},
}  # fmt: skip


@pytest.fixture
def loaded(tmp_path):
    def load(study):
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        return load_study(tmp_path / "study.yaml")

    return load


def test_the_part_of_a_study_that_asks_for_cuda_is_named(loaded):
    assert asks_for_cuda(loaded(ABLATION)) is None
    assert asks_for_cuda(loaded(ABLATION | {"base": {"gradient": "ste", "device": "cuda:1"}})) == 'arm "slow"'
    assert asks_for_cuda(loaded(SWEEP)) == "base"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((None, 0, 0), None),
        ((None, 0.5, 1), None),
        (("base", 1, 4, "10.0.0.1"), None),
        (("base", 0, 1), None),
        ((None, 1, 0), "--gpus-per-trial is 1, and there are 0 GPUs. Ask for less"),
        (("base", 0, 0), "base says device: cuda, and there is no GPU. Use device: auto or cpu"),
        (
            ("base", 0, 4, "10.0.0.1"),
            "base says device: cuda, and 10.0.0.1 has no GPU. Give each trial its share of one",
        ),
    ],
)
def test_trials_that_would_find_no_gpu_are_told_from_those_that_would(asked, said):
    problem = gpu_problem(*asked)
    assert (problem is None) if said is None else problem.startswith(said)


@pytest.mark.parametrize(
    "look", [fit, lambda spec, resources, _: describe_plan(spec, resources)], ids=["run", "dry run"]
)
@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"storage": "postgresql://me:${FSG_NOT_SET}@db/x"}, "search.storage: .* no variable FSG_NOT_SET"),
        ({"storage": "oracle+cx_oracle://db/x"}, "search.storage: .* needs the Python package cx_Oracle"),
        ({"sampler": "gp"}, "search.sampler: gp needs the package greenlet"),
    ],
)
def test_a_search_that_lacks_something_here_is_refused_by_run_and_dry_run(
    look, search, said, loaded, tmp_path, monkeypatch
):
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "greenlet" else real(name, *a))
    spec = loaded(SWEEP | {"base": {"epochs": 2}, "search": {"trials": 3} | search})
    with pytest.raises(FsgError, match=said), look(spec, Resources(), tmp_path):
        pass
