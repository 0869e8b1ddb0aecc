"""One trial, completely: a typed tree that YAML, ``--set`` and a searcher fill in; it hashes to the trial's identity.

Every section with kinds (model, quantizer, gradient, ...) is chosen by ``name``; a bare string is short for
``{name: ...}``. Frozen, no unknown keys. Importing this costs pydantic and nothing heavier: a study is checked without
torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, model_validator

from fsg.catalogue.data import DataConfig, DataSection
from fsg.catalogue.gradients import Fsg, GradientConfig
from fsg.catalogue.models import ModelConfig
from fsg.catalogue.optimizers import OptimizerConfig
from fsg.catalogue.quantizers import Dorefa, QuantizerConfig
from fsg.catalogue.schedules import ScheduleConfig
from fsg.errors import ConfigError
from fsg.files import user_path
from fsg.formats import FIRST, FORMAT
from fsg.identity import as_left_out, completed, sparse
from fsg.optimizer_names import unfit
from fsg.parts import Source, find_part, has_part, held_by, names, part_of
from fsg.plugins import PluginRef, activate, load_installed, load_plugin, load_texts, text_of
from fsg.scalars import Spelt, read_as, untyped
from fsg.section import ByName, Section, WrittenAs, as_tuple
from fsg.yaml_source import Location, YamlSource, parse_value, read_yaml, refusal


# Evaluation -----------------------------------------------------------------------------------------------------------
class EvaluateConfig(Section):
    """How a network is read: BatchNorm statistics re-estimated on training images or as they ran; averaged weights.

    Args:
        batchnorm: BatchNorm statistics at evaluation: re-estimated on training images with the binary weights, or as they ran
            in training.
        ema_weights: Decay per training step of the averaged latent weights, evaluated beside the plain ones; 0 leaves them
            out.
        curvature: Epochs from one look at the Hessian to the next (traces by layer, extreme eigenvalues), which costs a
            hundred backward passes or more; 0 for none.
    """

    batchnorm: Literal["reestimated", "running"] = "reestimated"
    ema_weights: Annotated[float, Field(ge=0, lt=1)] = 0.9
    curvature: Annotated[int, Field(ge=0, le=100_000)] = 0


def _optimizer(value: Any) -> Any:
    """The section that an optimizer's name calls for: a guest's, or the one that takes any other name."""
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        return value
    name = value.get("name")
    guest = find_part("optimizer", name).config if isinstance(name, str) and has_part("optimizer", name) else None
    return (guest or OptimizerConfig).model_validate(value)


class TrialConfig(Section):
    """Everything that decides the outcome of one trial, in the format of the study that it belongs to.

    Args:
        model: The network.
        quantizer: What makes weights binary, or of k bits.
        gradient: The gradient estimator: what stands in for the derivative of the quantizer's step.
        optimizer: The base optimizer, of latent weights.
        schedule: The learning rate over training.
        data: The images, their split, and how they are read.
        evaluate: How a network is evaluated.
        epochs: Passes over the training images.
        seed: Of initial weights, order of images and augmentation. Studies give it by ``seeds`` or ``seed``.
        dtype: Of weights and activations.
        autocast: ``bfloat16``: the forward pass in mixed precision.
        deterministic: Only operations that give the same bits in each run; some are slower.
        checkpoint_every_steps: Also save a checkpoint every so many steps within an epoch; 0: at the end of each epoch alone.
        cuda_graph: Replay a recorded step on the GPU, which saves the launching of kernels.
        fused: Trained by the program of many trials side by side, which rounds otherwise; ``--fuse`` sets it.
        device: Where it trains: ``auto`` is the GPU where there is one. Decides no result beyond rounding.
        plugins: Files that register parts, each with its digest; fsg fills this in.
    """

    # The annotations are of fsg's own parts; ``held_by`` adds those of guests.
    model: Annotated[ModelConfig, ByName] = ModelConfig()
    quantizer: Annotated[QuantizerConfig, ByName] = Dorefa()
    gradient: Annotated[GradientConfig, ByName] = Fsg()
    optimizer: Annotated[OptimizerConfig, BeforeValidator(_optimizer)] = OptimizerConfig()
    schedule: Annotated[ScheduleConfig, ByName] = ScheduleConfig()
    data: Annotated[DataConfig, ByName] = DataConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 15
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    dtype: Literal["float32", "float64"] = "float32"
    autocast: Literal["off", "bfloat16"] = "off"
    deterministic: bool = True
    checkpoint_every_steps: Annotated[int, Field(ge=0)] = 0
    cuda_graph: bool = False
    fused: bool = False  # trained by the program of many trials side by side, which rounds otherwise (fsg/train/fused)
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    plugins: Annotated[tuple[PluginRef, ...], BeforeValidator(as_tuple)] = ()
    _format: int = PrivateAttr(default=FORMAT)

    @model_validator(mode="before")
    @classmethod
    def _default_kinds(cls, data: Any) -> Any:
        """A section of several kinds that names none is of the default kind."""
        if not isinstance(data, Mapping):
            return data
        filled = {k: {"name": kind, **data[k]} for k, kind in DEFAULT_NAMES.items() if isinstance(data.get(k), Mapping)}
        return {**data, **filled}

    @model_validator(mode="after")
    def _fits_together(self) -> TrialConfig:
        if getattr(self.schedule, "warmup_epochs", 0) >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs is {self.schedule.warmup_epochs}, but training has {self.epochs} epochs; "
                "warm up for fewer."
            )
        if self.data.name == "image_folder" and self.data.root is None:
            raise ValueError("data.name is image_folder, so data.root must name the folder.")
        quantizer = part_of("quantizer", self.quantizer)
        bits, sign = (quantizer.fact(name, self.quantizer) for name in ("bits", "sign"))
        if part_of("gradient", self.gradient).fact("reads_sign") and bits is not None and not sign:
            raise ValueError(
                f"gradient {self.gradient.name} is a curve for the sign, which quantizer {quantizer.name} as it is set does not "
                f"take; allowed: {', '.join(_of_a_sign())}."
            )
        if getattr(self.gradient, "update", "mix") == "reference":
            if bits is None:
                raise ValueError("gradient.update is reference, but quantizer none has no gradient to generate.")
            if self.optimizer.name not in ("sgd", "adam"):
                raise ValueError(
                    f"gradient.update: reference knows the optimizers sgd and adam, not {self.optimizer.name}."
                )
            if self.optimizer.float is not None:
                raise ValueError("gradient.update: reference has one optimizer for all; leave optimizer.float out.")
        own = find_part("optimizer", self.optimizer.name) if has_part("optimizer", self.optimizer.name) else None
        if own is not None and (why := own.fact("unfit", self.optimizer, self)):
            raise ValueError(why)
        if self.optimizer.float is not None and bits is None:
            raise ValueError(
                f"optimizer.float is given beside the optimizer of latent weights, and quantizer {quantizer.name} leaves "
                "none; leave it out or use a quantizer."
            )
        return self

    @property
    def images(self) -> DataSection:
        """Its data section, with the number that splits its images: of the data alone, or with the trial's seed added."""
        if not getattr(self.data, "split_per_seed", False):  # a guest's section need not have it
            return self.data
        own = {"split_seed": (self.data.split_seed + self.seed) % 2**63, "split_per_seed": False}
        return self.data.model_copy(update=own)

    @property
    def format(self) -> int:
        """The format of its study, which decides what defaults and identity it has."""
        return self._format

    def in_format(self, format: int) -> TrialConfig:
        """The same trial as one of a study of that format: what was left out means what it meant there."""
        config = as_left_out(self, format)
        config._format = format
        return config

    def derive(
        self,
        over: Mapping[str, Any],
        source: YamlSource | None = None,
        prefix: Location = (),
        subject: str = "",
    ) -> TrialConfig:
        """The trial with ``over`` laid over it, in the same format; ConfigError as ``parse_trial``."""
        return parse_trial(merge(self.model_dump(), over), source, prefix, subject, self._format)

    def identity(self) -> dict[str, Any]:
        """What makes it this trial, on any machine: less what decides no result, and less later fields at their defaults.

        Of a folder of images and of pre-trained weights the name counts, not where they lie; of other data sets not even that
        does, nor whether they may be downloaded. In format 1 all this counts as it was written.
        """
        whole = self.model_dump() if self._format == FIRST else self.portable()
        data = part_of("data", self.data)
        whole["data"] |= data.fact("unused", self.data)
        if self._format > FIRST:
            whole["data"] |= {"download": False} | ({} if data.fact("by_folder") else {"root": None})
        if not self.cuda_graph:
            del whole["cuda_graph"]  # as in the first release, which had it absent where it is off
        del whole["plugins"]
        kept = sparse({key: value for key, value in whole.items() if key not in NO_RESULT}, TrialConfig)
        foreign = {ref.file: ref.sha256 for ref in self.plugins} | {each.name: each.digest for each in self._guests()}
        return kept | ({"plugins": foreign} if foreign else {})

    def _guests(self) -> list[Source]:
        """Whose parts it names, beside those of its plug-ins: installed packages, and the running program."""
        named = [(kind, getattr(self, kind).name) for kind in SECTIONS]
        sources = [find_part(kind, name).source for kind, name in named if has_part(kind, name)]
        return [each for each in sources if each is not None and each.how != "file"]

    def __reduce__(self) -> Any:
        """With the text of its plug-ins, which another process must execute before it can know what they registered."""
        foreign = self._guests()
        if not self.plugins and not foreign:
            return super().__reduce__()
        if session := next((each for each in foreign if each.how == "session"), None):
            raise ConfigError(
                f"a part that {session.name} registers is known to this program alone, and a trial of it is to run in another "
                "process; put it into a file and name that in plugins, or run the study with engine=LocalEngine()."
            )
        texts = [(ref.file, text_of(ref)) for ref in self.plugins]
        return _unpickled, (self.model_dump(), self._format, texts)

    def portable(self) -> dict[str, Any]:
        """The resolved tree as plain data, with the name alone of what lies somewhere on this machine."""
        whole = self.model_dump()
        for section, key in (("data", "root"), ("model", "pretrained")):
            if whole[section].get(key) is not None:
                whole[section][key] = Path(whole[section][key]).name
        return whole


