"""``fsg studies``, commands without a study, the version, completion, and advice that can be copied and pasted."""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_texts import ABLATION, SWEEP
from command_line import python_environment, run_main

from fsg.record.driver_lock import StudyLock
from fsg.record.folder import StudyFolder
from fsg.record.ledger_header import begin
from fsg.study.spec import load_study


@pytest.fixture
def studies(tmp_path, files):
    """The ablation with one trial finished, one running, and its sweep untouched."""
    files(ABLATION)
    files(SWEEP, name="sweep.yaml")
    spec = load_study(tmp_path / "study.yaml")
    folder = StudyFolder.create_or_open(spec, tmp_path / "studies")
    StudyFolder.create_or_open(load_study(tmp_path / "sweep.yaml"), tmp_path / "studies")
    ledger = folder.ledger()
    begin(ledger, spec)
    for trial in spec.plan.trials():
        ledger.append("planned", **trial.event())
        ledger.append("started", key=trial.key, attempt=1, node="n", device="cpu")
    ledger.append("finished", key=trial.key, metrics={"epoch": 2, "val_accuracy": 50.0})
    return tmp_path / "studies"


def test_studies_are_listed_with_kind_state_progress_size_age_activity_and_question(fsg, studies):
    said = fsg("studies")
    assert (said.code, said.err) == (0, "")
    lines = [line.split("  ") for line in said.out.splitlines()]
    heading, search, small = ([cell.strip() for cell in line if cell] for line in lines)
    assert heading == ["study", "kind", "state", "done", "size", "age", "last event", "question"]
    assert search[:4] == ["search", "sweep", "not begun", "0/3"] and search[6:] == ["never"]
    assert small[:4] == ["small", "ablation", "interrupted", "1/4"] and small[6].endswith("s ago")
    assert small[4].endswith("B") and small[5].endswith("s")
    assert small[7:] == ["Does a learnt gradient beat a plain one?"]


def test_a_driver_at_work_is_seen_in_the_list(fsg, studies):
    with StudyLock(studies / "small"):
        found = json.loads(fsg("studies", "--json").out)["studies"]
    assert [(one["study"], one["driver"]) for one in found] == [("search", False), ("small", True)]
    assert (found[1]["done"], found[1]["trials"], found[1]["kind"]) == (1, 4, "ablation")
    assert (found[1]["state"], found[0]["state"]) == ("running", "not begun")
    assert abs(found[1]["last_event"] - time.time()) < 60


def test_a_study_that_cannot_be_read_is_listed_with_its_problem(fsg, studies):
    (studies / "search" / "spec.yaml").write_text("name: [oh\n")
    said = fsg("studies")
    assert said.code == 0
    assert "not valid YAML" in said.out and "small" in said.out


def test_the_storage_is_where_one_looks(fsg, studies, tmp_path):
    studies.rename(tmp_path / "elsewhere")
    assert "small" in fsg("studies", "--storage", "elsewhere").out
    said = fsg("studies")
    assert said.code == 0
    assert said.out == "There are no studies in studies. Begin one with: fsg ablate FILE, or fsg sweep FILE\n"
    assert fsg("studies", "--storage", "s3://bucket/x").code == 2


def test_status_without_a_study_lists_them(fsg, studies):
    assert fsg("status").out.splitlines() == fsg("studies").out.splitlines()
    assert json.loads(fsg("status", "--json").out)["studies"]


@pytest.mark.parametrize("command", ["compare", "resume", "sync", "power"])
def test_a_command_that_needs_a_study_says_what_to_type(command, fsg, studies, nothing_starts):
    said = fsg(command)
    assert (said.code, said.out) == (2, "")
    first, second, *rest = said.err.splitlines()
    assert first == f"fsg: {command} needs the name of a study, as in: fsg {command} search"
    assert second == "Studies in studies:" and len(rest) == 3


def test_what_is_said_without_a_study_names_its_storage(fsg, studies, tmp_path):
    studies.rename(tmp_path / "elsewhere")
    assert "fsg compare search --storage elsewhere" in fsg("compare", "--storage", "elsewhere").err
    assert "There are no studies in studies" in fsg("compare").err


