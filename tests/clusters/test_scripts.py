"""The scripts that no launcher of Ray reads, as text. SLURM's runs for real: ``hosts/test_slurm.py``."""

import os
import shutil
import subprocess
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
