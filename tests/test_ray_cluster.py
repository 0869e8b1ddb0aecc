"""ray_cluster.yaml is what Ray's own launcher accepts, and says what a user must change. No credentials, no network."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

FILE = Path(__file__).parents[1] / "ray_cluster.yaml"


@pytest.fixture
def cluster():
    return yaml.safe_load(FILE.read_text())


def test_ray_accepts_it_with_its_defaults_filled_in(cluster):
    validate_config(prepare_config(cluster))


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda c: c.update(max_wokers=4), jsonschema.ValidationError),
        (lambda c: c["provider"].pop("type"), KeyError),
        (lambda c: c.update(head_node_type="boss"), ValueError),
        (lambda c: c["available_node_types"]["gpu_worker"].update(min_workers=9), ValueError),
    ],
)
def test_ray_would_refuse_it_with_a_mistake(spoil, error, cluster):
    spoil(cluster)
    with pytest.raises(error):
        validate_config(prepare_config(cluster))


def test_the_head_takes_no_trials_and_the_workers_have_gpus(cluster):
    types = cluster["available_node_types"]
    assert types[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    assert types["gpu_worker"]["node_config"]["InstanceType"].startswith(("g", "p"))
    assert types["gpu_worker"]["min_workers"] == 0, "nothing costs before a trial waits"
    assert types["gpu_worker"]["max_workers"] <= cluster["max_workers"]


def test_every_placeholder_is_marked_to_be_changed():
    """An account's own ids, region and limits: a line that has one says CHANGE, or the comment above it does."""
    lines = FILE.read_text().splitlines()
    own = re.compile(r"ami-0+\b|fs-0+\b|us-west-2|^\s*max_workers:")
    found = [n for n, line in enumerate(lines) if own.search(line.split(" #")[0])]
    assert len(found) == 7
    assert [lines[n] for n in found if "CHANGE" not in lines[n]] == []


def test_every_node_runs_the_same_tree_and_shares_the_study_folder_and_the_token(cluster):
    assert cluster["file_mounts"] == {"~/fsg": ".", "~/.ray/auth_token": "~/.ray/auth_token"}
    assert any("/mnt/fsg" in command and "mount" in command for command in cluster["setup_commands"])
    starts = [cluster["head_start_ray_commands"][-1], cluster["worker_start_ray_commands"][-1]]
    assert all("RAY_AUTH_MODE=token" in start for start in starts)
    assert "0.0.0.0" not in FILE.read_text(), "the dashboard would be open to the world"
