"""The file of a study, typed: an ablation (arms compared over paired seeds) or a sweep (a space searched).

``load_study`` refuses everything impossible before anything starts, with file and line. What it returns is resolved:
written by ``to_yaml`` and loaded again it is the same study. Proof: ``tests/study/test_spec.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, PrivateAttr, ValidationError

from fsg.catalogue.schedulers import NoScheduler, SchedulerConfig
from fsg.config import PLUGINS, Overrides, TrialConfig, digest, overlaid, with_plugins
from fsg.errors import ConfigError
from fsg.files import user_path
from fsg.formats import FIRST, FORMAT, FORMAT_KEY, format_of
from fsg.identity import completed, sparse
from fsg.metrics import AnyMetric, EpochMetric, epoch_metrics
from fsg.parts import embedded_in, held_by
from fsg.plugins import PluginRef, load_kept
from fsg.scalars import Plain, core
from fsg.section import ByName, Section, WrittenAs, as_tuple
from fsg.study.design import left_out, resolve
from fsg.study.designs import Design
from fsg.study.fairness import Fairness
from fsg.study.optimizers import unfit_optimizers
from fsg.study.plan import Plan
from fsg.study.published import read_published
from fsg.study.reporting import unreported_metrics
from fsg.study.resources import StudyResources
from fsg.study.retuning import Retune
from fsg.study.search import BudgetSpec, Objective, SearchSpec, StartPoint, misspelt, problems
from fsg.study.seeds import SequentialSeeds, parse_seeds, written
from fsg.study.settings import hidden_settings
from fsg.study.space import Space
from fsg.yaml_source import Location, YamlSource, did_you_mean, parse_value, read_yaml, refusal

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
StudyType = TypeVar("StudyType", bound="StudySpec")


def _baselines(value: Any) -> Any:
    """A list of estimator names is short for estimators with nothing else changed."""
    if not isinstance(value, list):
        return value
    for index, name in enumerate(value):
        if not isinstance(name, str):
            raise ValueError(
                f"holds {name!r}, expected names of gradient estimators, or a mapping of names to overrides."
            )
        if name in value[:index]:
            raise ValueError(f'baseline "{name}" is given twice.')
    return {name: {} for name in value}


class MetricSpec(Section):
    """What trials are compared by, read at their last epoch, and which way is better.

    Args:
        name: One that trials report, as ``val_accuracy`` or ``test_accuracy``.
        mode: Which way is better.
        unit: As tables show it, such as ``"%"``.
    """

    name: AnyMetric
    mode: Literal["min", "max"]
    unit: str = ""


class SearchMetricSpec(Section):
    """What a search is led by. No test metric: choices are made on validation.

    Args:
        name: One of every epoch, as ``val_accuracy``.
        mode: Which way is better.
        unit: As tables show it, such as ``"%"``.
    """

    name: EpochMetric
    mode: Literal["min", "max"]
    unit: str = ""


class AnalysisSpec(Section):
    """How the comparison is read, fixed before the first trial.

    Args:
        interval: Coverage of the intervals; null needs none, so one seed will do, and more are reported at 0.95.
        smallest_effect_of_interest: The difference that would matter, in the metric's unit.
        reference: The arm that all others are compared with.
        baseline: A second such arm (in a cross: in each block).
    """

    interval: Annotated[float, Field(gt=0, lt=1)] | None = 0.95
    smallest_effect_of_interest: Annotated[float, Field(gt=0)] | None = None
    reference: str | None = None
    baseline: str | None = None


@embedded_in
class StudySpec(Section):
    """What ablations and sweeps share.

    Args:
        name: Names its folder: ``studies/NAME``. Letters, digits, ``.``, ``_`` and ``-``.
        question: What is asked, in a sentence: it heads tables and pages.
        base: The trial that arms or points change: keys of a trial, what is left out as by default.
        keep: Which checkpoints a finished trial keeps: its last, or also that of its best epoch on validation.
        resources: What a trial has of a machine.
        plugins: Python files that register parts, relative to the study's file. What counts is their content: each trial's
            identity has it.
    """

    name: Name
    question: str = ""
    base: TrialConfig = TrialConfig()
    keep: Literal["last", "best+last"] = "last"
    resources: StudyResources | None = None
    plugins: Annotated[
        tuple[str, ...], BeforeValidator(as_tuple), Field(exclude=True), WrittenAs(lambda: str | list[str])
    ] = ()
    _source: YamlSource | None = PrivateAttr(default=None)

    @property
    def source(self) -> YamlSource | None:
        """The YAML it came from, for messages with a line; None if it was built in Python."""
        return self._source

    def refuse(self, place: Location, message: str) -> ConfigError:
        """The refusal of what stands at ``place`` of the file."""
        return self.source.error(place, message) if self.source else ConfigError(message)

    @property
    def format(self) -> int:
        """The format in which its files are written: that of the fsg that began it."""
        return self.base.format

    def in_format(self: StudyType, format: int) -> StudyType:
        """The same study as it would be in that format."""
        return self if format == self.format else self.model_copy(update={"base": self.base.in_format(format)})

    def resolved(self) -> dict[str, Any]:
        """The study as plain data with every default filled in; it loads as the same study."""
        data = self.model_dump(mode="json", exclude={"base": {"seed"}})
        return {key: value for key, value in data.items() if value is not None}

    def digest(self) -> str:
        """Equal for equal studies. The base's device does not count: it decides no result."""
        return digest(self.identity())

    def identity(self) -> dict[str, Any]:
        """What makes it this study: ``resolved()`` with its base as a trial's identity has it, without others' results, what
        is kept and what it runs on.
        """
        data = {key: value for key, value in self.resolved().items() if key not in ("published", "keep", "resources")}
        if self.format == FIRST:
            base = {key: value for key, value in data["base"].items() if key != "device"}
        else:
            base = {key: value for key, value in self.base.identity().items() if key != "seed"}
        return sparse(data | {"base": base}, type(self))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, StudySpec) and self.resolved() == other.resolved()

    __hash__ = None  # type: ignore[assignment]


