"""The scripts and manifests that no launcher of Ray reads: shell, SLURM, Kubernetes."""

import os
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


# SLURM -----------------------------------------------------------------------------------------------------------------
FAKES = {
    "scontrol": "printf 'n1\\nn2\\nn3\\n'",
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; "$@"',
    "hostname": "echo '192.0.2.31 192.0.2.32'",
    "ray": 'echo "$RAY_AUTH_MODE $(stat -c %a "$RAY_AUTH_TOKEN_PATH") $(wc -c < "$RAY_AUTH_TOKEN_PATH")"; printf "%s\\n" "$@"',
}


@pytest.fixture
def allocation(tmp_path):
    """What SLURM gives a job: its variables, and commands that say what they were asked."""
    for name, body in FAKES.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/usr/bin/env bash\n{body}\n")
        file.chmod(0o755)
    return os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_NUM_NODES": "3", "SLURM_CPUS_PER_TASK": "16", "SLURM_GPUS_ON_NODE": "4",
    }  # fmt: skip


def test_the_batch_script_starts_ray_on_every_node_and_the_study_on_the_first(allocation, tmp_path):
    command = ["bash", ROOT / "clusters/slurm.sbatch", "ablate", "a study.yaml", "--gpus-per-trial", "0.5"]
    done = subprocess.run(command, env=allocation, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, *words = done.stdout.splitlines()
    assert first == "token 600 64"
    assert words[:5] == ["symmetric-run", "--address", "192.0.2.31:7090", "--min-nodes", "3"]
    study = words[words.index("--") + 1 :]
    assert study == ["fsg", "ablate", "a study.yaml", "--gpus-per-trial", "0.5", "--address", "192.0.2.31:7090",
                     "--storage", f"{tmp_path}/studies"]  # fmt: skip
    assert list(tmp_path.glob(".ray-token*")) == [], "the token goes with the job"


def test_symmetric_run_takes_these_options():
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args, symmetric_run

    assert {option.name for option in symmetric_run.params} >= {"address", "min_nodes"}
    options = ["--address", "192.0.2.31:7090", "--min-nodes", "3", "--num-cpus=16", "--num-gpus=4"]
    kept = curate_and_validate_ray_start_args([*options, "--include-dashboard=false"])
    assert {"--num-cpus=16", "--num-gpus=4", "--include-dashboard=false"} <= set(kept)


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
