"""The made-up studies of the benchmark of reading are studies like any other."""

import pytest

from benchmarks.reading import ARMS, EPOCHS, make
from fsg.record.folder import StudyFolder
from fsg.report.study_report import make_report


@pytest.mark.parametrize(("case", "trials"), [("sweep", 20), ("search", 120), ("ablation", 3 * ARMS)])
def test_a_made_up_study_is_read_and_compared(case, trials, tmp_path):
    folder = StudyFolder(make(case, trials, tmp_path))
    state = folder.state()
    assert len(state.trials) == trials
    assert max(len(record.epochs) for record in state.trials.values()) == EPOCHS[case]
    titles = [grid.title for grid in make_report(folder.spec(), state).grids]
    assert any(("val_accuracy" if case == "ablation" else "what mattered") in title for title in titles), titles
