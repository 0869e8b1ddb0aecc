"""Imports point one way, nobody pays for what they do not use, and every proof that is named exists."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = [
    "torch",
    "ray",
    "mlflow",
    "optuna",
    "triton",
    "numba",
    "pandas",
    "matplotlib",
    "scipy",
    "sklearn",
    "torchvision",
]
THE_TRAINERS = {"torch", "numpy", "pydantic", "yaml"}


def loaded_by(code):
    """Of HEAVY, what stands in sys.modules after ``code`` has run in a fresh interpreter."""
    probe = f"import sys\n{code}\nprint('loaded', *[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def modules_of(*packages):
    """The dotted names of all modules in these packages."""
    files = [file for name in packages for file in (ROOT / "fsg" / name).rglob("*.py")]
    return sorted(".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for f in files)


def test_the_import_contract_holds():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c(['--no-cache'])"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contract_names_every_part_of_the_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (c for c in settings["contracts"] if c["type"] == "layers")
    named = {part.strip() for layer in contract["layers"] for part in layer.replace(":", "|").split("|")}
    there = {
        path.stem
        for path in (ROOT / "fsg").iterdir()
        if path.stem != "__init__" and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    assert named == there


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import fsg", set()),
        ("from fsg import load_trial; load_trial(None)", set()),
        ("import fsg.cli, fsg.cli.study, fsg.cli.running, fsg.cli.results, fsg.cli.train, fsg.cli.doctor", set()),
        ("import fsg.tracking, fsg.search, fsg.execution, fsg.ray_engine, fsg.driver", set()),
        ("\n".join(f"import {name}" for name in modules_of("study")), set()),
        ("from fsg import Trainer", {"torch"}),
        (
            "from fsg.config import DataConfig; from fsg.data import load_data; load_data(DataConfig(name='digits'))",
            {"torch"},
        ),
    ],
    ids=["fsg", "configuration", "command line", "tracking, search and engines", "studies", "trainer", "digits"],
)
def test_nothing_heavier_is_loaded_than_it_needs(code, allowed):
    assert loaded_by(code) <= allowed


def test_a_trial_trains_on_a_machine_without_ray_optuna_and_mlflow():
    """Not merely unused: they cannot be imported at all, and neither can what reports and tables need."""
    banned = ["ray", "optuna", "mlflow", "pandas", "matplotlib", "typer", "rich", "triton"]
    code = f"""
for name in {banned}:
    sys.modules[name] = None
from fsg import Trainer
from fsg.config import parse_trial
trial = parse_trial({{"gradient": "fsg", "epochs": 1, "data": {{"name": "synthetic", "batch_size": 512}}}})
assert Trainer(trial).run_epoch().epoch == 1
"""
    assert not loaded_by(code) & {"sklearn", "torchvision"}, "synthetic images need neither"


def test_every_file_that_source_and_documents_name_exists():
    """A docstring's ``Proof:`` is worth what the file it names is."""
    sources = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *(f for d in ("fsg", "benchmarks") for f in ROOT.glob(f"{d}/**/*.py")),
    ]
    named = {
        (f.name, n)
        for f in sources
        for n in re.findall(r"\b(?:tests|benchmarks|fsg|docs)/[\w/]+\.(?:py|md)", f.read_text())
    }
    assert len(named) > 50
    assert [(where, name) for where, name in sorted(named) if not (ROOT / name).is_file()] == []


def test_pytest_is_imported_by_the_contract_suites_alone():
    """It is not installed with fsg."""
    files = [f for f in (ROOT / "fsg").rglob("*.py") if re.search(r"^\s*(import|from) _?pytest", f.read_text(), re.M)]
    assert files and {f.parent.name for f in files} == {"testing"}
