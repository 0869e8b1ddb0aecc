"""``model_card.md``: what an exported network is, where it comes from, what was checked, what it costs.

Proof: ``tests/export/test_export_folder.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fsg.export.check import Agreement
from fsg.export.packing import Packed
from fsg.export.speed import BATCHES
from fsg.files import as_size

CARD = "model_card.md"


@dataclass(frozen=True)
class Origin:
    """Where a network comes from. Texts as a reader wants them, ``facts`` and ``metrics`` by their names."""

    title: str
    facts: Mapping[str, str]
    metrics: Mapping[str, float]
    test_accuracy: float | None = None  # as it was recorded, in percent


@dataclass(frozen=True)
class Measured:
    """What was measured of the exported files.

    ``sizes``: name -> bytes, the float network first. ``times``: name -> batch -> milliseconds. ``agreements``: file -> what it
    gives. ``packed``: weight -> its bits; ``floats``: quantised weights that were kept as float32.
    """

    sizes: Mapping[str, int]
    times: Mapping[str, Mapping[int, float]]
    machine: str
    agreements: Mapping[str, Agreement]
    packed: Mapping[str, Packed]
    floats: Iterable[str]


def size_lines(measured: Measured) -> list[str]:
    """A table of the sizes beside the float network's."""
    whole = next(iter(measured.sizes.values()))
    rows = [
        (name, as_size(size), "1" if size == whole else f"{size / whole:.3f}") for name, size in measured.sizes.items()
    ]
    return _table(("what", "size", "share"), rows)


def speed_lines(measured: Measured) -> list[str]:
    """A table of the times for a batch."""
    rows = [(name, *(f"{times[batch]:.3g}" for batch in BATCHES)) for name, times in measured.times.items()]
    return _table(("run by", *(f"ms for {batch} image{'s' * (batch > 1)}" for batch in BATCHES)), rows)


def card(origin: Origin, measured: Measured) -> str:
    """The whole card, in markdown."""
    checked = [(file, str(found)) for file, found in measured.agreements.items()]
    weights = [
        (name, "x".join(map(str, one.shape)), str(one.bits_per_weight), _tables_of(one))
        for name, one in measured.packed.items()
    ]
    parts = [
        f"# {origin.title}",
        *_section("Where it comes from", _table(("what", ""), origin.facts.items())),
        *_section(
            "Metrics", _table(("metric", "recorded"), ((k, f"{v:.6g}") for k, v in sorted(origin.metrics.items())))
        ),
        *_section(
            "What was checked",
            [
                "Every image of the test split, against the network in PyTorch at the end of its training:",
                "",
                *_table(("file", "gives"), checked),
            ],
        ),
        *_section("Size", ["Of the float network every weight has 32 bits.", "", *size_lines(measured)]),
        *_section("Speed", [f"{measured.machine}; medians, by turns.", "", *speed_lines(measured), "", _SPEED]),
        *_section(
            "Weights as bits", _table(("weight", "shape", "bits a weight", "tables"), weights) if weights else ["None."]
        ),
    ]
    if kept := list(measured.floats):
        parts += [f"Kept as float32, because bits and their tables would be no smaller: {', '.join(kept)}.", ""]
    return "\n".join([*parts, *_section("How to run it", [_USE]), *_section("Zero", [_ZERO])]).rstrip() + "\n"


_SPEED = (
    "All of them multiply in float32: neither PyTorch nor onnxruntime has a kernel for weights of one bit. "
    "What the bits save is size, not time."
)
_USE = """Input: `images`, uint8, (N, channels, height, width), as they are stored; normalisation is part of the network.
Output: `logits`, float32, (N, classes).

```python
import fsg  # network.safetensors
logits = fsg.load_exported("DIR")(images)

import onnxruntime  # network.onnx; needs neither fsg nor torch
logits = onnxruntime.InferenceSession("DIR/network.onnx").run(["logits"], {"images": images})[0]

import torch  # network.pt2; needs no fsg
logits = torch.export.load("DIR/network.pt2").module()(images)
```"""
_ZERO = (
    "A weight is stored as its code and the value of it, so what the sign of a zero became in training is what every file has. "
    "An activation's sign(0) is +1 in all three files, also of -0.0; `Sign` of ONNX and `torch.sign`, which give 0, are not used."
)


def _tables_of(one: Packed) -> str:
    return "one" if len(one.values) == 1 else f"one a channel, {len(one.values)}"


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", f"## {title}", "", *lines, ""]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    body = [f"| {' | '.join(' '.join(str(cell).replace('|', '/').split()) for cell in row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *body]
