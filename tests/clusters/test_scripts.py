"""The scripts that no launcher of Ray reads, as text. SLURM's runs for real: ``hosts/test_slurm.py``."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*ROOT.glob("clusters/*.sh"), *ROOT.glob("clusters/*.sbatch")])
every_script = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)


def test_all_scripts_are_known_here():
    assert [path.name for path in SCRIPTS] == [
        "install_cuda.sh",
        "setup_node.sh",
        "slurm.sbatch",
        "start_mlflow.sh",
        "stop_study.sh",
        "tries.sh",
    ]


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


# install_cuda.sh --------------------------------------------------------------------------------------------------------
@pytest.fixture
def gpu_node(tmp_path):
    """A tree and a home with stand-ins for the compiler and the installer, which note what they were asked."""
    (tmp_path / "asked").touch()
    build = 'echo built >> asked; [ -e can_build ] && touch "$7/mamba_ssm-1.whl"'
    builds = f'case "$*" in *"pip wheel"*) {build} ;; *) echo kind ;; esac'
    for name, body in (
        (".venv/bin/python", builds),
        (".local/bin/nvcc", "true"),
        (".local/bin/uv", 'echo "$@" >> asked; [ ! -e no_network ]'),
    ):
        command = tmp_path / name
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text(f"#!/usr/bin/env bash\n{body}\n")
        command.chmod(0o755)

    def install():
        script = ["bash", ROOT / "clusters/install_cuda.sh", tmp_path / "wheels"]
        done = subprocess.run(
            script, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True
        )
        asked = (tmp_path / "asked").read_text().splitlines()
        return done, asked.count("built"), any("mamba_ssm-1.whl" in line for line in asked)

    return tmp_path, install


def test_a_build_that_fails_ends_no_node_and_is_not_tried_by_the_next(gpu_node):
    tree, install = gpu_node
    for _ in range(2):
        done, builds, installed = install()
        assert (done.returncode, builds, installed) == (0, 1, False), done.stderr
        assert "mamba-ssm could not be built, as " in done.stderr and "fsg uses its Triton kernels." in done.stderr
    (log,) = tree.glob("wheels/*/failed.log")
    log.unlink()
    (tree / "can_build").touch()
    assert install()[1:] == (2, True)
    assert install()[1:] == (2, True), "the wheel is there"
    assert [path.name for path in tree.glob("wheels/kind.*")] == ["kind.lock"], "a build folder was left"


def test_a_wheel_that_cannot_be_installed_ends_no_node(gpu_node):
    tree, install = gpu_node
    (tree / "can_build").touch()
    install()
    (tree / "no_network").touch()
    done, _, _ = install()
    assert done.returncode == 0 and "could not be installed" in done.stderr


# tries.sh ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("good_at", "code", "starts"), [(1, 0, 1), (3, 0, 3), (9, 1, 5)])
def test_ray_is_started_again_where_it_did_not_start_and_cleared_in_between(tmp_path, good_at, code, starts):
    ray = tmp_path / "ray"
    ray.write_text(
        f'#!/usr/bin/env bash\necho "$@" >> {tmp_path}/log\n[ "$(grep -c start {tmp_path}/log)" -ge {good_at} ]\n'
    )
    ray.chmod(0o755)
    done = subprocess.run(["bash", ROOT / "clusters/tries.sh", ray, "start", "--head"], capture_output=True, text=True)
    log = (tmp_path / "log").read_text().splitlines()
    assert done.returncode == code
    assert log.count("start --head") == starts and log.count("stop --force") == starts - (code == 0)


@pytest.mark.server
def test_a_head_whose_port_is_taken_is_told_at_once_and_not_tried(tmp_path):
    (tmp_path / "ray").write_text("#!/bin/sh\ntouch tried\n")
    (tmp_path / "ray").chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as another:
        port = another.getsockname()[1]
        words = ["bash", ROOT / "clusters/tries.sh", "./ray", "start", "--head", "--num-cpus=0", f"--port={port}"]
        words += ["--object-manager-port=8076"]
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 2 and f"port {port} of this machine is taken" in done.stderr
        worker = subprocess.run(
            [*words[:4], f"--address=127.0.0.1:{port}"], capture_output=True, text=True, cwd=tmp_path
        )
    assert worker.returncode == 0 and (tmp_path / "tried").exists()
    (tmp_path / "tried").unlink()
    assert subprocess.run(words, cwd=tmp_path).returncode == 0 and (tmp_path / "tried").exists()


# setup_node.sh ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def machine(tmp_path):
    """A machine with a /mnt/fsg of its own and stand-ins for what installs; each notes what it was asked."""
    space = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*space, "true"], capture_output=True).returncode:
        pytest.skip("no space of mounts can be made here")
    shutil.copytree(ROOT / "clusters", tmp_path / "tree/clusters")
    commands = tmp_path / "bin"
    commands.mkdir()

    def stand_in(name, body="true"):
        (commands / name).write_text(f'#!/usr/bin/env bash\necho {name} "$@" >> {tmp_path}/asked\n{body}\n')
        (commands / name).chmod(0o755)

    def set_up(extras=""):
        (tmp_path / "asked").unlink(missing_ok=True)
        known = {"HOME": str(tmp_path), "USER": "root", "PATH": f"{commands}:/usr/bin:/bin:/usr/sbin:/sbin"}
        script = f"mount -t tmpfs none /mnt && mkdir /mnt/fsg && bash {tmp_path}/tree/clusters/setup_node.sh"
        command = [*space, "bash", "-c", script]
        done = subprocess.run(command, env=known | {"FSG_EXTRAS": extras}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return (tmp_path / "asked").read_text().splitlines()

    stand_in("sudo", '"$@"')
    stand_in("apt-get")
    return stand_in, set_up, commands


def test_a_node_whose_pip_may_install_nothing_gets_uv_by_pipx_once_dpkg_is_free(machine):
    """Ubuntu from 23.04 on (PEP 668), which updates itself in its first minutes."""
    stand_in, set_up, commands = machine
    stand_in("pip", "echo 'error: externally-managed-environment' >&2; exit 1")
    stand_in("pipx", f"cp /usr/bin/true {commands}/uv")
    asked = set_up()
    installs = [line for line in asked if line.startswith("apt-get ")]
    assert installs == [
        "apt-get -qq -o DPkg::Lock::Timeout=600 update",
        "apt-get -qq -o DPkg::Lock::Timeout=600 install -y pipx",
    ]
    assert asked.index("pipx install --quiet uv") > asked.index("pip install --user --quiet uv")


def test_a_node_that_has_uv_is_asked_for_nothing_and_told_its_path_once(machine):
    stand_in, set_up, commands = machine
    stand_in("uv")
    for _ in range(2):
        assert set_up("server") == [
            "uv sync --quiet --inexact --no-dev --python 3.12",
            "uv pip install --quiet --editable .[server]",
        ]
    assert (commands.parent / ".bashrc").read_text().count("/tree/.venv/bin:") == 1


def test_mps_is_started_once_on_a_node_whose_trials_share_a_gpu(machine):
    """NVIDIA's daemon is a stand-in: no GPU is here."""
    stand_in, set_up, _ = machine
    stand_in("uv")
    stand_in("nvidia-cuda-mps-control")
    assert set_up("mps").count("nvidia-cuda-mps-control -d") == 1


