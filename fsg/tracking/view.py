"""The page that shows a study's arms side by side: an experiment tag that MLflow reads when its address names the key.

MLflow's own runs page shows one collapsed row and no metric. A shared view, ``mlflow.sharedViewState.<key>``, carries a
filter, an order, columns and their widths as plain JSON (seen working in MLflow 3.17.2). Unknown keys are ignored by
MLflow, missing ones fall back to its defaults.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

TAG_PREFIX = "mlflow.sharedViewState."
# Column widths in pixels. Of a 1440 pixel window MLflow's side panels leave 820: tight columns keep the numbers in sight.
CREATED_WIDTH, NAME_MARGIN, NAME_CHARACTER, MARGIN, CHARACTER = 140, 58, 7, 22, 8


def view_key(study_id: str) -> str:
    """The key of the study's view; the experiment tag is TAG_PREFIX + key."""
    return f"fsg-{study_id}"


def view_address(base: str, experiment_id: str, study_id: str) -> str:
    """The address that opens the study's view on the MLflow server at ``base`` ("http://127.0.0.1:5000")."""
    query = (
        f"viewStateShareKey={view_key(study_id)}&workflowType=machine_learning"  # not the menu for prompts and agents
    )
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def view_state(
    study_id: str,
    level: str,
    metrics: Sequence[str],
    params: Sequence[str] = (),
    ascending: bool = False,
    names: Sequence[str] = (),
) -> str:
    """The view as JSON: the study's runs of one ``level``, sorted by the first of ``metrics``, with these columns in order.

    ``names`` are the names of the runs shown, from which the first column takes its width.
    """
    columns = [*(f"metrics.`{name}`" for name in metrics), *(f"params.`{name}`" for name in params)]
    widths = {column: _width(name) for column, name in zip(columns, [*metrics, *params], strict=True)}
    run_name, created = "attributes.`Run Name`", "runDateAndNestInfo"
    longest = max((len(name) for name in names), default=14)
    state: dict[str, Any] = {
        "searchFilter": f"tags.`fsg.study_id` = '{study_id}' AND tags.`fsg.level` = '{level}'",
        "orderByKey": columns[0] if columns else "attributes.start_time",
        "orderByAsc": ascending if columns else True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [run_name, created, *columns],
        "columnWidths": {run_name: NAME_MARGIN + NAME_CHARACTER * longest, created: CREATED_WIDTH, **widths},
        "runsPinned": [],
        "runsHidden": [],
        "runsExpanded": {},
        "groupBy": None,
    }
    return json.dumps(state, sort_keys=True)


def rounded(table: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Numbers as a column shows them: two decimals, or three significant digits where a whole column is below one.

    ``table`` maps row to {column: value}. MLflow prints every digit it is given.
    """
    largest: dict[str, float] = {}
    for row in table.values():
        for name, value in row.items():
            largest[name] = max(largest.get(name, 0.0), abs(value))
    return {key: {n: round(v, _decimals(largest[n])) for n, v in row.items()} for key, row in table.items()}


def _decimals(largest: float) -> int:
    return 2 - math.floor(math.log10(largest)) if 0 < largest < 1 else 2


def _width(name: str) -> int:
    return MARGIN + CHARACTER * max(5, len(name))
