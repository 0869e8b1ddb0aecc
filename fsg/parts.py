"""The parts that studies name, each registered once: its kind, its name, its typed section, its builder and its facts.

fsg's own parts come in by the same door as a guest's:

    class VggSmall(Section):
        name: Literal["vgg_small"] = "vgg_small"
        width: int = 64

    @register("model", VggSmall)
    def vgg_small(config, image_shape, classes, quantizer): ...

A builder may be text, "module:name": it is imported when it is first built, so a study is checked without torch. A fact is
what others must know of a part without building it: ``FACTS`` lists them by kind, with what holds where a part is silent.
Proof: ``tests/test_parts.py``.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, TypeVar, Union

from pydantic import BaseModel

from fsg.errors import ConfigError
from fsg.identity import forget_members
from fsg.nearest import did_you_mean
from fsg.scalars import tags
from fsg.section import Section

Model = TypeVar("Model", bound=BaseModel)
Builder = TypeVar("Builder", bound=Callable[..., Any])

# kind -> fact -> what holds for a part that says nothing. A fact that depends on options is a function of the section, or
# the place of one, "module:name".
FACTS: Mapping[str, Mapping[str, Any]] = {
    "model": {"fusable": False},  # whether its forward treats all channels alike, but for layers that it has by name
    "quantizer": {
        "bits": lambda config: 1,  # of a quantised weight; None: weights stay float
        "sign": lambda config: False,  # whether it is offset + scale sign(x), and states x and scale
        # The place of what gives each layer its own, (config, model, loss, seed) -> layer: bits; None: all share one.
        "per_layer": lambda config: None,
        "fusable": False,  # whether a number that it makes hangs on no place in the tensor, to the bit
    },
    "gradient": {
        "memory_steps": lambda config: 1,  # steps until its memory is full
        "uncapturable": lambda config: None,  # why a CUDA graph cannot hold its step; None: it can
        "flops": lambda config, weights, layers: 0.0,  # of a step, beyond what torch counts
        "counted_as": lambda config: config,  # the section of the same work in which torch counts nothing of ``flops``
        "unreported": lambda config: {},  # metric -> why a trial with it has none
        "unused": lambda config: {},  # option -> what it amounts to: two arms that differ in it alone are one
        "gates": False,  # whether it rescales the base optimizer's step
        "reads_sign": False,  # whether it needs a quantizer of the fact sign
        # The place of a training step's maker, (config, model, layers), to use instead of ours.
        "own_step": lambda config: None,
        "fusable": lambda config: None,  # the place of its twin for many trials at once; None: it has none
    },
    "optimizer": {
        "capturable": False,  # whether a CUDA graph can hold its step
        "fusable": lambda config: None,  # as a gradient's
        "unfit": lambda config, trial: None,  # why it cannot train this trial; None: it can
    },
    "schedule": {},
    "data": {
        "augmented": False,  # whether classes survive a flip and a shift
        "shipped": False,  # whether it is always there: made, or installed with a package
        "by_folder": False,  # whether its folder's name tells its images
        "unused": lambda config: {},  # as a gradient's
        "stand_in": lambda config: None,  # images of its shape, to time steps by before it is downloaded
        "to_download": lambda config: None,  # the folder it will be downloaded into
        "missing": lambda config: (
            None
        ),  # why it cannot be loaded, with what to do; None: it can, or is downloaded first
    },
    "metric": {},
    "sampler": {
        "package": None,  # what must be installed beside Optuna
        "conditional": False,  # whether it can search paths that are set under a condition alone
        "objectives": False,  # whether it knows several
        "constraints": True,  # whether it learns from constraints on metrics
        "exhaustive": False,  # whether every point of the space is gone through, and it is never asked
        "adapts": True,  # whether the next point hangs on what those before came to
        "resumable": False,  # whether it knows from Optuna's memory where it stood, so its seed stays when it is made again
        "unfit": lambda config, space: (),  # (path or None, why it cannot search this space), each
    },
    "scheduler": {
        "stops": True,  # whether it may stop a trial by its metric
        "population": False,  # whether trials change their configuration while they train; the builder gives an Explore
        "ranges": False,  # of a population: whether it knows ranges without steps alone
    },
    "design": {},
    "backend": {
        "missing": lambda device: None,  # why it cannot run on a device type, with what to do; None: it can
        "flat": None,  # the place of its slow_scan_flat, for sequences of different lengths in one call
        "stacked": None,  # the place of its slow_scans, for several blocks in one call
    },
}
DIGITS = 16  # of a guest's digest
# kind -> the fields that the rest of a trial reads, and the section to derive from to have them.
REQUIRED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "data": (("root", "download", "batch_size", "validation_share", "split_seed", "augment"), "fsg.DataSection"),
    "optimizer": (("lr",), "fsg.OptimizerSection"),
    "population": (("perturb_epochs", "quantile"), "fsg.catalogue.schedulers.PopulationSection"),
    "design": (("kind",), "fsg.DesignBase"),
}
# kind -> the field that says which part it is; ``name`` where none stands here
TAGS: Mapping[str, str] = {"design": "kind"}
Kind = Literal[
    "model",
    "quantizer",
    "gradient",
    "optimizer",
    "schedule",
    "data",
    "metric",
    "sampler",
    "scheduler",
    "design",
    "backend",
]


@dataclass(frozen=True)
class Source:
    """Whose code a guest's part is.

    Args:
        name: Of its file, of its distribution with the version, or of the module that registered it.
        digest: The first digits of the SHA-256 of its code: another digest, another trial.
        how: ``file``: a plug-in that a study names; ``package``: installed, found by its entry point; ``session``: registered by
            the running program itself, which no other process knows.
    """

    name: str
    digest: str
    how: Literal["file", "package", "session"]


@dataclass(frozen=True)
class Part:
    """What is registered under one name of one kind.

    Args:
        kind: One of FACTS; of most, the section of a trial that names it.
        name: As a study writes it.
        config: Its section, of which ``name`` is one; None for a metric or a backend, which have no options.
        build: What makes it, or the place of that as "module:name".
        facts: Those it states; the others are as in FACTS.
        origin: Where it was registered, as "file:line".
        source: Whose code it is; None for fsg's own.
    """

    kind: str
    name: str
    config: type[Section] | None
    build: Callable[..., Any] | str
    facts: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""
    source: Source | None = None

    def make(self, *args: Any) -> Any:
        """What the builder makes of ``args``, the section first."""
        return resolved(self.build)(*args)

    def fact(self, name: str, *args: Any) -> Any:
        """One of its facts; of one that depends on options, its value for these ``args``, the section first."""
        value = self.facts.get(name, FACTS[self.kind][name])
        if isinstance(value, str) and ":" in value:
            value = resolved(value)
        return value(*args) if callable(value) else value


@dataclass(frozen=True)
class _Holder:
    """A field of a model that names parts of a kind, less ``without``; ``optional``: or None."""

    kind: str
    model: type[BaseModel]
    field: str
    optional: bool
    without: tuple[str, ...]


_parts: dict[tuple[str, str], Part] = {}
_holders: list[_Holder] = []
_embedding: list[type[BaseModel]] = []  # the models that hold such a model
_importing: list[Source] = []  # the plug-in that is being imported


def register(
    kind: Kind, config: type[Section] | str, build: Any = None, names: Sequence[str] = (), **facts: Any
) -> Any:
    """Register a part of this kind under each ``name`` that its section allows; of a metric or a backend, under that name.

    Args:
        kind: One of FACTS.
        config: A frozen pydantic section with ``name: Literal["..."] = "..."``; of a metric or a backend, its name. A design
            is its own section, with ``kind: Literal["..."]``, and needs no builder.
        build: The builder, or "module:name". Left out, ``register`` is a decorator of the builder.
        names: Those of a section whose ``name`` is any text.
        facts: What others must know of it (FACTS).

    Called with (config, ...): ``model``: (config, image_shape, classes, quantizer) -> nn.Module; ``quantizer``: (config) ->
    Quantizer; ``gradient``: (config, spans) -> GradientEstimator; ``optimizer``: (config, params) -> Optimizer; ``schedule``:
    (config, epochs done, of how many) -> factor, both without the warm-up; ``data``: (config) -> DataSplits;
    ``metric``: (logits, labels) -> float; ``sampler``: (config, space, seed, epochs of the longest trial) -> Optuna's
    BaseSampler; ``scheduler``: (config, epochs of the longest trial, what trials are expected to end at) -> Rule, of a population
    (config, domains) -> Explore; ``backend``: (tokens_BL, weights, outputs) -> (B, outputs), as ``fsg.ops.slow_scan``.

    ConfigError with the caller's file and line for a taken name, and for a section that is not frozen or has no name.
    """
    if kind in TAGS and build is None:  # what is its own section needs no builder
        build = config
    if build is None:

        def decorate(builder: Builder) -> Builder:
            _admit(kind, config, builder, names, facts, place_of(builder))
            return builder

        return decorate
    caller = sys._getframe(1)
    _admit(kind, config, build, names, facts, f"{caller.f_code.co_filename}:{caller.f_lineno}")
    return None


def find_part(kind: str, name: str) -> Part:
    """The part of that kind and name. ConfigError where there is none."""
    found = _parts.get((kind, name))
    if found is None:
        raise ConfigError(f'no {kind} is registered as "{name}".{did_you_mean(name, names(kind))}')
    return found


def part_of(kind: str, config: Any) -> Part:
    """The part that a section names."""
    return find_part(kind, getattr(config, TAGS.get(kind, "name")))


def has_part(kind: str, name: str) -> bool:
    """Whether a part of that kind and name is registered."""
    return (kind, name) in _parts


def guest_part(kind: str, name: str) -> Part | None:
    """The part of that name if it is a guest's."""
    found = _parts.get((kind, name))
    return found if found is not None and found.source is not None else None