@embedded_in
class AblationSpec(StudySpec):
    """Arms compared over the same seeds: those of ``design``, the explicit ``arms``, and ``baselines``.

    Args:
        seeds: A list of seeds, how many, or a rule that adds seeds until intervals are narrow enough.
        metric: What arms are compared by, at the last epoch of their trials.
        design: Which arms there are.
        arms: Name -> what it changes in ``base``.
        baselines: Gradient estimators to stand beside: a list of names, or name -> what it changes in ``base``.
        analysis: How the comparison is read.
        fairness: What all arms may spend alike.
        retune: Tunes every arm before it is compared.
        published: Path of a table of published results, to stand beside ours.
    """

    seeds: Annotated[
        tuple[int, ...] | SequentialSeeds,
        PlainValidator(parse_seeds),
        PlainSerializer(written),
        WrittenAs(lambda: Annotated[int, Field(ge=1)] | list[Seed] | SequentialSeeds),
    ]
    metric: Annotated[MetricSpec, ByName]
    design: Annotated[Design, Field(discriminator="kind")] | None = None
    arms: dict[str, Overrides] = Field(default_factory=dict)
    baselines: Annotated[
        dict[str, Overrides], BeforeValidator(_baselines), WrittenAs(lambda: list[str] | dict[str, Overrides])
    ] = Field(default_factory=dict)
    analysis: AnalysisSpec = AnalysisSpec()
    fairness: Fairness = Fairness()
    retune: Retune | None = None
    published: str | None = None
    _tuned: dict[str, TrialConfig] = PrivateAttr(default_factory=dict)
    _plan: Plan | None = PrivateAttr(default=None)

    @property
    def plan(self) -> Plan:
        """What it runs, resolved once. ConfigError as ``fsg.study.design.resolve``."""
        if self._plan is None:
            self._plan = resolve(self)
        return self._plan

    def model_copy(self, **options: Any) -> AblationSpec:
        """As pydantic's; what was resolved is the original's."""
        copied = super().model_copy(**options)
        copied._plan = None
        return copied

    @property
    def tuned(self) -> dict[str, TrialConfig]:
        """What the searches of ``retune`` found, by arm; empty before."""
        return self._tuned

    def with_tuned(self, found: Mapping[str, TrialConfig]) -> AblationSpec:
        """The same study with its arms as the searches left them: its design, blocks and analysis stay."""
        spec = self.model_copy(update={"retune": None})
        spec._tuned = dict(found)
        return spec

    @property
    def first_seeds(self) -> tuple[int, ...]:
        """All seeds, or those that run in any case where more may be added."""
        return self.seeds.first if isinstance(self.seeds, SequentialSeeds) else self.seeds

    @property
    def kind(self) -> Literal["ablation"]:
        """As the ledger's header names it."""
        return "ablation"


