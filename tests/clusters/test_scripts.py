"""The scripts that no launcher of Ray reads, as text. SLURM's runs for real: ``hosts/test_slurm.py``."""

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
