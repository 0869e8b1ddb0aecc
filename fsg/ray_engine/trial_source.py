"""Where trials come from, as a searcher of Ray Tune."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher

from fsg.execution.engine import Source
from fsg.execution.reports import ASSIGNMENT, EpochReport, report_of
from fsg.ray_engine.snapshots import NotInSnapshots


class SourceSearcher(NotInSnapshots, Searcher):
    """Asks ``source``, whose memory is the study's own: Ray's snapshots of it hold nothing."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next trial as a Tune configuration, None to be asked again while one that runs may follow, or FINISHED."""
        assignment = self.source.take(trial_id)
        if assignment is None:
            return None if self.source.waits else Searcher.FINISHED
        return {ASSIGNMENT: assignment}

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        """An epoch."""
        report = report_of(result)
        if isinstance(report, EpochReport):
            self.source.heard(trial_id, report)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """The end of a trial, or of one attempt at it."""
        self.source.done(trial_id, None if error else report_of(result))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""
