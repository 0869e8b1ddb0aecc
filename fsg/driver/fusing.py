"""Whether a study that begins trains its trials in packs: one that has begun stays as it is.

Proof: ``tests/driver/test_fuse_option.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fsg.config import TrialConfig
from fsg.driver.locate import fetched
from fsg.errors import ConfigError
from fsg.execution.engine import Resources
from fsg.fusing import estimator_shape, shape_of, why_alone
from fsg.parts import part_of
from fsg.record.folder import StudyFolder
from fsg.study.spec import AblationSpec, SweepSpec

LEAST = 12  # trials that fit together, below which a study is over before a measurement pays
GAIN = 0.6  # of the time apart, at most, for packs to pay: the last packs of a study are smaller than the one that is measured

Tell = Callable[[str], None]


def with_fusing(
    spec: AblationSpec | SweepSpec, asked: str, storage: str, resources: Resources, tell: Tell = lambda sentence: None
) -> tuple[AblationSpec | SweepSpec, Resources]:
    """The study and its resources with ``--fuse`` as it was asked: off, auto, or a number of trials.

    What a study that has begun says of itself stays: its trials are of one program or the other, whatever is asked now.
    What was measured, and what follows from it, goes to ``tell``. ConfigError for any other word.
    """
    resources = limited(resources, asked)
    folder = StudyFolder(fetched(spec.name, storage) / spec.name)
    if folder.spec_path.is_file():
        fused = folder.spec().base.fused
    elif spec.base.fused or asked == "off":
        fused = spec.base.fused
    else:
        fused = asked != "auto" or _pays(spec, resources, tell)
    return spec.model_copy(update={"base": spec.base.model_copy(update={"fused": fused})}), resources


def limited(resources: Resources, asked: str) -> Resources:
    """With as many trials in a pack as ``--fuse`` says. ConfigError where it says nothing of the kind."""
    if asked not in ("auto", "off") and not (asked.isdecimal() and int(asked) >= 1):
        raise ConfigError(f'--fuse is "{asked}", expected auto, off, or a number of trials from 1 on.')
    return resources if asked == "auto" else replace(resources, fuse=1 if asked == "off" else int(asked))


def _pays(spec: AblationSpec | SweepSpec, resources: Resources, tell: Tell) -> bool:
    """Whether a pack of this study was faster here than its trials apart.

    Not asked where it is not known what packs are worth: on a GPU, a cluster, or with resources by arm; nor of a search that
    learns, as beside more trials it knows less.
    """
    special = resources.gpus_per_trial or resources.address or resources.arms or resources.memory_per_trial
    if resources.fuse < 2 or special or _learns(spec) or len(fitting := packable(spec)) < LEAST:
        return False
    from fsg.train.fused.probe import share_of_time  # torch, which takes seconds

    pack = [config.model_copy(update={"device": "cpu"}) for config in fitting[: min(LEAST, resources.fuse)]]
    share = share_of_time(pack, int(resources.cpus_per_trial))
    pays = share <= GAIN
    tell(
        f"{len(fitting)} trials fit together and are trained {'in packs' if pays else 'one by one'}: a step of {len(pack)} "
        f"at once takes {share:.2f} of the time that it takes apart{'' if pays else f', more than {GAIN}'}."
    )
    return pays


def _learns(spec: AblationSpec | SweepSpec) -> bool:
    """Whether what is trained next hangs on what was trained before."""
    if isinstance(spec, AblationSpec):
        return spec.retune is not None
    return bool(part_of("sampler", spec.search.sampler).fact("adapts"))


def packable(spec: AblationSpec | SweepSpec) -> list[TrialConfig]:
    """The trials of the commonest shape that can be packed, those with one estimator side by side."""
    if isinstance(spec, SweepSpec):
        trials = [spec.base.model_copy(update={"seed": spec.base.seed + k}) for k in range(spec.search.trials)]
    else:
        trials = [trial.config for trial in spec.plan.trials()]
    shapes: dict[str, list[TrialConfig]] = {}
    for config in trials:
        if why_alone(config) is None:
            shapes.setdefault(shape_of(config), []).append(config)
    order: dict[str, int] = {}
    found = max(shapes.values(), key=len, default=[])
    return sorted(found, key=lambda config: order.setdefault(estimator_shape(config), len(order)))
