"""What a study has recorded, for notebooks and scripts: tables, its best trial, networks ready to be used, drawings.

    study = fsg.open_study("components")
    study.trials[["arm", "seed", "val_accuracy"]]
    network = study.load_network("best")

Everything is read from the ledger anew at each call, so a study that runs elsewhere is seen as it is now.
Proof: ``tests/driver/test_study.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsg.errors import StudyError
from fsg.record.folder import BEST, StudyFolder, find_study, select_trial
from fsg.record.ledger import TrialRecord
from fsg.report.arm_curves import metric_names, require_metric
from fsg.report.study_report import StudyReport, make_report
from fsg.report.top import flatten
from fsg.study.spec import AblationSpec, SweepSpec

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import nn

    from fsg.report.comparison import Comparison
    from fsg.report.figures import Columns

# The columns that come first, with their pandas dtypes; then, as float64, the metrics.
TRIAL_COLUMNS = {
    "key": "string",
    "arm": "string",
    "seed": "int64",
    "status": "string",
    "reason": "string",
    "epochs": "int64",
    "attempts": "int64",
    "device": "string",
    "started": "datetime64[ns, UTC]",
    "ended": "datetime64[ns, UTC]",
}
EPOCH_COLUMNS = {"key": "string", "arm": "string", "seed": "int64", "epoch": "int64"}


class Study:
    """A study that has begun, wherever its folder lies. Nothing here changes it.

    Args:
        folder: Its folder.
    """

    def __init__(self, folder: StudyFolder) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        trials = list(self._folder.state().trials.values())
        over = sum(record.over for record in trials)
        return f"Study({self.name!r}, {over} of {len(trials)} trials over, in {str(self.path)!r})"

    @property
    def name(self) -> str:
        """As its file says."""
        return self._folder.path.name

    @property
    def path(self) -> Path:
        """Its folder: ledger, checkpoints, reports."""
        return self._folder.path

    @property
    def spec(self) -> AblationSpec | SweepSpec:
        """What it asks, as it began or was last extended."""
        return self._folder.spec()

    @property
    def trials(self) -> pd.DataFrame:
        """A row a trial, in the order in which they were planned.

        Columns: TRIAL_COLUMNS; then the metrics of the last recorded epoch, float64, those of the test set where the trial has
        finished and NaN elsewhere; then the options in which the trials differ, by their dotted path, object.
        """
        import pandas as pd

        records = list(self._folder.state().trials.values())
        metrics = metric_names(records)
        options = [flatten(record.config) for record in records]
        paths = dict.fromkeys(path for option in options for path in option)
        differing = [p for p in paths if p != "seed" and len({repr(option.get(p)) for option in options}) > 1]
        rows = []
        for record, option in zip(records, options, strict=True):
            last = {**(record.epochs[-1] if record.epochs else {}), **(record.final or {})}
            row: dict[str, Any] = {
                "key": record.key,
                "arm": record.arm,
                "seed": record.seed,
                "status": record.status,
                "reason": record.reason,
                "epochs": len(record.epochs),
                "attempts": record.attempts,
                "device": record.device,
                "started": pd.to_datetime(record.started, unit="s", utc=True),
                "ended": pd.to_datetime(record.ended, unit="s", utc=True),
            }
            row |= {name: _number(last.get(name)) for name in metrics}
            rows.append(row | {path: option.get(path) for path in differing})
        types = TRIAL_COLUMNS | dict.fromkeys(metrics, "float64") | dict.fromkeys(differing, "object")
        return pd.DataFrame(rows, columns=list(types)).astype(types)

    @property
    def epochs(self) -> pd.DataFrame:
        """A row an epoch of a trial. Columns: EPOCH_COLUMNS, then every metric as float64, NaN where there is none."""
        import pandas as pd

        records = list(self._folder.state().trials.values())
        metrics = metric_names(records)
        rows = [
            {"key": record.key, "arm": record.arm, "seed": record.seed, "epoch": epoch["epoch"]}
            | {name: _number(epoch.get(name)) for name in metrics}
            for record in records
            for epoch in record.epochs
        ]
        types = EPOCH_COLUMNS | dict.fromkeys(metrics, "float64")
        return pd.DataFrame(rows, columns=list(types)).astype(types)

    def compare(self) -> pd.DataFrame:
        """The table of ``fsg compare``, as text: a row an arm, or a row for each of a sweep's best configurations."""
        import pandas as pd

        return pd.DataFrame(self.report().rows)

    def report(self) -> StudyReport:
        """Every table and drawing of the study. StudyError if nothing was planned yet."""
        return make_report(self.spec, self._folder.state())

    def best(self) -> pd.Series:
        """The row of ``trials`` whose configuration has the best mean of the metric. StudyError if nothing has finished."""
        key = self._selected(BEST).key
        table = self.trials
        found: pd.Series = table[table["key"] == key].iloc[0]
        return found

    def load_network(self, trial: str = BEST) -> nn.Module:
        """The network of a finished trial as it was tested: binary weights, fixed BatchNorm statistics, evaluation mode.

        Args:
            trial: ``best``, a key, or the beginning of one.

        Returns:
            A module on the processor: (N, C, H, W) uint8 images -> (N, classes) logits, normalisation included. Its weights
            are the quantised values; ``test_accuracy`` of the trial is what it scores.

        StudyError where the trial has not finished; DataError where its data set, which gives BatchNorm's moments, is missing.
        """
        from fsg.driver.trained import trained
        from fsg.train.inference import inference_network

        record = self._selected(trial)
        if record.status != "finished":
            raise StudyError(f"trial {record.key} is {record.status}; only a finished trial has its network.")
        return inference_network(trained(self._folder, record))

    def plot_learning_curves(self, metric: str | None = None, columns: Columns = 2) -> Figure:
        """A metric by epoch: the mean of each arm with its interval, or every trial of a sweep; ``columns`` of a paper."""
        from fsg.report.figures import learning_curves
        from fsg.report.search_figures import all_curves
        from fsg.report.top import top_configurations

        spec, state = self.spec, self._folder.state()
        if metric is not None:
            require_metric(state, metric)
        if isinstance(spec, SweepSpec):
            if metric not in (None, spec.metric.name):
                raise StudyError(f"a sweep's curves are of {spec.metric.name}, by which it searched.")
            return all_curves(top_configurations(state, spec.metric), list(state.trials.values()))
        return learning_curves(self._comparison(), state, metric or spec.metric.name, columns=columns)

    def plot_differences(self, to: str | None = None, columns: Columns = 2) -> Figure:
        """The paired difference of each arm to one of them, with its interval. ``to`` left out: the reference."""
        from fsg.report.figures import forest

        comparison = self._comparison()
        other = to or comparison.reference
        assert other is not None, "an ablation has a reference"
        return forest(comparison, other, columns)

    def plot_cost_and_quality(self, columns: Columns = 2) -> Figure:
        """The metric against the time of a step, a point an arm."""
        from fsg.report.figures import cost_and_quality

        return cost_and_quality(self._comparison(), columns)

    def plot_effects(self, columns: Columns = 2) -> Figure:
        """Effects and interactions of a factorial design's components."""
        from fsg.report.figures import main_effects

        block = next((block for block in self.report().blocks if block.factors is not None), None)
        if block is None or block.factors is None:
            raise StudyError(f"{self.name} has no factorial design, so no effects; plot_differences shows its arms.")
        return main_effects(block.comparison, block.factors, columns)

    def _comparison(self) -> Comparison:
        found = self.report().comparison
        if found is None:
            raise StudyError(f"{self.name} is a sweep and has no arms; plot_learning_curves shows its trials.")
        return found

    def _selected(self, selector: str) -> TrialRecord:
        return select_trial(self._folder.state(), selector, self.spec.metric)


def open_study(name_or_path: str | Path, storage: str | Path = "studies") -> Study:
    """A study that has begun.

    Args:
        name_or_path: Its name in ``storage``, or its folder.
        storage: Where studies live.

    StudyError with the nearest name where there is none.
    """
    return Study(find_study(name_or_path, storage))


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
