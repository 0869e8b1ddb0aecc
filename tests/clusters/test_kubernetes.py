"""``clusters/kubernetes.yaml`` against KubeRay's own schemas, and against what its operator makes of it (1.6: pod.go, job.go).

No Kubernetes is here: pods, volumes and probes have not run. What a pod runs has: the commands that send the job, on a real head
with the token; the script that stops the study; a node that is drained (``hosts/test_draining.py``).
"""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from fsg.ray_engine.cluster import grown

ROOT = Path(__file__).parents[2]
SCHEMAS = {
    path.stem.removeprefix("rayjob-"): path for path in sorted((Path(__file__).parent / "kuberay").glob("*.json"))
}
FITTING = [version for version in SCHEMAS if version != "v1.5.1"]


def strict(schema):
    """As `kubectl create` reads it, which refuses fields that are not known."""
    made = {key: value for key, value in schema.items() if not key.startswith("x-")}
    if schema.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
    if "properties" in schema:
        made["properties"] = {name: strict(field) for name, field in schema["properties"].items()}
        made["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields", False))
    elif isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = strict(schema["additionalProperties"])
    if "items" in schema:
        made["items"] = strict(schema["items"])
    return made


def complaints(manifest, version):
    """What the API server of that KubeRay would say, a path and a sentence each."""
    schema = strict(json.loads(SCHEMAS[version].read_text())["schema"]) | {"additionalProperties": True}
    found = jsonschema.Draft202012Validator(schema).iter_errors(manifest)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


@pytest.fixture
def manifest():
    return yaml.safe_load((ROOT / "clusters/kubernetes.yaml").read_text())


def pods(manifest):
    cluster = manifest["spec"]["rayClusterSpec"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


@pytest.mark.parametrize("version", FITTING)
def test_kuberay_takes_the_manifest(manifest, version):
    assert complaints(manifest, version) == []


def test_an_older_kuberay_knows_no_secret_with_the_token(manifest):
    (said,) = complaints(manifest, "v1.5.1")
    assert said.startswith("spec.rayClusterSpec.authOptions: ") and "'secretName' was unexpected" in said


@pytest.mark.parametrize("version", FITTING)
def test_the_pod_that_files_go_through_is_one_and_has_the_volume_of_the_studies(manifest, version):
    claim, pod = yaml.safe_load_all((ROOT / "clusters/kubernetes_volume.yaml").read_text())
    (studies,) = [volume for volume in pods(manifest)[0]["volumes"] if volume["name"] == "studies"]
    assert pod["spec"]["volumes"] == [studies]
    assert studies["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert pod["spec"]["securityContext"] == pods(manifest)[0]["securityContext"]
    assert pod["spec"]["containers"][0]["image"] == pods(manifest)[0]["containers"][0]["image"]
    manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"] = pod["spec"]
    assert complaints(manifest, version) == []
    pod["spec"]["containers"][0]["commands"] = ["sleep"]
    assert complaints(manifest, version) != []


@pytest.mark.parametrize("version", FITTING)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: m["spec"].update(shutDownAfterJobFinishes=True),
        lambda m: m["spec"]["rayClusterSpec"]["authOptions"].update(mode="tokens"),
        lambda m: m["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        lambda m: m["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].pop("groupName"),
        lambda m: pods(m)[0].update(terminationGracePeriod=150),
        lambda m: pods(m)[1]["containers"][0]["env"][0].update(valu="x"),
        lambda m: pods(m)[0]["containers"][0]["lifecycle"]["preStop"].update(exec={"cmd": ["true"]}),
    ],
)
def test_a_mistake_would_be_refused(manifest, version, spoil):
    spoilt = copy.deepcopy(manifest)
    spoil(spoilt)
    assert complaints(spoilt, version) != []


def test_the_operators_own_rules_are_kept(manifest):
    """``ValidateRayJobSpec`` and ``ValidateRayClusterSpec`` of 1.6, as far as they concern what is used."""
    spec, cluster = manifest["spec"], manifest["spec"]["rayClusterSpec"]
    assert (
        re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", manifest["metadata"]["name"])
        and len(manifest["metadata"]["name"]) <= 47
    )
    assert spec["ttlSecondsAfterFinished"] >= 0 and spec["shutdownAfterJobFinishes"]
    assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 52, 0), "authOptions needs it"
    assert cluster["autoscalerOptions"]["idleTimeoutSeconds"] >= 0
    assert all(pod.get("restartPolicy", "Never") == "Never" for pod in pods(manifest)), "autoscaler v2"
    assert all(
        group["minReplicas"] <= group["replicas"] <= group["maxReplicas"] for group in cluster["workerGroupSpecs"]
    )


