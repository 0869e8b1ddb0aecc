"""Whether a study that begins trains its trials in packs: one that has begun stays as it is.

Proof: ``tests/driver/test_fuse_option.py``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fsg.driver.locate import fetched
from fsg.errors import ConfigError
from fsg.execution.engine import Resources
from fsg.fusing import shape_of, why_alone
from fsg.record.folder import StudyFolder
from fsg.study.spec import AblationSpec, SweepSpec

LEAST = 4  # trials of one shape, below which nothing is measured
GAIN = 0.8  # of the time that they take apart, at most, for packs to pay


def with_fusing(
    spec: AblationSpec | SweepSpec, asked: str, storage: str, resources: Resources
) -> tuple[AblationSpec | SweepSpec, Resources]:
    """The study and its resources with ``--fuse`` as it was asked: off, auto, or a number of trials.

    What a study that has begun says of itself stays: its trials are of one program or the other, whatever is asked now.
    ConfigError for any other word.
    """
    resources = limited(resources, asked)
    folder = StudyFolder(fetched(spec.name, storage) / spec.name)
    if folder.spec_path.is_file():
        fused = folder.spec().base.fused
    elif spec.base.fused or asked == "off":
        fused = spec.base.fused
    else:
        fused = asked != "auto" or _pays(spec, resources)
    return spec.model_copy(update={"base": spec.base.model_copy(update={"fused": fused})}), resources


def limited(resources: Resources, asked: str) -> Resources:
    """With as many trials in a pack as ``--fuse`` says. ConfigError where it says nothing of the kind."""
    if asked not in ("auto", "off") and not (asked.isdecimal() and int(asked) >= 1):
        raise ConfigError(f'--fuse is "{asked}", expected auto, off, or a number of trials from 1 on.')
    return resources if asked == "auto" else replace(resources, fuse=1 if asked == "off" else int(asked))


def _pays(spec: AblationSpec | SweepSpec, resources: Resources) -> bool:
    """Whether packs of this study's commonest trials were faster here than the trials apart."""
    if isinstance(spec, SweepSpec):
        config, count = spec.base, spec.search.trials
    else:
        configs = [trial.config for trial in spec.plan.trials()]
        shapes = Counter(shape_of(config) for config in configs if why_alone(config) is None)
        if not shapes:
            return False
        shape, count = shapes.most_common(1)[0]
        config = next(each for each in configs if why_alone(each) is None and shape_of(each) == shape)
    if count < LEAST or why_alone(config) is not None:
        return False
    from fsg.train.fused.probe import share_of_time  # torch, which takes seconds

    return share_of_time(config, min(count, resources.fuse), int(resources.cpus_per_trial)) <= GAIN