def names(kind: str) -> list[str]:
    """The names of a kind, in the order in which they were registered."""
    return [name for (of, name) in _parts if of == kind]


def guests(kind: str | None = None) -> Iterator[Part]:
    """The parts that are not fsg's own."""
    return (each for each in _parts.values() if each.source is not None and kind in (None, each.kind))


def held_by(
    kind: str, model: type[BaseModel], field: str, optional: bool = False, without: tuple[str, ...] = ()
) -> None:
    """Let ``field`` of ``model`` name the parts of this kind, those to come too; or None; none of the names ``without``."""
    _holders.append(_Holder(kind, model, field, optional, without))
    _assemble(kind)


def embedded_in(model: type[Model]) -> type[Model]:
    """Mark a model that holds one of ``held_by``: it is rebuilt with it."""
    _embedding.append(model)
    return model


def resolved(place: Callable[..., Any] | str) -> Callable[..., Any]:
    """A function, or the one at "module:name"."""
    if isinstance(place, str):
        module, _, name = place.partition(":")
        found: Callable[..., Any] = getattr(import_module(module), name)
        return found
    return place


@contextmanager
def registered_by(source: Source) -> Iterator[None]:
    """Inside, what is registered belongs to this guest."""
    _importing.append(source)
    try:
        yield
    finally:
        _importing.pop()