def _of_a_sign() -> list[str]:
    """fsg's own quantizers that are offset + scale sign(x) at their defaults."""
    own = (part for name in names("quantizer") if (part := find_part("quantizer", name)).source is None)
    return [
        part.name for part in own if part.config and part.fact("sign", part.config.model_validate({"name": part.name}))
    ]


# The sections that name parts: a guest's is admitted to them, too, when it registers (fsg/parts.py).
SECTIONS = ("model", "quantizer", "gradient", "optimizer", "schedule", "data")
for _kind in SECTIONS:
    held_by(_kind, TrialConfig, _kind)


def _unpickled(data: dict[str, Any], format: int, texts: list[tuple[str, str]]) -> TrialConfig:
    load_installed()
    load_texts(texts)
    return TrialConfig.model_validate(data).in_format(format)


# What decides no result.
NO_RESULT = ("device", "checkpoint_every_steps")

# What may change between two epochs of a trial that goes on: it has no shape and is in no state, or is set anew from here.
CHANGEABLE = (
    "optimizer.lr",
    "optimizer.momentum",
    "optimizer.weight_decay",
    "optimizer.float.lr",
    "optimizer.float.momentum",
    "optimizer.float.weight_decay",
    "gradient.beta",
    "gradient.gain",
    "gradient.lr",
    "gradient.fast.lr",
    "gradient.slow.lr",
)


