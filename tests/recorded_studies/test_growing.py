"""The record can grow: a later fsg with more fields, events or other defaults still has every trial under its key.

The later fsg is a copy of the package with the change made in its text, in a process of its own.
"""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fsg
from fsg.config import TrialConfig
from fsg.identity import defaults, unrecorded_changes
from fsg.record.ledger import FIELDS
from fsg.study.spec import AblationSpec, SweepSpec

PACKAGE = Path(fsg.__file__).parent
NEW_FIELD = "    added_later: int = 0"

READ = """
import sys
from pathlib import Path
from fsg.record.folder import StudyFolder
from fsg.record.repair import repair
from fsg.study.spec import AblationSpec
from fsg.search.configurations import recalled
from fsg.train.checkpoint import CheckpointStore
from fsg.config import parse_trial
import fsg
print(fsg.__file__)
for path in sorted(Path(sys.argv[1]).glob("*/spec.yaml")):
    folder = StudyFolder(path.parent)
    assert repair(folder, folder.spec()) == [], path
    spec, state = folder.spec(), folder.state()
    if isinstance(spec, AblationSpec) and spec.retune is None:
        keys = {trial.key for trial in spec.plan.trials(range(4) if path.parent.name == "sequential" else None)}
    elif isinstance(spec, AblationSpec):
        keys = set(state.trials)  # its arms are what its searches found; these are read below
        for inner in sorted(path.parent.glob("retune/*/spec.yaml")):
            sweep = StudyFolder(inner.parent)
            assert recalled(sweep.spec(), sweep.state().trials).keys() == sweep.state().trials.keys(), inner
    else:
        keys = recalled(spec, state.trials).keys()
    assert keys == state.trials.keys(), f"{path}: {sorted(keys ^ state.trials.keys())}"
    assert state.header["spec_digest"] == spec.digest() or spec.kind == "ablation" and spec.retune, path
    print(path.parent.name, len(keys))
"""


def sections(tree):
    """The classes of a module that are sections of the configuration, by what they derive from."""
    known = {"Section", "StudySpec", "DesignBase", "Factors", "_Population"}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
            if bases & known and node.name != "Domain":
                known.add(node.name)
                found.append(node)
    return found


@pytest.fixture
def later(tmp_path):
    """A copy of the package to change, and what reads the recorded studies with it."""
    copy = tmp_path / "later" / "fsg"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))

    def run(code, *arguments):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True,
            env={"PYTHONPATH": str(copy.parent), "PATH": ""},
        )  # fmt: skip
        return done

    return copy, run


def add_a_field_to_every_section(copy):
    """``added_later: int = 0`` in every section of the tree; how many got one."""
    count = 0
    for path in sorted(copy.rglob("*.py")):
        text = path.read_text()
        if not re.search(r"\((Section|StudySpec|DesignBase|Factors)\):", text):
            continue
        lines = text.splitlines()
        for node in sorted(sections(ast.parse(text)), key=lambda node: -node.lineno):
            first = node.body[0]
            docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            lines.insert(first.end_lineno if docstring else first.lineno - 1, NEW_FIELD)
            count += 1
        path.write_text("\n".join(lines) + "\n")
    return count


def recorded(request, release, tmp_path):
    shutil.copytree(request.path.parent / release, tmp_path / "recorded")
    return tmp_path / "recorded"


def test_one_more_field_in_every_section_changes_no_key(later, release, request, tmp_path):
    copy, run = later
    assert add_a_field_to_every_section(copy) >= len(defaults(TrialConfig, AblationSpec, SweepSpec)) - 1
    done = run(READ, recorded(request, release, tmp_path))
    assert done.returncode == 0, done.stderr
    assert str(copy) in done.stdout and done.stdout.count("\n") == 7
    check = "from fsg.config import TrialConfig as T; print(T().added_later, T().gradient.slow.added_later)"
    assert run(check).stdout.split() == ["0", "0"]


def test_a_field_that_differs_from_its_default_is_another_trial(later):
    copy, run = later
    add_a_field_to_every_section(copy)
    code = """
from fsg.config import digest, parse_trial
new = {"added_later": 1}
trees = [{}, new, {"gradient": new}, {"gradient": {"slow": new}}, {"data": new}]
print(len({digest(parse_trial(tree).identity()) for tree in trees}))
"""
    assert run(code).stdout.strip() == "5"


def test_one_more_field_in_every_event_damages_no_line(later, release, request, tmp_path):
    copy, run = later
    path = copy / "record" / "ledger.py"
    text = path.read_text()
    more = '{name: {"added_later": "as before"} | ADDED.get(name, {}) for name in FIELDS}\n'
    path.write_text(re.sub(r"\n(ENDED: )", f"\nADDED = {more}\\1", text, count=1))
    place = recorded(request, release, tmp_path)
    done = run(READ, place)
    assert done.returncode == 0, done.stderr
    code = """
import sys
from pathlib import Path
from fsg.record.ledger import Ledger
events = Ledger(Path(sys.argv[1])).read()
print(len({event["event"] for event in events}), {event["added_later"] for event in events})
"""
    assert run(code, place / "sweep" / "ledger.jsonl").stdout.split(None, 1)[1].strip() == "{'as before'}"
    assert FIELDS.keys() >= {"study", "planned", "finished"}


def test_a_default_that_changes_is_named_until_the_table_says_since_when(later):
    copy, run = later
    assert unrecorded_changes(TrialConfig, AblationSpec, SweepSpec) == []
    path = copy / "config.py"
    path.write_text(path.read_text().replace("le=100_000)] = 15", "le=100_000)] = 16"))
    code = """
from fsg import identity
from fsg.config import TrialConfig, parse_trial
print(identity.unrecorded_changes(TrialConfig))
known = identity.CHANGED_DEFAULTS
identity.CHANGED_DEFAULTS = known | {("TrialConfig", "epochs"): {3: (15, 20)}}
print(identity.unrecorded_changes(TrialConfig))
identity.CHANGED_DEFAULTS = known | {("TrialConfig", "epochs"): {3: (15, 16)}}
print(identity.unrecorded_changes(TrialConfig), parse_trial({}, format=1).epochs, parse_trial({}, format=3).epochs)
"""
    first, again, second = run(code.replace("format=3", "format=2").replace("{3: (", "{2: (")).stdout.splitlines()
    assert first == "['TrialConfig.epochs had the default 15 and has 16: say in CHANGED_DEFAULTS since which format.']"
    assert again == first.replace("default 15", "default 20"), "a second change went unnoticed"
    assert second == "[] 15 16"


def test_a_study_keeps_the_defaults_of_its_format(later, release, request, tmp_path):
    """Also where an arm changes the kind of a section, which it then has from the defaults alone."""
    copy, run = later
    path = copy / "catalogue" / "gradients.py"
    text = path.read_text()
    changed = text.replace('name: Literal["ema"] = "ema"\n    beta: Share = 0.5',
                           'name: Literal["ema"] = "ema"\n    beta: Share = 0.9')  # fmt: skip
    assert changed != text
    path.write_text(changed)
    place = recorded(request, release, tmp_path)
    assert run(READ, place).returncode != 0, "the default is no part of what an arm means"
    path = copy / "identity.py"
    path.write_text(path.read_text().replace("Any]]] = {", 'Any]]] = {("Ema", "beta"): {2: (0.5, 0.9)}, ', 1))
    done = run(READ, place)
    assert done.returncode == 0, done.stderr