def forget(source_name: str) -> None:
    """Take out all that the guest of this name registered."""
    gone = [key for key, each in _parts.items() if each.source is not None and each.source.name == source_name]
    for key in gone:
        del _parts[key]
    for kind in {kind for kind, _ in gone}:
        _assemble(kind)


def readmit(parts: Iterable[Part]) -> None:
    """Register again what ``forget`` took out."""
    for each in parts:
        _parts[each.kind, each.name] = each
        _assemble(each.kind)


def place_of(code: Any) -> str:
    """Where a function or class is written, as "file:line"."""
    try:
        return f"{inspect.getsourcefile(code)}:{inspect.getsourcelines(code)[1]}"
    except (OSError, TypeError):  # typed at a prompt
        return str(getattr(code, "__module__", "?"))


def _admit(
    kind: str,
    config: type[Section] | str,
    build: Any,
    names: Sequence[str],
    facts: Mapping[str, Any],
    origin: str,
) -> None:
    if kind not in FACTS:
        raise ConfigError(f'{origin}: no kind of part is "{kind}".{_allowed(kind, FACTS)}')
    for fact in facts:
        if fact not in FACTS[kind]:
            raise ConfigError(f'{origin}: a {kind} has no fact "{fact}".{_allowed(fact, FACTS[kind])}')
    if not (isinstance(build, str) or callable(build)):
        raise ConfigError(f"{origin}: the builder of a {kind} is {build!r}, expected a function.")
    section = None if isinstance(config, str) else config
    source = _source_of(section, build)
    needs = "population" if facts.get("population") else kind
    named = [config] if isinstance(config, str) else [*names] or _names_of(kind, config, origin, needs)
    for name in named:
        taken = _parts.get((kind, name))
        if taken is not None and (source is None or taken.source is None or taken.source.name != source.name):
            whose = f"at {taken.origin}" if taken.source else "by fsg itself"
            raise ConfigError(f'{origin}: the {kind} "{name}" is registered already, {whose}; choose another name.')
    for name in named:
        _parts[kind, name] = Part(kind, name, section, build, facts, origin, source)
    _assemble(kind)


