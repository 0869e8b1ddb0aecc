"""One trial, completely: a typed tree that YAML, ``--set`` and a searcher fill in; it hashes to the trial's identity.

Every section with kinds (model, quantizer, gradient, ...) is chosen by ``name``; a bare string is short for
``{name: ...}``. Frozen, no unknown keys. Importing this costs pydantic and nothing heavier: a study is checked without
torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from fsg.errors import ConfigError
from fsg.formats import FIRST, FORMAT
from fsg.identity import completed, sparse
from fsg.scalars import Spelt, read_as, untyped
from fsg.yaml_source import Location, YamlSource, parse_value, read_yaml, refusal

Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=100)]
Width = Annotated[int, Field(ge=1, le=4096)]


class Section(BaseModel):
    """A part of the tree: immutable, and no key it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


ByName = BeforeValidator(_by_name)


# Model ----------------------------------------------------------------------------------------------------------------
class ModelConfig(Section):
    """The network. ``activations: sign`` binarises them too (straight-through, clipped to |x| <= 1).

    ``pretrained`` is a checkpoint of float weights, or of a trial of ours, with this network's key names.
    """

    name: Literal["digits_cnn", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"] = "digits_cnn"
    activations: Literal["float", "sign"] = "float"
    pretrained: str | None = None


# Quantizer ------------------------------------------------------------------------------------------------------------
class Dorefa(Section):
    """W~ = tanh W / (2 max|tanh W|) + 1/2, rounded to k bits."""

    name: Literal["dorefa"] = "dorefa"
    bits: Annotated[int, Field(ge=1, le=8)] = 1


class Bwn(Section):
    """alpha sign(W), with alpha = mean|W| of the layer (``bwn``) or of each output channel (``bwn_channel``).

    ``bwn_reference`` has no alpha and sign(0) = 0, as the reference code.
    """

    name: Literal["bwn", "bwn_channel", "bwn_reference"] = "bwn"


class FloatWeights(Section):
    """No quantiser: float weights, for pre-training."""

    name: Literal["none"] = "none"


QuantizerConfig = Annotated[Dorefa | Bwn | FloatWeights, Field(discriminator="name"), ByName]


# Gradient estimator ---------------------------------------------------------------------------------------------------
Gain = Literal["bounded", "locked", "free"]


Update = Literal["mix", "reference"]
MetaSchedule = Literal["base", "constant", "step", "cosine", "linear"]


class FastNetConfig(Section):
    """F, the MLP of one weight: ``hidden`` units, and the rate of its Adam."""

    hidden: Width = 16
    lr: Rate = 1e-3


class SlowNetConfig(Section):
    """S over the history: its sizes, and the rate of its Adam. An LSTM has ``d_inner`` units; a FIR filter has no sizes.

    ``backend`` computes Mamba's scan; it changes no result beyond rounding.
    """

    d_inner: Width = 8
    d_state: Annotated[int, Field(ge=1, le=256)] = 4
    d_conv: Annotated[int, Field(ge=1, le=64)] = 4
    lr: Rate = 1e-3
    backend: Literal["auto", "reference", "cpu", "triton", "mamba_ssm"] = "auto"


class Ste(Section):
    """The straight-through estimator: d = c g. Nothing learnt."""

    name: Literal["ste"] = "ste"


class Ema(Section):
    """Sham control: a moving average of g, nothing learnt. What momentum alone gives."""

    name: Literal["ema"] = "ema"
    beta: Share = 0.5


class Scalar(Section):
    """Sham control: one learnt positive factor per layer. What a learnt step size alone gives."""

    name: Literal["scalar"] = "scalar"
    lr: Rate = 1e-3
    gain: Gain = "bounded"


class MetaQuant(Section):
    """MetaQuant's estimators: ``multi_fc`` m = g F(W~), ``fc_grad`` m = FC(g), ``lstm_fc`` m = g FC(LSTM(W~)).

    ``update: reference`` steps as the reference code does (docs/method.md).
    """

    name: Literal["multi_fc", "fc_grad", "lstm_fc"] = "multi_fc"
    fast: FastNetConfig = FastNetConfig()
    gain: Gain = "bounded"
    update: Update = "mix"
    meta_schedule: MetaSchedule = "base"


class Gate(Section):
    """A learned gate on each weight's step; its sham, with the gates permuted within a layer; its untrained rival."""

    name: Literal["gate", "gate_permuted"] = "gate"
    length: Annotated[int, Field(ge=2, le=1024)] = 5
    hidden: Width = 16
    lr: Rate = 1e-3
    meta_schedule: MetaSchedule = "base"


class HandGate(Section):
    """An untrained gate: k ~ exp(-3 |W| / RMS W) where step and gradient agree, mean 1 in every layer."""

    name: Literal["hand_gate"] = "hand_gate"


class Fsg(Section):
    """Fast and slow generation: m = beta slow + (1 - beta) fast, and its three switches.

    ``layout``: each weight its own short sequence, or a layer one long one. ``normalization``: gradients divided by the
    layer's RMS before the slow-net, or raw. ``init: ste`` starts where m = g. ``update: reference`` is for parity with
    the reference code alone.
    """

    name: Literal["fsg"] = "fsg"
    hgs: bool = True
    fsg: bool = True
    lre: bool = True
    beta: Share = 0.5
    length: Annotated[int, Field(ge=1, le=1024)] = 5
    fast: FastNetConfig = FastNetConfig()
    slow: SlowNetConfig = SlowNetConfig()
    slow_net: Literal["mamba", "lstm", "fir"] = "mamba"
    lre_size: Annotated[int, Field(ge=1, le=64)] = 1
    layout: Literal["per_weight", "flattened"] = "per_weight"
    normalization: Literal["rms", "none"] = "rms"
    init: Literal["ste", "random"] = "ste"
    gain: Gain = "bounded"
    update: Update = "mix"
    meta_schedule: MetaSchedule = "base"

    @model_validator(mode="after")
    def _fits_together(self) -> Fsg:
        if self.layout == "flattened" and self.slow_net == "fir":
            raise ValueError(
                "slow_net fir filters each weight's own history; use layout: per_weight, or slow_net: mamba."
            )
        if self.update == "reference":
            wanted: dict[str, Any] = {"layout": "flattened", "normalization": "none", "gain": "free", "init": "random"}
            wanted |= {"slow_net": "mamba", "hgs": True, "fsg": True, "lre": True, "lre_size": 1}
            wrong = [f"{key}: {json.dumps(value)}" for key, value in wanted.items() if getattr(self, key) != value]
            if wrong:
                raise ValueError(f"update: reference is the reference code as it is; it needs {', '.join(wrong)}.")
        return self

    @property
    def history_length(self) -> int:
        """L as the switch leaves it: without Historical Gradient Storage only the newest gradient is seen."""
        return self.length if self.hgs else 1


GradientConfig = Annotated[Ste | Ema | Scalar | MetaQuant | Fsg | Gate | HandGate, Field(discriminator="name"), ByName]


# Optimizer and schedule -----------------------------------------------------------------------------------------------
class OptimizerConfig(Section):
    """The base optimizer, of latent weights, biases and BatchNorm alike.

    Beside sgd, adam and adamw: any optimizer of the ``pytorch-optimizer`` package by its name there (the extra
    ``optimizers``).
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")] = "adam"
    lr: Rate = 1e-2
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _momentum_is_for_sgd(self) -> OptimizerConfig:
        if self.momentum and self.name != "sgd":
            raise ValueError(f"momentum is {self.momentum}, but {self.name} takes none here; leave it out or use sgd.")
        return self


class ScheduleConfig(Section):
    """The learning rate over training, as a factor of ``optimizer.lr``; the meta-optimizers follow the same factor."""

    name: Literal["constant", "step", "cosine", "linear"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    step_epochs: Annotated[int, Field(ge=1)] = 30
    step_factor: Annotated[float, Field(gt=0, le=1)] = 0.1


# Data -----------------------------------------------------------------------------------------------------------------
class DataConfig(Section):
    """Images and their split. ``split_seed`` is apart from the trial's seed: every seed is tested on the same."""

    name: Literal["digits", "cifar10", "cifar100", "image_folder", "synthetic"] = "digits"
    root: str | None = None
    download: bool = False
    image_size: Annotated[int, Field(ge=4, le=512)] = 32
    batch_size: Annotated[int, Field(ge=2, le=65536)] = 64
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    split_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    augment: bool = True


# Evaluation -----------------------------------------------------------------------------------------------------------
class EvaluateConfig(Section):
    """How a network is read: BatchNorm statistics re-estimated on training images or as they ran; averaged weights.

    ``ema_weights`` is the decay per training step of the averaged latent weights, evaluated beside the plain ones;
    0 leaves them out.
    """

    batchnorm: Literal["reestimated", "running"] = "reestimated"
    ema_weights: Annotated[float, Field(ge=0, lt=1)] = 0.9


class TrialConfig(Section):
    """Everything that decides the outcome of one trial, in the format of the study that it belongs to."""

    model: Annotated[ModelConfig, ByName] = ModelConfig()
    quantizer: QuantizerConfig = Dorefa()
    gradient: GradientConfig = Fsg()
    optimizer: Annotated[OptimizerConfig, ByName] = OptimizerConfig()
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
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    _format: int = PrivateAttr(default=FORMAT)

    @model_validator(mode="before")
    @classmethod
    def _default_kinds(cls, data: Any) -> Any:
        """A section of several kinds that names none is of the default kind."""
        if not isinstance(data, Mapping):
            return data
        kinds = {"quantizer": "dorefa", "gradient": "fsg"}
        filled = {k: {"name": kinds[k], **v} for k, v in data.items() if k in kinds and isinstance(v, Mapping)}
        return {**data, **filled}

    @model_validator(mode="after")
    def _fits_together(self) -> TrialConfig:
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs is {self.schedule.warmup_epochs}, but training has {self.epochs} epochs; "
                "warm up for fewer."
            )
        if self.data.name == "image_folder" and self.data.root is None:
            raise ValueError("data.name is image_folder, so data.root must name the folder.")
        if getattr(self.gradient, "update", "mix") == "reference":
            if isinstance(self.quantizer, FloatWeights):
                raise ValueError("gradient.update is reference, but quantizer none has no gradient to generate.")
            if self.optimizer.name not in ("sgd", "adam"):
                raise ValueError(
                    f"gradient.update: reference knows the optimizers sgd and adam, not {self.optimizer.name}."
                )
        return self

    @property
    def format(self) -> int:
        """The format of its study, which decides what defaults and identity it has."""
        return self._format

    def in_format(self, format: int) -> TrialConfig:
        """The same trial as one of a study of that format."""
        config = self.model_copy()
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
        if self._format > FIRST:
            whole["data"] |= {"download": False} | ({} if self.data.name == "image_folder" else {"root": None})
        if not self.cuda_graph:
            del whole["cuda_graph"]  # as in the first release, which had it absent where it is off
        return sparse({key: value for key, value in whole.items() if key not in NO_RESULT}, TrialConfig)

    def portable(self) -> dict[str, Any]:
        """The resolved tree as plain data, with the name alone of what lies somewhere on this machine."""
        whole = self.model_dump()
        for section, key in (("data", "root"), ("model", "pretrained")):
            if whole[section][key] is not None:
                whole[section][key] = Path(whole[section][key]).name
        return whole


# What decides no result.
NO_RESULT = ("device", "checkpoint_every_steps")

# What may change between two epochs of a trial that goes on: it has no shape and is in no state, or is set anew from here.
CHANGEABLE = (
    "optimizer.lr",
    "optimizer.momentum",
    "optimizer.weight_decay",
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
    try:
        full = data if format == FORMAT else completed(data, TrialConfig, format)
        return TrialConfig.model_validate(full).in_format(format)
    except ValidationError as error:
        raise refusal(error, TrialConfig, source, prefix, subject) from None


def load_trial(path: str | Path | None, settings: Iterable[str] = ()) -> TrialConfig:
    """A trial from a YAML file (None: all defaults), with ``a.b=value`` settings laid over it."""
    settings = list(settings)
    nowhere = YamlSource(Path(), {}, {(): " ".join(f"--set {setting}" for setting in settings)})
    source = read_yaml(path) if path is not None else nowhere
    return parse_trial(*overlaid(source.typed(TrialConfig), source, settings))


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


Overrides = Annotated[dict[str, Any], Spelt(lambda tree: read_as(tree, TrialConfig))]  # a part of a trial
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
