"""The files of ``ray up`` are what Ray's own launcher accepts, and do what their comments say. No credentials, no network."""

import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "ray_cluster.yaml", ROOT / "clusters/gcp.yaml", ROOT / "clusters/on_premise.yaml"]
CLOUDS = FILES[:2]
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
every_cloud = pytest.mark.parametrize("path", CLOUDS, ids=lambda path: path.stem)


def read(path):
    return yaml.safe_load(path.read_text())


@every_file
def test_ray_accepts_it_with_its_defaults_filled_in(path):
    validate_config(prepare_config(read(path)))


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda c: c.update(max_wokers=4), jsonschema.ValidationError),
        (lambda c: c["provider"].pop("type"), KeyError),
        (lambda c: c.update(head_node_type="boss"), ValueError),
        (lambda c: c["available_node_types"]["gpu_worker_spot"].update(min_workers=9), ValueError),
    ],
)
@every_cloud
def test_ray_would_refuse_it_with_a_mistake(spoil, error, path):
    cluster = read(path)
    spoil(cluster)
    with pytest.raises(error):
        validate_config(prepare_config(cluster))


def test_machines_that_you_have_all_join():
    prepared = prepare_config(read(ROOT / "clusters/on_premise.yaml"))
    (worker,) = [kind for kind in prepared["available_node_types"].values() if kind.get("max_workers")]
    assert worker["min_workers"] == worker["max_workers"] == len(prepared["provider"]["worker_ips"])


@every_cloud
def test_the_head_takes_no_trials_and_nothing_costs_before_one_waits(path):
    cluster = read(path)
    head, *workers = cluster["available_node_types"].values()
    assert head["resources"] == {"CPU": 0}
    assert [kind["min_workers"] for kind in workers] == [0, 0]
    assert all(kind["max_workers"] <= cluster["max_workers"] for kind in workers)
    assert 0 < cluster["idle_timeout_minutes"] <= 15


@every_cloud
def test_spot_and_on_demand_are_the_same_machine_but_for_the_price(path):
    types = read(path)["available_node_types"]
    spot, on_demand = dict(types["gpu_worker_spot"]), dict(types["gpu_worker_on_demand"])
    market = {"InstanceMarketOptions": {"MarketType": "spot"}}, {"scheduling": {"provisioningModel": "SPOT"}}
    assert any(text in str(spot["node_config"]) for text in ("'MarketType': 'spot'", "'provisioningModel': 'SPOT'")), (
        market
    )
    assert "spot" not in str(on_demand["node_config"]).lower()
    for kind in (spot, on_demand):
        del kind["priority"]
        for key in ("InstanceMarketOptions", "scheduling"):
            kind["node_config"].pop(key, None)
    assert spot == on_demand


def asked_for(path, trials, availability):
    """How many of each type Ray's autoscaler would launch for ``trials`` waiting trials of one GPU each."""
    types = {
        name: NodeTypeConfig(
            name=name, min_worker_nodes=0, max_worker_nodes=kind.get("max_workers", 0), priority=kind.get("priority", 0),
            resources={"CPU": 8, "GPU": 1} if name != "head" else {}, launch_config_hash="hash",
        )
        for name, kind in read(path)["available_node_types"].items()
    }  # fmt: skip
    waiting = [ResourceRequestUtil.group_by_count([ResourceRequestUtil.make({"CPU": 1, "GPU": 1})])[0]]
    waiting[0].count = trials
    reply = ResourceDemandScheduler(None).schedule(
        SchedulingRequest(
            disable_launch_config_check=True, node_type_configs=types, max_num_nodes=5, resource_requests=waiting,
            cloud_resource_availabilities=availability, recoverable_resource_availabilities=availability,
        )
    )  # fmt: skip
    return {launch.instance_type: launch.count for launch in reply.to_launch}


@every_cloud
def test_spot_comes_first_and_on_demand_where_there_is_none(path):
    assert asked_for(path, 3, {}) == {"gpu_worker_spot": 3}
    assert asked_for(path, 3, {"gpu_worker_spot": 0.0}) == {"gpu_worker_on_demand": 3}
    assert "RAY_enable_autoscaler_v2=1" in read(path)["head_start_ray_commands"][-1], "v1 knows no priority"


def test_every_placeholder_is_marked_to_be_changed():
    """An account's own ids, region and limits: a line that has one says CHANGE, or the comment above it does."""
    own = re.compile(
        r"ami-0+\b|fs-0+\b|192\.0\.2\.|us-west-2|us-central1|my-project|example\.|^\s*m(ax|in)_workers: [1-9]|^\s*ssh_private"
    )
    found = 0
    for path in [*FILES, *ROOT.glob("clusters/kubernetes*.yaml"), *ROOT.glob("clusters/mlflow-*.yaml")]:
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        numbers = [n for n, line in enumerate(lines) if own.search(line.split(" #")[0])]
        assert [f"{path.name}: {lines[n]}" for n in numbers if "CHANGE" not in lines[n]] == []
        found += len(numbers)
    assert found >= 25


@every_file
def test_every_node_runs_the_same_tree_and_shares_the_studies_and_the_token(path):
    cluster = read(path)
    assert cluster["file_mounts"] == {"~/fsg": ".", "~/.ray/auth_token": "~/.ray/auth_token"}
    for kind, extra in (("head", "server"), ("worker", "cuda")):
        command = rf'FSG_EXTRAS="?{extra}\b.* bash ~/fsg/clusters/setup_node.sh'
        assert re.search(command, cluster[f"{kind}_setup_commands"][-1])
        assert "RAY_AUTH_MODE=token" in cluster[f"{kind}_start_ray_commands"][-1]


@every_file
def test_the_package_goes_along_whole_and_what_lies_in_the_tree_beside_it_does_not(path, tmp_path):
    """By rsync itself, with the options that Ray's launcher gives it."""
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed (Debian: rsync)")
    code = ["clusters/setup_node.sh", "fsg/data/cifar.py", "fsg/study/spec.py", "pyproject.toml"]
    rest = [
        ".venv/bin/python",
        ".git/HEAD",
        "data/images.bin",
        "studies/old/ledger.jsonl",
        "mlruns/0/meta.yaml",
        "mlflow.db-wal",
        "fsg/best.pt",
    ]
    for name in [*code, *rest]:
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).touch()
    excluded = [word for pattern in read(path)["rsync_exclude"] for word in ("--exclude", pattern)]
    subprocess.run(["rsync", *excluded, "-a", f"{tmp_path}/tree/", f"{tmp_path}/node/"], check=True)
    there = [str(each.relative_to(tmp_path / "node")) for each in (tmp_path / "node").rglob("*") if each.is_file()]
    assert sorted(there) == code


@every_file
def test_nothing_is_opened_to_the_world_and_nothing_secret_is_in_it(path):
    text = path.read_text()
    assert "0.0.0.0" not in text
    assert "--dashboard-host=127.0.0.1" in text
    assert "ray get-auth-token --generate > /dev/null; chmod 600 ~/.ray/auth_token" in text, (
        "as Ray leaves it fsg refuses it"
    )
    assert not re.search(r"(?i)(password|secret|token)\s*[:=]\s*[\w+/]{12,}", text)
