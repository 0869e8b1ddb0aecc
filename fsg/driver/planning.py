"""The plan of a study's file, beside what the study of its name in the storage has run. Writes, times and starts nothing.

Proof: ``tests/cli/test_mcp_server.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsg.config import PLUGINS
from fsg.driver.fusing import with_fusing
from fsg.errors import StudyError
from fsg.execution.engine import Resources
from fsg.record.folder import StudyFolder
from fsg.record.ledger import StudyState
from fsg.record.refined import with_norms
from fsg.report.plan import StudyPlan, plan_of
from fsg.study.layers import check_layers
from fsg.study.optimizers import check_optimizers
from fsg.study.pretrained import check_pretrained
from fsg.study.search import require
from fsg.study.spec import AblationSpec, SweepSpec, load_study
from fsg.yaml_source import read_yaml


def plan_file(path: Path, storage: Path, plugins: bool = True) -> StudyPlan:
    """What running ``path`` would run, with the refusals that stand before the first trial.

    Args:
        path: YAML of an ablation or a sweep.
        storage: Folder that holds the studies.
        plugins: Whether Python that the file names may be executed; StudyError where it may not and some is named.
    """
    if not plugins and _names_python(read_yaml(path).data):
        raise StudyError(
            f"{path}: names plug-ins, which are Python that reading the study executes; that is allowed to whoever may run it: "
            "fsg mcp --allow-run"
        )
    spec = with_norms(load_study(path), storage)
    folder = StudyFolder(storage / spec.name)
    spec, _ = with_fusing(spec, "off", str(storage), Resources())
    state = StudyState()
    if folder.spec_path.is_file():
        began, state = folder.spec(), folder.state()
        spec = _with_known_costs(spec, began).in_format(began.format)
    if isinstance(spec, SweepSpec):
        require(spec.search)
    check_optimizers(spec)
    check_layers(spec)
    check_pretrained(spec)
    return plan_of(spec, state)


def _names_python(study: Mapping[str, Any]) -> bool:
    """Whether a study's text names plug-ins: its own, or as the specification of one that has begun does."""
    base = study.get("base")
    return bool(study.get(PLUGINS) or (isinstance(base, Mapping) and base.get(PLUGINS)))


def _with_known_costs(spec: AblationSpec | SweepSpec, began: AblationSpec | SweepSpec) -> AblationSpec | SweepSpec:
    """The epochs that follow from costs, from those that the study began with."""
    if not (isinstance(spec, AblationSpec) and isinstance(began, AblationSpec) and spec.fairness.by_cost):
        return spec
    if began.fairness.equal != spec.fairness.equal:
        return spec
    costs = began.fairness.costs | spec.fairness.costs
    return spec.model_copy(update={"fairness": spec.fairness.model_copy(update={"costs": costs})})
