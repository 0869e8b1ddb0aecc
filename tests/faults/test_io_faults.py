"""A file call of a study fails: nothing is lost, doubled or silent, and what goes on equals its twin.

Most on LocalEngine (``support/local_driver.py``), one through Ray; two more are long.
``python -m benchmarks.io_faults`` does 200.
"""

import errno
import subprocess
import sys
from dataclasses import replace

import pytest
from support.fault_cases import ALL, FIRST, KINDS, STUDIES, Case, Scene
from support.forks import Forks
from support.io_fault import CLASSES, SHORT, Fault, NoShim, counted


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    try:
        with Forks("support.local_driver") as forks:
            yield Scene(tmp_path_factory.mktemp("io"), forks)
    except NoShim as why:
        pytest.skip(str(why))


# The nth call of its kind on a path with this part in it, in a study that no fault befalls; most of them once cost something.
CHOSEN = [
    ("ablation", "EIO once", "w", "driver.json", 1),
    ("ablation", "EDQUOT ten times", "n", "spec.yaml", 1),
    ("sweep", "ENOSPC once", "w", "header.json", 1),
    ("ablation", "a short write", "w", "ledger.jsonl", 5),
    ("population", "EIO three times", "w", "ledger.jsonl", 5),
    ("sweep", "EIO once", "w", "ledger.jsonl", -1),
    ("sweep", "ENOSPC until Ctrl-C", "s", "ledger.jsonl", 5),
    ("ablation", "EMFILE once", "o", "best.pt", 2),
    ("ablation", "EIO three times", "n", "last.pt", 3),
    ("ablation", "EROFS from then on", "o", "last.pt", 4),
    ("sweep", "EMFILE from then on", "o", "stacks.txt", 2),
    ("population", "EMFILE once", "r", "last.pt", 4),
    ("sweep", "EDQUOT ten times", "w", "last.pt", 2),
    ("sweep", "EIO once", "w", "optuna.journal", 20),
    ("population", "EMFILE once", "o", "optuna.journal", -9),
    ("population", "EROFS from then on", "o", "optuna.journal", 4),
    ("sweep", "ENOSPC until Ctrl-C", "o", "optuna.journal", 25),
]
KIND = {kind.name: kind for kind in KINDS}


@pytest.mark.parametrize(("study", "kind", "call", "part", "nth"), CHOSEN)
def test_a_fault_loses_doubles_and_hides_nothing(scene, study, kind, call, part, nth):
    calls = [one.number for one in scene.twin(study).calls if one.kind == call and part in one.path]
    found = scene.strike(Case(study, KIND[kind], ALL, calls[nth - 1 if nth > 0 else nth]))
    assert found.broken == []
    assert found.struck.kind == call and part in found.struck.path


@pytest.mark.long
@pytest.mark.parametrize(
    ("study", "kind", "calls", "of", "nth", "ended"),
    [
        ("ablation", "EIO once", "s", "l", 12, "said why and ended"),
        ("ablation", "EIO once", "o", "c", 40, "tried a trial again"),
        ("population", "EROFS from then on", "w", "j", 30, "said why and ended"),
    ],
)
def test_a_fault_under_ray_loses_doubles_and_hides_nothing(scene, study, kind, calls, of, nth, ended):
    found = scene.strike(Case(study, replace(KIND[kind], calls=calls), of, nth), with_ray=True)
    assert found.broken == []
    assert (found.struck.of, found.ended) == (CLASSES[of], ended)


def test_the_long_run_strikes_every_study_file_and_kind_of_fault_over_the_first_300_calls(scene):
    drawn = list(scene.cases(200))
    assert len({(case.study, case.kind.name) for case in drawn}) == len(STUDIES) * len(KINDS)
    assert {case.classes for case in drawn} == {*CLASSES, ALL}
    assert min(case.nth for case in drawn) < 10 and FIRST - 20 < max(case.nth for case in drawn) <= FIRST


