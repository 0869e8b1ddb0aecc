"""A driver that is asked to stop stops: also one that ignores Ctrl-C, and between two searches of one study."""

import os
import shutil
import signal
import time

import pytest
import yaml
from tiny_studies import ABLATION

import fsg
from fsg.driver.session import driving
from fsg.report.plain import plain_console

TUNED = ABLATION | {
    "base": ABLATION["base"] | {"epochs": 1},
    "retune": {"trials_per_arm": 2, "space": {"optimizer.lr": {"loguniform": [1e-3, 1e-2]}}},
}


class StoppedAtTheEnd(fsg.LocalEngine):
    """Hears that it is to stop as its last trial ends."""

    def run(self, work):
        super().run(work)
        return False


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.default_int_handler], ids=["ignored", "taken"])
def test_sigterm_ends_a_driver_whatever_it_does_with_ctrl_c(tmp_path, handler):
    """A shell's script begins what it puts into the background with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt), driving(tmp_path / "study", plain_console()):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_study_that_is_stopped_as_an_arms_search_ends_begins_no_other(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path / "runs.db")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(TUNED))
    places = {"storage": tmp_path / "studies", "tracking_uri": f"sqlite:///{tmp_path}/runs.db", "output": "quiet"}
    with pytest.raises(fsg.StudyInterrupted):
        fsg.run(tmp_path / "study.yaml", engine=StoppedAtTheEnd(), **places)
    searched = tmp_path / "studies" / TUNED["name"] / "retune"
    assert len(list(searched.iterdir())) == 1
    study = fsg.run(tmp_path / "study.yaml", engine=fsg.LocalEngine(), **places)
    assert len(list(searched.iterdir())) == len(study.trials.arm.unique()) > 1