# From text to tree ----------------------------------------------------------------------------------------------------
def parse_trial(
    data: Mapping[str, Any],
    source: YamlSource | None = None,
    prefix: Location = (),
    subject: str = "",
    format: int = FORMAT,
) -> TrialConfig:
    """The typed trial in ``data``; ConfigError with file and line for anything it refuses.

    What ``data`` leaves out is as the format had it by default.
    """
    if PLUGINS in data:
        _activated(data[PLUGINS])
    try:
        full = data if format == FORMAT else completed(data, TrialConfig, format)
        return TrialConfig.model_validate(full).in_format(format)
    except ValidationError as error:
        raise refusal(error, TrialConfig, source, prefix, subject) from None


def _activated(refs: Any) -> None:
    """Of a record: let its names mean what they meant when it was written."""
    with suppress(ValidationError, TypeError):
        activate([PluginRef.model_validate(each) for each in refs])


def load_trial(
    path: str | Path | None, settings: Iterable[str] = (), plugins: Iterable[str | Path] = ()
) -> TrialConfig:
    """A trial from a YAML file (None: all defaults), with ``a.b=value`` settings laid over it.

    ``plugins``: files that register parts, beside those that the file names under ``plugins``, relative to itself.
    """
    settings = list(settings)
    nowhere = YamlSource(Path(), {}, {(): " ".join(f"--set {setting}" for setting in settings)})
    source = read_yaml(path) if path is not None else nowhere
    refs = with_plugins(source, plugins)
    data = {key: value for key, value in source.typed(TrialConfig).items() if key != PLUGINS}
    data, source = overlaid(data | ({PLUGINS: refs} if refs else {}), source, settings)
    config = parse_trial(data, source)
    if problem := unfit(config.optimizer.name):
        raise source.error(("optimizer", "name"), problem)
    if config.optimizer.float is not None and (problem := unfit(config.optimizer.float.name, "optimizer.float")):
        raise source.error(("optimizer", "float", "name"), problem)
    return config


