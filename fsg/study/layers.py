"""Layers that a study names, and the network has not: found before anything starts.

Their names are known by building the network, which needs torch and takes milliseconds; a study that names none builds none.
Proof: ``tests/train/test_bits.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fsg.config import TrialConfig
from fsg.errors import ConfigError
from fsg.study.optimizers import searched
from fsg.yaml_source import Location, places

if TYPE_CHECKING:
    from fsg.study.spec import AblationSpec, SweepSpec

_BELOW = "quantizer.layers."


def check_layers(spec: AblationSpec | SweepSpec) -> None:
    """ConfigError, with file and line, where bits are given to a layer that a trial's network does not have."""
    for config, space in searched(spec):
        named: dict[str, int] = dict(getattr(config.quantizer, "layers", {}))
        if space is not None:
            named |= {path.removeprefix(_BELOW): 1 for path in space.paths if path.startswith(_BELOW)}
        if named:
            _check(spec, config, named)


def _check(spec: AblationSpec | SweepSpec, config: TrialConfig, named: Mapping[str, int]) -> None:
    from fsg.train.bits import check_names, layer_names

    names = layer_names(config)
    for name, bits in named.items():
        try:
            check_names({name: bits}, names)
        except ConfigError as error:
            raise spec.refuse(_place_of(spec.source.data if spec.source else {}, name), str(error)) from None


def _place_of(tree: Any, name: str) -> Location:
    """Where the file gives this layer its bits; the nearest place above where it is written in pieces."""
    dotted = ((place, ".".join(map(str, place))) for place, _ in places(tree))
    return next((place for place, path in dotted if "layers" in path.split(".") and path.endswith(f".{name}")), ())
