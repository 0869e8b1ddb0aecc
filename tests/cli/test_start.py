"""How the command line starts: quickly, without what a command does not need; and what this machine has."""

import subprocess
import sys

import pytest
from cli_texts import ABLATION
from command_line import python_environment

HEAVY = ("torch", "ray", "mlflow", "optuna", "pandas", "matplotlib", "scipy", "sklearn", "numba", "triton")
RUN = f"""
import sys
from fsg.cli import main
sys.argv = ["fsg", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    print("code", end.code or 0)
print("loaded", *[name for name in {HEAVY} if name in sys.modules])
"""
COMMANDS = ("train", "new", "ablate", "sweep", "resume", "status", "compare", "ui", "doctor")


def run(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, cwd=folder, env=python_environment()
    )
    return done.stdout, done.stderr


def test_help_names_every_command_and_loads_nothing_heavy(tmp_path):
    out, err = run(tmp_path, "--help")
    assert out.splitlines()[-2:] == ["code 0", "loaded"], err
    for command in COMMANDS:
        assert f"  {command} " in out


def test_a_new_part_is_written_without_torch(tmp_path):
    out, err = run(tmp_path, "new", "model", "mine")
    assert out.splitlines()[-1:] == ["loaded"] and (tmp_path / "mine.py").exists(), err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_own_help(command, fsg):
    said = fsg(command, "--help")
    assert said.code == 0
    assert f"fsg {command} [OPTIONS]" in said.out.splitlines()[0]


def test_a_study_is_refused_before_torch_or_ray_is_loaded(tmp_path):
    (tmp_path / "study.yaml").write_text(ABLATION.replace("epochs: 2", "epochs: 0"))
    out, err = run(tmp_path, "ablate", "study.yaml")
    assert out.splitlines()[-2:] == ["code 2", "loaded"]
    assert err.startswith("fsg: study.yaml:5: ")


def test_doctor_says_in_ten_lines_what_this_machine_has(fsg):
    said = fsg("doctor")
    lines = said.out.splitlines()
    assert len(lines) == 10
    assert [line.split()[1] for line in lines] == [
        "Python", "torch", "CUDA", "triton", "mamba-ssm", "Ray", "Optuna", "MLflow", "memory", "disk",
    ]  # fmt: skip
    assert said.code == int(any(line.startswith("BAD") for line in lines))
    import ray

    assert lines[5].endswith(ray.__version__)


def test_doctor_says_what_would_go_wrong(fsg, monkeypatch):
    from collections import namedtuple
    from importlib.metadata import PackageNotFoundError, version

    def without_ray(package):
        if package == "ray":
            raise PackageNotFoundError(package)
        return version(package)

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("fsg.cli.doctor.version", without_ray)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(2**34, 2**34 - 2**20, 2**20))
    said = fsg("doctor")
    assert said.code == 1
    bad = [line.split()[1] for line in said.out.splitlines() if line.startswith("BAD")]
    assert {"Ray", "disk"} <= set(bad)
    assert "pip install ray" in said.out
    assert "a study needs about 1" in said.out