PLUGINS = "plugins"


def with_plugins(source: YamlSource, more: Iterable[str | Path] = ()) -> list[dict[str, str]]:
    """Load the plug-ins that a file names under ``plugins``, relative to itself, and ``more``; as a trial knows them.

    Installed packages too. ConfigError with file and line.
    """
    load_installed()
    refs: dict[str, PluginRef] = {}
    named = source.data.get(PLUGINS) or []
    if isinstance(named, str):
        named = [named]
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise source.error((PLUGINS,), f'"{PLUGINS}" is {named!r}, expected paths of Python files, as in [my_nets.py].')
    for index, each in enumerate(named):
        try:
            ref = load_plugin(source.path.parent / user_path(each))
        except ConfigError as error:
            raise ConfigError(f"{error}\n  It is named at {source.where((PLUGINS, index))}.") from None
        if ref.file in refs:
            raise source.error((PLUGINS, index), f'two plug-ins are named "{ref.file}"; rename one.')
        refs[ref.file] = ref
    for path in more:
        ref = load_plugin(path)
        if refs.setdefault(ref.file, ref) != ref:
            raise ConfigError(f'--plugin {path}: the study names another plug-in "{ref.file}"; rename one.')
    return [ref.model_dump() for ref in refs.values()]


def overlaid(
    data: Mapping[str, Any], source: YamlSource, settings: Iterable[str], prefix: Location = ()
) -> tuple[dict[str, Any], YamlSource]:
    """A trial's ``data`` with settings laid over it, and its source, where what they set now stands at ``--set a.b=v``.

    ``prefix`` is where in ``source`` the data stands.
    """
    found, lines = dict(data), dict(source.lines)
    for setting in settings:
        path, value = parse_setting(setting)
        found = merge(found, nested(path, value))
        parts = path.split(".")
        for length in range(1, len(parts)):
            lines.setdefault((*prefix, *parts[:length]), f"--set {setting}")
        lines[(*prefix, *parts)] = f"--set {setting}"
    return found, replace(source, lines=lines)


def parse_setting(text: str) -> tuple[str, Any]:
    """Path and value of ``a.b=value``; the value is read as the field at ``a.b`` takes it."""
    path, equals, value = text.partition("=")
    path = path.strip()
    if not equals or not all(part.strip() for part in path.split(".")):
        raise ConfigError(f'--set {text!r}: expected key.path=value, as in "gradient.lre=false".')
    return path, read_at(path, parse_value(value.strip()))


def read_at(path: str, tree: Any) -> Any:
    """The plain data of ``tree``, each of its scalars as the field of a trial at the dotted ``path`` takes it."""
    if isinstance(tree, list | tuple):
        return [read_at(path, item) for item in tree]
    found = read_as(nested(path, tree), TrialConfig)
    for part in path.split("."):
        found = found[part]
    return found


def _by_path(tree: Any) -> Any:
    return {path: read_at(path, value) for path, value in tree.items()} if isinstance(tree, Mapping) else untyped(tree)


Overrides = Annotated[  # a part of a trial
    dict[str, Any], Spelt(lambda tree: read_as(tree, TrialConfig)), WrittenAs(lambda: TrialConfig)
]
ByPath = Annotated[dict[str, Any], Spelt(_by_path)]  # values by the dotted path of the field that takes them


def nested(path: str, value: Any) -> dict[str, Any]:
    """``{a: {b: value}}`` for the path ``a.b``."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, key by key.

    A section that changes its ``name`` starts afresh: options of one kind are not another's. A section of a trial that
    names no kind is of its default kind.
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, str):
            old = {"name": old}
        if isinstance(value, str) and isinstance(old, Mapping) and ("name" in old or key in DEFAULT_NAMES):
            value = {"name": value}
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            name = old.get("name", DEFAULT_NAMES.get(key))
            value = merge(old, value) if value.get("name", name) == name else value
        merged[key] = value
    return merged


DEFAULT_NAMES: dict[str, str] = {
    key: field.default.name for key, field in TrialConfig.model_fields.items() if hasattr(field.default, "name")
}


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal data, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any, length: int = 12) -> str:
    """The first ``length`` hexadecimal digits of the SHA-256 of ``canonical_json(value)``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]