# slurm.sbatch -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("head_comes", "code"), [("3", 0), ("never", 1)])
def test_a_slurm_job_waits_for_a_head_that_needs_another_try_and_for_every_node(head_comes, code, tmp_path):
    """The script's own look at Ray, with a stand-in for it that answers from its third call on, and for time, which flies."""
    (program,) = re.findall(r"<<'END' &.*\n((?:.*\n)*?)END\n", (ROOT / "clusters/slurm.sbatch").read_text())
    (tmp_path / "ray.py").write_text(
        "import os, time\n"
        "asked, seen, clock = [], [], [0]\n"
        "time.sleep = lambda seconds: clock.__setitem__(0, clock[0] + seconds)\n"
        "time.monotonic = lambda: clock[0]\n"
        "def is_initialized(): return str(len(asked)) == os.environ['COMES']\n"
        "def init(address, log_to_driver):\n"
        "    asked.append(address)\n"
        "    if not is_initialized(): raise ConnectionError('nobody is there')\n"
        "def nodes():\n"
        "    seen.append(print('asked', asked[-1], len(asked)))\n"
        "    return [{'Alive': True}] * len(seen)\n"
    )
    known = {"HEAD": "n1", "PORT": "6379", "SLURM_JOB_NUM_NODES": "2", "COMES": head_comes, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=known, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert done.stdout == ("asked n1:6379 3\n" * 2 if code == 0 else "nobody is there\n")