def test_the_version_is_said_without_loading_anything_heavy(tmp_path):
    run = (
        "import sys; from fsg.cli import main; sys.argv = ['fsg', '--version']\ntry: main()\nexcept SystemExit: pass\n"
    )
    check = "print([name for name in ('torch', 'ray', 'pydantic', 'mlflow') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", run + check], capture_output=True, text=True, cwd=tmp_path, env=python_environment()
    )
    import fsg

    assert done.stdout == f"fsg {fsg.__version__}\n[]\n"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("fsg status s", ["search", "small"]),
        ("fsg resume sm", ["small"]),
        ("fsg compare search sm", ["small"]),
        ("fsg ui z", []),
        ("fsg status --storage elsewhere o", ["other"]),
        ("fsg train --from sm", ["small#best"]),
        ("fsg stu", ["studies"]),
        ("fsg rm small se", ["search"]),
        ("fsg archive sm", ["small"]),
        ("fsg ablate s", ["studies/", "study.yaml", "sweep.yaml"]),
        ("fsg sweep ./sw", ["./sweep.yaml"]),
        ("fsg ablate studies/small/sp", ["studies/small/spec.yaml"]),
        ("fsg ablate nowhere/x", []),
        ("fsg ablate study.yaml --plugin n", ["nets.py"]),
    ],
)
def test_the_shell_completes_commands_studies_and_files_without_torch(words, found, studies, tmp_path):
    (tmp_path / "elsewhere" / "other").mkdir(parents=True)
    (tmp_path / "elsewhere" / "other" / "spec.yaml").touch()
    (tmp_path / "nets.py").touch()
    asked = {"_FSG_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    code = "import sys; from fsg.cli import main; sys.argv = ['fsg']\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=python_environment() | asked
    )
    assert done.stdout.split() == found, done.stderr


def advised(said):
    """The words of the ``fsg resume`` that a status advises."""
    (line,) = [line for line in said.out.splitlines() if line.startswith("driver: none; go on with: fsg resume ")]
    return shlex.split(line.partition("go on with: fsg ")[2])


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        (".", ["small"]),
        (".", ["studies/small"]),
        (".", ["studies/small/"]),
        (".", ["./studies/../studies/small/"]),
        (".", ["{home}/studies/small"]),
        (".", ["small", "--storage", "{home}/studies"]),
        (".", ["small", "--storage", "my studies"]),
        (".", ["my studies/small"]),
        ("studies", ["small"]),
        ("studies", ["../studies/small"]),
        ("studies/small", ["."]),
        ("studies/small", ["./"]),
        ("studies/small/reports", [".."]),
    ],
)
def test_the_advice_of_status_can_be_copied_and_pasted(folder, words, studies, tmp_path, monkeypatch):
    (tmp_path / "my studies").mkdir()
    (tmp_path / "my studies" / "small").symlink_to(studies / "small")
    said = run_main(monkeypatch, tmp_path / folder, "status", *(word.format(home=tmp_path) for word in words))
    assert said.out.startswith("small: 4 trials: "), said.err
    _, name = advised(said)
    again = run_main(monkeypatch, tmp_path / folder, "status", name)
    assert again.code == 0, f"{name} is not found from {folder}"


def test_a_study_has_its_folders_name_whatever_its_path_looks_like(fsg, studies):
    said = fsg("compare", "studies/small/.", "studies/small/reports/..")
    assert said.err == "fsg: studies of one name cannot be told apart in a table: small, small.\n"


def test_the_ui_says_at_once_what_it_waits_for(fsg, studies):
    asked = []

    def serve(uri, port):
        asked.append(uri)
        raise KeyboardInterrupt

    import fsg.tracking as tracking

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "serve", serve)
        said = fsg("ui", "--tracking-uri", "sqlite:///~/runs.db")
    assert said.err.startswith(f"Starting MLflow on sqlite:///{Path.home()}/runs.db ...\n")
    assert asked


def test_a_setting_of_a_study_is_recorded_in_it(fsg, files, tmp_path, monkeypatch):
    files(ABLATION)
    begun = []
    monkeypatch.setattr("fsg.cli.study.run", lambda folder, spec, *_: begun.append((folder.spec(), spec)))
    said = fsg("ablate", "study.yaml", "--set", "epochs=3", "--set", "deterministic=off")
    assert said.code == 0, said.err
    ((recorded, spec),) = begun
    assert recorded == spec and (spec.base.epochs, spec.base.deterministic) == (3, False)
    said = fsg("ablate", "study.yaml")
    assert said.code == 2 and "base.epochs: was 3, is 2" in said.err


def test_a_setting_that_an_arm_hides_is_refused_at_its_line(fsg, files, tmp_path, nothing_starts):
    files(ABLATION)
    said = fsg("ablate", "study.yaml", "--set", "gradient=ema")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith('fsg: study.yaml:10: arm "learnt" sets "gradient" itself, so --set gradient=ema would')
    files(SWEEP, name="sweep.yaml")
    assert (
        'sweep.yaml:5: the space sets "optimizer.lr" itself'
        in fsg("sweep", "sweep.yaml", "--set", "optimizer.lr=1").err
    )