@embedded_in
class SweepSpec(StudySpec):
    """A space searched for the best value of ``metric``; with ``objectives``, for the Pareto front of it and these.

    Args:
        seed: The first seed of every configuration.
        seeds_per_config: Seeds of a configuration, from ``seed`` on; those of a hopeless one are not all run.
        metric: What the search is led by.
        objectives: Further objectives.
        space: Path of a trial -> its values.
        constraints: Comparisons of paths and metrics that a point must keep, as in ``gradient.length <= 8``, or
            ``moved_by_hgs >= 0.01``: that switching it off changes the direction by so much, at the last look.
        start_from: What is tried first.
        search: Who proposes the points, and how many.
        scheduler: What stops trials early, or lets them change.
        budget: Caps of the whole sweep.
    """

    seed: Seed = 0
    seeds_per_config: Annotated[int, Field(ge=1, le=100)] = 1
    metric: Annotated[SearchMetricSpec, ByName]
    objectives: Annotated[tuple[Objective, ...], BeforeValidator(as_tuple)] = ()
    space: Space
    constraints: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    start_from: Annotated[tuple[StartPoint, ...], BeforeValidator(as_tuple)] = ()
    search: SearchSpec
    scheduler: Annotated[SchedulerConfig, Field(discriminator="name"), ByName] = NoScheduler()
    budget: BudgetSpec | None = None

    @property
    def kind(self) -> Literal["sweep"]:
        """As the ledger's header names it."""
        return "sweep"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of a configuration that is run to its end."""
        return tuple(range(self.seed, self.seed + self.seeds_per_config))


held_by("scheduler", SweepSpec, "scheduler")
held_by("design", AblationSpec, "design", optional=True)


def load_study(
    path: str | Path, settings: Iterable[str] = (), recorded: bool = False, plugins: Iterable[str | Path] = ()
) -> AblationSpec | SweepSpec:
    """The study in a YAML file, with ``a.b=value`` settings laid over its base.

    ``plugins``: files that register parts, beside those that the study names.
    ``recorded``: it has begun, perhaps under an older fsg, so it is not asked what only a study that begins is asked, and a
    file that names no format is of the first.
    ConfigError with file, line, what was found and what is allowed.
    """
    return parse_study(read_yaml(path), settings, recorded, plugins)


def parse_study(
    source: YamlSource, settings: Iterable[str] = (), recorded: bool = False, plugins: Iterable[str | Path] = ()
) -> AblationSpec | SweepSpec:
    """The study in ``source``: a sweep if it has a space, a search or a scheduler, and an ablation otherwise.

    NewerFormat for a study of a format that is not known here.
    """
    format = FIRST if recorded else FORMAT
    settings = list(settings)
    if FORMAT_KEY in source.data:
        format = format_of(source.data, source.where((FORMAT_KEY,)))
    refs = with_plugins(source, plugins)
    for ref in _kept_plugins(source):
        load_kept(ref, source.path.parent)
    sweeps = source.data.keys() & {"space", "search", "scheduler"}
    kind: type[AblationSpec | SweepSpec] = SweepSpec if sweeps else AblationSpec
    spec = checked(_typed(kind, source, settings, format, refs))
    return spec if recorded else beginning(spec, settings)


def checked(spec: AblationSpec | SweepSpec) -> AblationSpec | SweepSpec:
    """The study with what it leaves out filled in. ConfigError where it is one that cannot be."""
    return _checked_sweep(spec) if isinstance(spec, SweepSpec) else _checked_ablation(spec)


def beginning(spec: AblationSpec | SweepSpec, settings: Sequence[str] = ()) -> AblationSpec | SweepSpec:
    """The study. ConfigError for what only a study that begins is asked: one that has begun is read whatever it has."""
    asked = hidden_settings(spec, settings), misspelt(spec), unfit_optimizers(spec), unreported_metrics(spec)
    for place, message in itertools.chain(*asked):
        raise spec.refuse(place, message)
    return spec


def to_yaml(spec: StudySpec) -> bytes:
    """``resolved()`` as YAML, with its format; ``load_study`` reads the same study from it."""
    named = {FORMAT_KEY: spec.format} if spec.format > FIRST else {}
    text = yaml.dump(named | spec.resolved(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text.encode()


def _kept_plugins(source: YamlSource) -> list[PluginRef]:
    """The plug-ins that a study's own specification names by content."""
    base = source.data.get("base")
    named = base.get(PLUGINS) if isinstance(base, Mapping) else None
    try:
        return [PluginRef.model_validate(each) for each in named or ()]
    except (ValidationError, TypeError):
        message = f'the base sets "{PLUGINS}"; name files at the top of the study: {PLUGINS}: [my_nets.py].'
        raise source.error(("base", PLUGINS), message) from None


def _typed(
    model: type[StudyType], source: YamlSource, settings: Iterable[str], format: int, plugins: list[dict[str, str]]
) -> StudyType:
    data = {key: value for key, value in source.typed(model).items() if key != FORMAT_KEY}
    base = data.get("base", {})
    if isinstance(base, Mapping):
        base = {**base, PLUGINS: plugins} if plugins else base
        base, source = overlaid(base, source, settings, ("base",))
        data = data | {"base": base}
    try:
        spec = model.model_validate(data if format == FORMAT else completed(data, model, format))
    except ValidationError as error:
        raise refusal(error, model, source) from None
    spec = spec.in_format(format)
    spec._source = source
    if "seed" in (data.get("base") or {}):
        message = f'the base sets "seed", but the trials run {_SEED_KEYS[model.__name__]}; remove it.'
        raise spec.refuse(("base", "seed"), message)
    return spec