def test_a_mistake_in_the_command_costs_one_cluster_and_machines_come_only_for_trials(manifest):
    assert manifest["spec"]["backoffLimit"] == 0
    assert manifest["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"]
    assert [group["minReplicas"] for group in manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"]] == [0]


def test_a_pod_that_is_to_go_has_more_time_than_its_drain_takes(manifest):
    for pod in pods(manifest):
        (container,) = pod["containers"]
        (drain,) = [e["value"] for e in container["env"] if e["name"] == "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]
        assert float(drain) + 20 < pod["terminationGracePeriodSeconds"]


def test_every_pod_has_the_volumes_and_no_secret_is_written_down(manifest):
    for pod in pods(manifest):
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        secret = [e for e in container["env"] if re.search("TOKEN|PASSWORD|USERNAME", e["name"])]
        assert secret and all("value" not in e and "secretKeyRef" in e["valueFrom"] for e in secret)
        # KubeRay adds RAY_AUTH_MODE and the token itself, to the pod that sends the job too.
        assert not any(e["name"].startswith("RAY_AUTH") for e in container["env"])
    assert manifest["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token", "secretName": "fsg-ray-token"}


def test_the_manifest_and_the_image_name_the_installed_ray(manifest):
    import ray

    assert manifest["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
    assert f'"ray[default,tune]=={ray.__version__}"' in (ROOT / "clusters/Dockerfile").read_text()


def test_the_image_has_what_the_manifest_runs(manifest):
    """The tree lies where the manifest looks for the script, and the study's command is installed from it."""
    made = (ROOT / "clusters/Dockerfile").read_text()
    (command,) = [pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] for pod in pods(manifest)[:1]]
    assert "COPY . /fsg" in made and "pip install --no-cache-dir /fsg" in made and "procps" in made
    assert (ROOT / Path(command[1]).relative_to("/fsg")).is_file()
    assert manifest["spec"]["entrypoint"].startswith("fsg ablate ")
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {"studies", "data", ".venv", ".git"} <= set(ignored) and "fsg" not in ignored


# What a pod runs --------------------------------------------------------------------------------------------------------
DRIVER = """
import pathlib, signal, sys, time
here = pathlib.Path(__file__)
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), here.with_name("saved").touch(), sys.exit(130)))
here.with_name("ready").touch()
time.sleep(60)
"""


def test_the_study_of_a_pod_is_stopped_and_waited_for(tmp_path):
    """In a space of its own processes: the script looks for whatever study is driven on its machine."""
    script = tmp_path / "fsg"
    script.write_text(DRIVER)
    begin = f"{sys.executable} {script} ablate study.yaml & until [ -e {tmp_path}/ready ]; do sleep 0.1; done"
    inside = f"{begin}; bash {ROOT}/clusters/stop_study.sh 20; [ -e {tmp_path}/saved ] || exit 9; wait $!"
    space = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*space, "true"], capture_output=True).returncode:
        pytest.skip("no space of processes can be made here")
    done = subprocess.run([*space, "bash", "-c", inside], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130, done.stderr
    idle = subprocess.run([*space, "bash", ROOT / "clusters/stop_study.sh", "20"], capture_output=True, timeout=20)
    assert idle.returncode == 0


def test_a_kuberay_cluster_that_scales_may_grow_to_what_its_resource_says(manifest, monkeypatch, tmp_path):
    """The API server, which is not here, answers with the resource that the operator makes of the manifest."""
    from ray.autoscaler._private.kuberay import node_provider

    resource = {"metadata": {"name": "fsg-x", "namespace": "lab"}, "spec": manifest["spec"]["rayClusterSpec"]}
    asked = []

    def get(self, path):
        asked.append(path)
        return resource

    monkeypatch.setattr(node_provider.KubernetesHttpApiClient, "get", get)
    for name, value in {"RAY_CLUSTER_NAME": "fsg-x", "RAY_CLUSTER_NAMESPACE": "lab"}.items():
        monkeypatch.setenv(name, value)
    head = {"CPU": 0.0}
    assert grown(head, tmp_path / "none").get("GPU", 0) == 0 and asked == [], "asked outside of such a cluster"
    monkeypatch.setenv("KUBERAY_GEN_RAY_START_CMD", "ray start --head --no-monitor --num-cpus=0")
    assert grown(head, tmp_path / "none") == {"CPU": 32, "GPU": 4}
    assert asked == ["rayclusters/fsg-x"]

    def forbid(self, path):
        raise OSError("403 Forbidden")

    monkeypatch.setattr(node_provider.KubernetesHttpApiClient, "get", forbid)
    assert grown(head, tmp_path / "none").get("GPU", 0) == 0
