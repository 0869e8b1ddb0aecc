"""Opening stores quietly."""

import logging
import subprocess
import sys

from fsg.tracking.store import artifact_location
from fsg.tracking.view import rounded


def test_artifacts_stand_beside_a_sqlite_file(tmp_path):
    assert artifact_location(f"sqlite:///{tmp_path}/m.db", "study") == (tmp_path / "mlartifacts/study").as_uri()
    assert artifact_location("http://host", "study") is None


def test_new_store_is_made_without_a_word_and_leaves_nothing_else(making):
    folder, said = making
    assert said == "0", "it said something, or failed"
    assert [path.name for path in folder.iterdir()] == ["mlflow.db"]


def test_opened_store_lets_mlflow_say_no_less_than_a_warning(client):
    assert logging.getLogger("mlflow").getEffectiveLevel() >= logging.WARNING


def test_importing_tracking_loads_no_mlflow():
    code = "import sys, fsg.tracking; sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_column_is_rounded_as_a_whole():
    table = {"a": {"acc": 96.123456, "loss": 0.0345678, "n": 3}, "b": {"acc": 0.5, "loss": 0.0012345, "n": 3}}
    assert rounded(table) == {"a": {"acc": 96.12, "loss": 0.0346, "n": 3}, "b": {"acc": 0.5, "loss": 0.0012, "n": 3}}
    assert rounded({"a": {"x": 0.0}, "b": {"x": 0.123456}}) == {"a": {"x": 0.0}, "b": {"x": 0.123}}