_SEED_KEYS = {"AblationSpec": 'the seeds of "seeds"', "SweepSpec": 'the seed of "seed"'}


def _checked_ablation(spec: AblationSpec) -> AblationSpec:
    """Arms that can be, seeds enough for the analysis, and the arms that it names; the defaults of these filled in."""
    plan, names = spec.plan, spec.plan.names
    analysis = spec.analysis
    for role, name in (("reference", analysis.reference), ("baseline", analysis.baseline)):
        text = spec.source.text(("analysis", role)) if spec.source else None
        if name is None and text in names:
            message = f'"analysis.{role}" is {text}, which means none; for the arm of that name write "{text}".'
            raise spec.refuse(("analysis", role), message)
        if name is not None and name not in names:
            forbidden = next((why for why in left_out(spec) if why.startswith(f"{name}: ")), None)
            why = f" It is left out, {forbidden}." if forbidden else did_you_mean(name, names)
            message = f'"analysis.{role}" is "{name}", which is no arm.{why} Arms: {", ".join(names)}.'
            raise spec.refuse(("analysis", role), message)
    if plan.reference == plan.baseline:
        message = f'"analysis.baseline" and the reference are the same arm, "{plan.reference}"; name two.'
        raise spec.refuse(("analysis", "baseline"), message)
    if analysis.interval is None and isinstance(spec.seeds, SequentialSeeds):
        message = (
            "seeds are added until an interval is narrow enough, but analysis.interval is null; name its coverage."
        )
        raise spec.refuse(("analysis", "interval"), message)
    if analysis.interval is not None and len(spec.first_seeds) < 2:
        message = (
            "one seed has no spread, so no interval; give at least 2 seeds, or ask for none: analysis.interval: null."
        )
        raise spec.refuse(("seeds",), message)
    for name in spec.resources.arms if spec.resources else ():
        if name not in plan.arms:
            near, there = did_you_mean(name, list(plan.arms)), ", ".join(plan.arms)
            message = f'"resources.arms" names "{name}", which is no arm.{near} Arms: {there}.'
            raise spec.refuse(("resources", "arms", name), message)
    if spec.retune and (problem := spec.retune.problem(plan.arms)):
        place, why = problem
        raise spec.refuse(("retune", *place), why)
    filled = analysis.model_copy(update={"reference": plan.reference, "baseline": plan.baseline})
    found = spec.model_copy(update={"analysis": filled, "published": _found_published(spec)})
    found._plan = plan  # what is filled in is what it was resolved by
    return found


def _found_published(spec: AblationSpec) -> str | None:
    """The published table's whole path, relative to the study's file; ConfigError if it is not there or no table."""
    if spec.published is None:
        return None
    folder = (spec.source.path.parent if spec.source else Path()).resolve()
    named = user_path(spec.published)
    path = (folder / named).resolve()
    if not (named.is_absolute() or path.is_relative_to(folder)):
        message = f'"published" is {spec.published!r}, which leads out of {folder}; put the table beside the study.'
        raise spec.refuse(("published",), message)
    try:
        read_published(path)
    except ConfigError as error:
        raise spec.refuse(("published",), f'"published" is no table: {error}') from None
    return str(path)


def _checked_sweep(spec: SweepSpec) -> SweepSpec:
    """A space whose every point is a valid trial, and a scheduler that can stop one."""
    if spec.resources and spec.resources.arms:
        raise spec.refuse(("resources", "arms"), '"resources.arms": a sweep has no arms; say it of all trials.')
    misfits = spec.space.misfits(spec.base)
    if misfits:
        lines = [
            str(spec.refuse(("space", path) if path else ("space",), _in_space(path, why))) for path, why in misfits
        ]
        raise ConfigError("\n".join(lines))
    for place, message in problems(spec, epoch_metrics()):
        raise spec.refuse(place, message)
    return spec


def _in_space(path: str, problem: str) -> str:
    return f'"space.{path}": {problem}' if path else problem


class _Dumper(yaml.SafeDumper):
    """Quotes text that fsg reads as something else, such as 1e3: YAML 1.1 would not."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None if text.isprintable() and parse_value(text) == Plain(text) and core(text) == text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def best_by(spec: AblationSpec | SweepSpec) -> tuple[str, Literal["min", "max"]] | None:
    """Metric and mode of the best checkpoint, where one is kept: the study's own, or for a test metric its validation."""
    name, mode = spec.metric.name, spec.metric.mode
    if spec.keep == "last":
        return None
    if name in epoch_metrics():
        return name, mode
    return ("val_loss", "min") if name == "test_loss" else ("val_accuracy", "max")