def _allowed(name: str, known: Iterable[str]) -> str:
    return f"{did_you_mean(name, known)} Allowed: {', '.join(known) or 'none'}."


def _source_of(section: type[Section] | None, build: Any) -> Source | None:
    """Whose a part is: fsg's own, the plug-in's that is being imported, or the running program's."""
    if section is not None:
        module = section.__module__
    else:
        module = build.partition(":")[0] if isinstance(build, str) else str(getattr(build, "__module__", ""))
    if module.startswith("fsg."):
        return None
    import_module("fsg.catalogue")  # fsg's own parts come first: a guest cannot take their names
    if _importing:
        return _importing[-1]
    texts = []
    for code in (section, None if isinstance(build, str) else build):
        try:
            texts.append(inspect.getsource(code) if code is not None else str(build))
        except (OSError, TypeError):  # typed at a prompt: its bytecode is what there is
            texts.append(repr(getattr(getattr(code, "__code__", None), "co_code", code)))
    return Source(module, hashlib.sha256("\n".join(texts).encode()).hexdigest()[:DIGITS], "session")


def _names_of(kind: str, config: Any, origin: str, needs: str) -> list[str]:
    """The names that a section allows itself; ConfigError where it is none, or lacks what ``REQUIRED`` of ``needs`` says."""
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        raise ConfigError(f"{origin}: the section of a {kind} is {config!r}, expected a subclass of fsg.Section.")
    if not config.model_config.get("frozen"):
        raise ConfigError(
            f"{origin}: the section {config.__name__} is not frozen, so a trial could change after it was recorded; "
            "derive it from fsg.Section."
        )
    fields, base = REQUIRED.get(needs, ((), ""))
    if missing := [field for field in fields if field not in config.model_fields]:
        raise ConfigError(
            f"{origin}: the section {config.__name__} has no {', '.join(missing)}; derive it from {base}."
        )
    tag = TAGS.get(kind, "name")
    found = [str(name) for name in tags(config, tag)]
    if not found:
        raise ConfigError(
            f'{origin}: the section {config.__name__} has no {tag}; give it {tag}: Literal["..."] = "...", as studies write it.'
        )
    return found


def _assemble(kind: str) -> None:
    """Give the fields that name parts of this kind all of their sections, and rebuild the models that hold them."""
    forget_members()
    holders = [holder for holder in _holders if holder.kind == kind]
    for holder in holders:
        info, tag = holder.model.model_fields[holder.field], TAGS.get(kind, "name")
        named = {name: each.config for (of, name), each in _parts.items() if of == kind and each.config is not None}
        sections = tuple(dict.fromkeys(config for name, config in named.items() if name not in holder.without))
        choices = (*sections, None) if holder.optional else sections
        annotation: Any = Union[choices] if len(choices) > 1 else choices[0]  # noqa: UP007
        info.annotation = annotation
        told_apart = len(sections) > 1 and all(tags(section, tag) for section in sections)
        info.discriminator = tag if told_apart else None
        holder.model.model_rebuild(force=True)
    for each in _embedding if holders else ():
        each.model_rebuild(force=True)
