"""Runs the command line and keeps everything it says and the code it exits with."""

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from fsg.cli import main
from fsg.execution.engine import LocalEngine


@dataclass
class Said:
    code: int
    out: str
    err: str


def run_main(monkeypatch, folder, *arguments):
    """``fsg *arguments`` in ``folder``, in this process."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["fsg", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    return Said(code, out.getvalue(), err.getvalue())


def train_here(monkeypatch):
    """The command line trains in this process: a trial's start on Ray takes seconds, and not all that is shown is Ray's."""
    monkeypatch.setattr("fsg.ray_engine.engine.RayEngine", lambda resources: LocalEngine())


def python_environment():
    """For a process of its own that finds the package where this process found it."""
    source = str(Path(sys.modules["fsg"].__file__).parents[1])
    paths = [source, os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "160"}
