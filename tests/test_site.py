"""The documentation as a site: every page is in it, every link leads somewhere, and the tutorial's commands do what it says."""

import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from command_line import run_main

from fsg.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file(page):
    code_free = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    assert [link for link in LINK.findall(code_free) if not (page.parent / link).exists()] == []


def test_every_command_stands_in_the_readme():
    text = (ROOT / "README.md").read_text()
    assert [
        command.callback.__name__
        for command in app.registered_commands
        if f"`fsg {command.callback.__name__}" not in text
    ] == []


def test_every_page_is_in_the_site():
    listed = re.findall(r"^\s*- (\S+\.md)$", (DOCS / "site" / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs the dependency group docs")
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-q",
        "-f",
        "docs/site/mkdocs.yml",
        "-d",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "tutorial.html").read_text()
    assert re.findall(r'<(?:script|link)[^>]*(?:src|href)="(https?://[^"]*)"', page) == []


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / "tutorial.md").read_text(), re.DOTALL)


def test_the_tutorial_shows_the_study_that_fsg_init_writes(tmp_path, monkeypatch):
    assert run_main(monkeypatch, tmp_path, "init", "mine").code == 0
    (shown,) = map(yaml.safe_load, blocks("yaml"))
    written = yaml.safe_load((tmp_path / "mine" / "first.yaml").read_text())
    assert shown == written


def test_every_command_of_the_tutorial_runs(tmp_path, monkeypatch, empty_store, local_engine, capsys):
    folder, ran = tmp_path, []
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    python = iter(blocks("python"))
    for line in lines:
        program, *words = shlex.split(line)
        if program == "cd":
            folder = folder / words[0]
            shutil.copy(empty_store, folder / "mlflow.db")
            continue
        if words[0] == "archive":  # what the page does before it puts the study away
            monkeypatch.chdir(folder)
            exec(next(python), {})
        said = run_main(monkeypatch, folder, *words)
        assert said.code == 0, f"{line}: {said.out}{said.err}"
        ran.append(words[0])
    assert ran == ["init", "ablate", "ablate", "studies", "status", "compare", "power", "train", "archive", "rm"]
    assert "my_estimator" in capsys.readouterr().out
    assert (folder / "first.tar.gz").exists() and not (folder / "studies" / "first").exists()
