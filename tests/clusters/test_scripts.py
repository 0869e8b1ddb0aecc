"""The scripts and manifests that no launcher of Ray reads: shell, Kubernetes. SLURM's runs for real: ``hosts/test_slurm.py``."""

import shutil
import subprocess
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*ROOT.glob("clusters/*.sh"), *ROOT.glob("clusters/*.sbatch")])
every_script = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)


def test_all_scripts_are_known_here():
    assert [path.name for path in SCRIPTS] == ["install_cuda.sh", "setup_node.sh", "slurm.sbatch", "start_mlflow.sh"]


@every_script
def test_bash_reads_it(path):
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@every_script
def test_shellcheck_has_no_complaint(path):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed (Debian: shellcheck)")
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# Kubernetes ------------------------------------------------------------------------------------------------------------
class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class KeyOfSecret(Strict):
    name: str
    key: str


class FromSecret(Strict):
    secretKeyRef: KeyOfSecret


class Variable(Strict):
    name: Annotated[str, Field(pattern=r"^[A-Z_]+$")]
    value: str | None = None
    valueFrom: FromSecret | None = None


class Amounts(Strict):
    requests: dict[Literal["cpu", "memory", "nvidia.com/gpu"], str]
    limits: dict[Literal["cpu", "memory", "nvidia.com/gpu"], str]


class Mount(Strict):
    name: str
    mountPath: Annotated[str, Field(pattern="^/")]


class Container(Strict):
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    image: str
    env: list[Variable]
    resources: Amounts
    volumeMounts: list[Mount]


class Claim(Strict):
    claimName: str


class Volume(Strict):
    name: str
    persistentVolumeClaim: Claim


class PodSpec(Strict):
    containers: Annotated[list[Container], Field(min_length=1)]
    volumes: list[Volume]
    terminationGracePeriodSeconds: int | None = None


class Template(Strict):
    spec: PodSpec


class HeadGroup(Strict):
    rayStartParams: dict[str, str]
    template: Template


class WorkerGroup(HeadGroup):
    groupName: str
    replicas: int
    minReplicas: int
    maxReplicas: int


class RayClusterSpec(Strict):
    rayVersion: str
    headGroupSpec: HeadGroup
    workerGroupSpecs: list[WorkerGroup]


class RayJobSpec(Strict):
    entrypoint: str
    shutdownAfterJobFinishes: bool
    ttlSecondsAfterFinished: int
    backoffLimit: int
    rayClusterSpec: RayClusterSpec


class Metadata(Strict):
    name: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=47)]


class RayJob(Strict):
    """The parts of KubeRay's RayJob (ray.io/v1) that are used; Ray ships no definition of it to check against."""

    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec


@pytest.fixture
def manifest():
    return yaml.safe_load((ROOT / "clusters/kubernetes.yaml").read_text())


def pods(job):
    cluster = job.spec.rayClusterSpec
    return [group.template.spec for group in (cluster.headGroupSpec, *cluster.workerGroupSpecs)]


def test_the_manifest_is_a_ray_job_that_ends_its_machines(manifest):
    job = RayJob.model_validate(manifest, strict=True)
    assert job.spec.shutdownAfterJobFinishes
    for pod in pods(job):
        assert {mount.name for c in pod.containers for mount in c.volumeMounts} == {
            volume.name for volume in pod.volumes
        }


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: m.update(apiVersion="ray.io/v1alpha1"),
        lambda m: m["spec"].update(shutDownAfterJobFinishes=True),
        lambda m: m["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        lambda m: m["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].pop("groupName"),
    ],
)
def test_the_check_refuses_what_the_operator_would(spoil, manifest):
    spoil(manifest)
    with pytest.raises(ValidationError):
        RayJob.model_validate(manifest, strict=True)


def test_every_pod_has_the_token_and_no_secret_is_written_down(manifest):
    job = RayJob.model_validate(manifest)
    for pod in pods(job):
        (container,) = pod.containers
        variables: dict[str, Any] = {variable.name: variable for variable in container.env}
        assert variables["RAY_AUTH_MODE"].value == "token"
        for name in ("RAY_AUTH_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
            assert variables[name].value is None and variables[name].valueFrom is not None


def test_the_manifest_names_the_installed_ray(manifest):
    import ray

    assert manifest["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
