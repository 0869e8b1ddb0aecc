"""The scripts of findings/ say what they are to say, and their runner tells what became of each. Nothing is installed here."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from benchmarks import findings

ROOT = Path(__file__).parents[2]
SCRIPTS = findings.scripts()
each = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
PROLOGUE = """set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
"""


@each
def test_a_script_has_its_header_and_the_packages_that_it_installs_are_the_pinned_ones_there(path):
    header, text = findings.header(path), path.read_text(encoding="utf-8")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", header.fields["Date"])
    installed = dict(re.findall(r"'([a-z0-9_-]+)(?:\[\w+\])?==([\d.]+)'", text))
    assert installed and header.packages.items() <= installed.items()
    arguments = text.replace("\\\n", "").partition("uv pip install ")[2].partition("\n")[0].split()
    assert arguments[:3] == ["--quiet", "--python", '"$work/venv/bin/python"']
    assert len(arguments) == 3 + len(installed), "everything is pinned"


@each
def test_a_script_works_in_a_folder_of_its_own_and_names_no_host_and_nothing_of_ours(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n# ") and PROLOGUE in text and 'cd "$work"\n' in text
    assert os.access(path, os.X_OK)
    assert not re.search(
        r"https?://|--(extra-)?index|--find-links|\b[\w-]+\.(org|com|io|net|dev)\b|\bimport fsg|\bfsg\.", text
    )
    assert text.count('sys.exit("changed: ') == text.count("sys.exit(") == 1
    assert max(map(len, text.splitlines())) <= 120
    subprocess.run(["bash", "-n", path], check=True)
    compile(text.partition("<<'PY'")[2].partition("\n")[2].rpartition("PY\n")[0], path.name, "exec")


def test_the_list_has_a_line_for_every_script_with_its_versions_and_date():
    lines = (findings.FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| [")]
    assert [row[0] for row in rows] == [f"[{path.name}]({path.name})" for path in SCRIPTS]
    for path, (_, what, versions, date, here) in zip(SCRIPTS, rows, strict=True):
        header = findings.header(path)
        assert what and here and date == header.fields["Date"]
        assert dict(package.split() for package in versions.split(", ")).items() <= header.packages.items()


@pytest.mark.parametrize(
    ("header", "word"), [("# Title\n#\n# Date: 2026-11-28\n# Seen: it\n", "Date, Seen"), ("echo\n", "no field")]
)
def test_a_header_without_a_field_is_refused_by_what_it_has(tmp_path, header, word):
    (tmp_path / "new.sh").write_text("#!/usr/bin/env bash\n" + header)
    with pytest.raises(ValueError, match=f"new.sh: its header has {word}; expected Date, Packages"):
        findings.header(tmp_path / "new.sh")


def folder(tmp_path, **bodies):
    for name, body in bodies.items():
        (tmp_path / f"{name}.sh").write_text(f"set -euo pipefail\n{body}\n")
    return tmp_path


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_what_changed_and_what_could_not_be_run_is_told_apart_and_either_ends_with_1(tmp_path, capsys, jobs):
    made = folder(
        tmp_path,
        kept="echo tool 1.0; echo seen it",
        moved="echo tool 2.0; echo 'a warning' >&2; echo 'changed: it is as one would guess.' >&2; exit 1",
        broken="echo 'no such package' >&2; exit 1",
    )
    assert findings.main(["--jobs", jobs], made) == 1
    out = re.sub(r"\(\d+ s\)", "(s)", capsys.readouterr().out)
    assert out.splitlines() == [
        "failed   broken.sh (s): no such package",
        "holds    kept.sh (s): seen it",
        "changed  moved.sh (s): changed: it is as one would guess.",
        "1 changed: moved.sh",
        "1 could not be run: broken.sh",
    ]


def test_where_all_hold_it_ends_with_0_and_only_what_is_named_is_run(tmp_path, capsys):
    made = folder(tmp_path, kept="echo seen it", broken="exit 1")
    assert findings.main(["kept"], made) == findings.main(["kept.sh"], made) == 0
    with pytest.raises(SystemExit, match=r"findings/ has no lost\. It has: broken, kept\."):
        findings.main(["lost"], made)


def test_a_script_without_end_is_ended_and_takes_its_folder_with_it(tmp_path):
    body = f"trap 'rm -rf {tmp_path}/work' EXIT; mkdir {tmp_path}/work; echo begun > {tmp_path}/begun; sleep 600"
    folder(tmp_path, endless=body)
    outcome = findings.run(tmp_path / "endless.sh", seconds=5)
    assert (outcome.state, outcome.said) == ("failed", "no end within 5 s")
    assert (tmp_path / "begun").exists() and not (tmp_path / "work").exists()
