"""Which trials can be trained as one program, side by side: known from their configurations, without torch.

Two trials fit together if their programs have equal shapes: the same network, data, batch, precision and kind of optimizer.
Estimators, seeds, splits of the images, lengths, schedules, rates and other fractions may differ; trials of one estimator, with
the same sizes and switches, cost less together than those of several.
Proof: ``tests/test_fusing.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fsg.config import TrialConfig, digest
from fsg.parts import has_part, part_of

_SHAPES = ("model", "quantizer", "data", "evaluate", "dtype", "deterministic", "checkpoint_every_steps", "device")
LANES = 16  # numbers of a vector of the widest processors: a channel must not move between whole vectors and a rest


def why_alone(config: TrialConfig) -> str | None:
    """Why a trial cannot be trained beside others, as the end of a sentence; None where it can."""
    if config.cuda_graph:
        return "cuda_graph records a step of its own"
    if config.autocast != "off":
        return f"autocast is {config.autocast}"
    if config.evaluate.curvature:
        return "evaluate.curvature looks at the network of one trial"
    if config.optimizer.float is not None:
        return "optimizer.float is another optimizer than that of the latent weights"
    for kind in ("model", "quantizer", "gradient", "optimizer"):
        section = getattr(config, kind)
        if not has_part(kind, section.name) or not (part := part_of(kind, section)).fact("fusable", section):
            return f"{kind} {section.name} has no twin for many trials at once" + _as_configured(kind, section)
        if kind == "quantizer" and part.fact("bits", section) is None:
            return "weights stay float"
    return None


def settled(config: TrialConfig) -> TrialConfig:
    """The trial, fused only where it can be: a study says it for all of its trials."""
    return config.model_copy(update={"fused": False}) if config.fused and why_alone(config) else config


def _as_configured(kind: str, section: Any) -> str:
    return " as it is configured" if kind == "gradient" and section.name == "fsg" else ""


def shape_of(config: TrialConfig) -> str:
    """Equal for trials that fit together."""
    optimizer = config.optimizer
    used = {name: getattr(optimizer, name, 0) > 0 for name in ("momentum", "weight_decay")}
    whole = config.model_dump(mode="json", include={*_SHAPES, "optimizer"})
    whole |= {"optimizer": _without_fractions(whole["optimizer"]), "used": used}
    for name in ("split_seed", "split_per_seed"):  # which images are whose, not how many steps they make
        whole["data"].pop(name, None)
    return digest(whole)


def estimator_shape(config: TrialConfig) -> str:
    """Equal for trials whose estimators, too, are computed as one."""
    return digest(_without_fractions(config.gradient.model_dump(mode="json")))


def _without_fractions(part: Any) -> Any:
    """Fractions are rates, and may differ."""
    if isinstance(part, Mapping):
        return {name: _without_fractions(value) for name, value in part.items() if not isinstance(value, float)}
    return part
