"""What the trials of a study read: their data sets, known before the first of them runs."""

from __future__ import annotations

from pathlib import Path

from fsg.config import DataConfig
from fsg.files import user_path
from fsg.study.design import arms_of
from fsg.study.spec import AblationSpec, SweepSpec

SHIPPED = ("digits", "synthetic")  # come with the packages: always there


def data_of(spec: AblationSpec | SweepSpec) -> list[DataConfig]:
    """Each data set that the trials load and that could be missing, once, its root as seen from this working directory.

    Of a sweep: what its first point loads.
    """
    if isinstance(spec, SweepSpec):
        first = {path: domain.extremes[0] for path, domain in spec.space.domains.items()}
        configs = [spec.space.resolve(spec.base, first)]
    else:
        configs = list(arms_of(spec).values())
    found = dict.fromkeys(config.data for config in configs if config.data.name not in SHIPPED)
    return [data.model_copy(update={"root": str(absolute_root(data))}) for data in found]


def absolute_root(data: DataConfig) -> Path:
    """The folder a data set is looked for in; ``data`` in the working directory where none is named."""
    return user_path(data.root or "data").absolute()
