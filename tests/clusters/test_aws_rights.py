"""What Ray's launcher opens and allows in an AWS account, as shipped and with narrower rights, in moto's account. No network."""

import json
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
POLICY = json.loads((ROOT / "clusters/aws_head_policy.json").read_text())
moto = pytest.importorskip("moto", reason="moto, of the development packages")
boto3 = pytest.importorskip("boto3", reason="boto3, of the development packages")


@pytest.fixture
def account(monkeypatch, tmp_path):
    """An empty one in the file's region, with its image; the launcher waits for nothing in it."""
    from ray.autoscaler._private.aws import config as launcher
    from ray.autoscaler._private.aws import utils

    monkeypatch.setenv("HOME", str(tmp_path))  # the launcher keeps the key that it makes there
    (tmp_path / ".ssh").mkdir()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setattr(launcher.time, "sleep", lambda seconds: None)
    with moto.mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        for cached in (launcher._get_vpc_id_of_sg, utils.resource_cache, utils.client_cache):
            getattr(cached, "cache_clear", lambda: None)()
        yield launcher


def cluster():
    """The file, with an image that moto has."""
    read = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    image = boto3.client("ec2", "us-west-2").describe_images()["Images"][0]["ImageId"]
    for kind in read["available_node_types"].values():
        kind["node_config"]["ImageId"] = image
        kind["resources"] = kind["resources"] or {"CPU": 8, "GPU": 1}
    return read


def bootstrapped(launcher, read):
    from ray.autoscaler._private.util import prepare_config

    return launcher.bootstrap_aws(prepare_config(read))


def open_to_the_world():
    groups = boto3.client("ec2", "us-west-2").describe_security_groups()["SecurityGroups"]
    return [
        (rule["FromPort"], rule["ToPort"]) for group in groups for rule in group["IpPermissions"]
        if {"CidrIp": "0.0.0.0/0"} in [{"CidrIp": each["CidrIp"]} for each in rule["IpRanges"]]
    ]  # fmt: skip


def test_as_shipped_port_22_is_open_to_the_world_and_the_head_may_do_all_in_ec2_and_s3(account):
    """As the file and docs/cluster.md say."""
    bootstrapped(account, cluster())
    assert open_to_the_world() == [(22, 22)]
    (role,) = boto3.client("iam").list_roles()["Roles"]
    attached = boto3.client("iam").list_attached_role_policies(RoleName=role["RoleName"])["AttachedPolicies"]
    assert {policy["PolicyName"] for policy in attached} == {"AmazonEC2FullAccess", "AmazonS3FullAccess"}
    text = (ROOT / "ray_cluster.yaml").read_text()
    assert "opens port 22 to the world" in text and "AmazonEC2FullAccess" in text


def test_with_a_group_and_a_role_of_ones_own_nothing_is_opened_and_no_role_is_made(account):
    ec2, iam = boto3.client("ec2", "us-west-2"), boto3.client("iam")
    network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="fsg", Description="fsg", VpcId=network)["GroupId"]
    profile = iam.create_instance_profile(InstanceProfileName="fsg-head")["InstanceProfile"]["Arn"]
    read = cluster()
    for kind in read["available_node_types"].values():
        kind["node_config"]["SecurityGroupIds"] = [group]
    read["available_node_types"]["head"]["node_config"]["IamInstanceProfile"] = {"Arn": profile}
    made = bootstrapped(account, read)["available_node_types"]
    assert open_to_the_world() == [] and iam.list_roles()["Roles"] == []
    assert all(kind["node_config"]["SecurityGroupIds"] == [group] for kind in made.values())
    assert made["head"]["node_config"]["IamInstanceProfile"] == {"Arn": profile}


def test_the_narrow_role_may_start_machines_and_end_those_of_its_cluster_alone():
    allowed = {action for each in POLICY["Statement"] for action in each["Action"]}
    assert {"ec2:RunInstances", "ec2:TerminateInstances", "ec2:CreateTags", "ec2:Describe*"} <= allowed
    assert not any(action.endswith(":*") or not action.startswith("ec2:") for action in allowed)
    name = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())["cluster_name"]
    for statement in POLICY["Statement"]:
        if "ec2:TerminateInstances" in statement["Action"]:
            assert statement["Condition"] == {"StringEquals": {"aws:ResourceTag/ray-cluster-name": name}}
    assert all("Terminate" not in action for s in POLICY["Statement"] if "Condition" not in s for action in s["Action"])
