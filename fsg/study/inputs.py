"""What the trials of a study read: their data sets, known before the first of them runs.

Proof: ``tests/study/test_inputs.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fsg.catalogue.data import DataConfig
from fsg.errors import ConfigError
from fsg.files import user_path
from fsg.parts import part_of
from fsg.study.space import trial_at
from fsg.study.spec import AblationSpec, SweepSpec
from fsg.study.tuned import arm_sweeps

_NAMING = ("data", "data.name", "data.root", "data.download")  # the paths that decide which data set is loaded


def data_of(spec: AblationSpec | SweepSpec) -> list[DataConfig]:
    """Each data set that the trials load and that could be missing, once, its root as seen from this working directory.

    Of a sweep, and of the searches of a study that tunes its arms: what any of its points may load.
    """
    if isinstance(spec, SweepSpec):
        configs = list(_searched(spec))
    elif spec.retune is not None:
        configs = [data for sweep in arm_sweeps(spec).values() for data in _searched(sweep)]
    else:
        configs = [config.data for config in spec.plan.arms.values()]
    found = dict.fromkeys(data for data in configs if not part_of("data", data).fact("shipped"))
    return [located(data) for data in found]


def located(data: DataConfig) -> DataConfig:
    """The data set, its folder as seen from this working directory; a guest's that names none is as it is."""
    if data.root is None and part_of("data", data).source is not None:
        return data
    return data.model_copy(update={"root": str(absolute_root(data))})


def _searched(spec: SweepSpec) -> Iterator[DataConfig]:
    """Each data set of a search once, to be downloaded if any point asks for that."""
    found: dict[tuple[str, str | None], DataConfig] = {}
    for settings in spec.space.corners(_NAMING):
        own = {path: value for path, value in settings.items() if path == "data" or path.startswith("data.")}
        try:
            data = trial_at(spec.base, own).data
        except ConfigError:
            continue  # a combination that no point has: the space was checked
        known = found.setdefault((data.name, data.root), data)
        if data.download and not known.download:
            found[data.name, data.root] = data
    yield from found.values()


def absolute_root(data: DataConfig) -> Path:
    """The folder a data set is looked for in; ``data`` in the working directory where none is named."""
    return user_path(data.root or "data").absolute()