# The library itself ---------------------------------------------------------------------------------------------------
WAYS = """
import os, sys
from pathlib import Path
folder = Path(sys.argv[1])
file = folder / "ledger.jsonl"
descriptor = os.open(file, os.O_RDWR | os.O_CREAT)
for way in (
    lambda: os.open(file, os.O_WRONLY),
    lambda: os.open(file, os.O_RDONLY),
    lambda: file.open("ab"),
    lambda: file.read_bytes(),
    lambda: os.write(descriptor, b"some"),
    lambda: os.pwrite(descriptor, b"some", 0),
    lambda: os.fsync(descriptor),
    lambda: os.fdatasync(descriptor),
    lambda: os.ftruncate(descriptor, 0),
    lambda: os.truncate(file, 0),
    lambda: os.posix_fallocate(descriptor, 0, 10),
    lambda: (folder / "other").rename(file),
    lambda: file.unlink(),
    lambda: (folder / "checkpoints").mkdir(),
    lambda: Path("spec.yaml").write_bytes(b""),
):
    try:
        way()
        print("-", end="")
    except OSError as error:
        print("x" if error.errno == 122 else "?", end="")
"""
LETTERS = "-ororwwssttanumo"  # of the calls that the script makes, the first in any case


@pytest.fixture
def study(tmp_path, scene):
    """A folder of a study, in one of its storage; the fault's log lies beside that."""
    (tmp_path / "studies" / "one").mkdir(parents=True)
    (tmp_path / "studies" / "one" / "other").touch()
    return tmp_path / "studies" / "one"


def script(study, fault, text=WAYS):
    """What a Python process said in which the fault happens."""
    command = [sys.executable, "-c", text, str(study)]
    ran = subprocess.run(command, env=fault.environment(), cwd=study, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_every_call_that_a_study_makes_on_its_files_can_fail(study):
    fault = Fault(study.parent, study.parents[1] / "log", nth=2, error=errno.EDQUOT, count=0)
    assert script(study, fault) == "x" * (len(LETTERS) - 1)
    assert [call.kind for call in counted(fault.log)][1:] == list(LETTERS[1:])
    assert script(study, Fault(study.parent, study.parents[1] / "other log")) == "-" * (len(LETTERS) - 1)


@pytest.mark.parametrize(
    ("nth", "count", "calls", "classes", "expected"),
    [
        (0, 1, LETTERS, ALL, "---------------"),
        (3, 1, LETTERS, ALL, "-x-------------"),
        (3, 2, LETTERS, ALL, "-xx------------"),
        (3, 2, "ws", ALL, "----xx---------"),
        (9, 0, "osm", ALL, "-------x-----xx"),
        (1, 0, LETTERS, "sc", "-------------xx"),
        (2, 0, LETTERS, "j", "---------------"),
    ],
)
def test_it_is_the_nth_call_that_fails_and_as_many_as_were_asked_for(study, nth, count, calls, classes, expected):
    log = study.parents[1] / "log"
    assert script(study, Fault(study.parent, log, nth, errno.EDQUOT, calls, count, classes)) == expected


def test_a_short_write_is_made_by_half(study):
    fault = Fault(study.parent, study.parents[1] / "log", nth=1, error=SHORT)
    text = 'import os; print(os.write(os.open("ledger.jsonl", os.O_CREAT | os.O_WRONLY), b"seventeen"), end="")'
    assert script(study, fault, text) == "5"


def test_calls_are_counted_together_over_processes_and_those_elsewhere_are_not(study):
    fault = Fault(study.parent, study.parents[1] / "log", nth=4)
    text = """
import os
for number in range(3):
    if os.fork() == 0:
        for path in (os.path.abspath("../../elsewhere"), "ray", "checkpoints"):
            try:
                os.mkdir(path)
            except FileExistsError:
                pass
            except OSError as error:
                print(error.errno, end="")
        os._exit(0)
    os.wait()
try:
    os.mkdir("search")
except OSError as error:
    print(error.errno, end="", flush=True)
"""
    assert script(study, fault, text) == str(errno.EIO)
    assert [(call.number, call.of) for call in counted(fault.log)] == [(n, "checkpoint") for n in (1, 2, 3)] + [
        (4, "journal")
    ]
