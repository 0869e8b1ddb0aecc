"""Several studies in one table: their arms side by side, named ``study/arm``, all against the first study's ends.

Seeds pair where both arms ran them. What the studies do not share is said, and what no comparison bears is not subtracted:
arms that were tested on other images. Pure: specifications and folded ledgers in. Proof: ``tests/report/test_across.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fsg.errors import StudyError
from fsg.record.folder import differences
from fsg.record.ledger import StudyState, TrialRecord
from fsg.report.columns import comparison_grid
from fsg.report.comparison import Comparison, Measure, compare, provenance
from fsg.report.csv import comparison_csv, seeds_csv
from fsg.report.judgement import judgement_grid
from fsg.report.study_report import Block, StudyReport, device_of, enough_pairs
from fsg.study.seeds import SequentialSeeds
from fsg.study.spec import AblationSpec, SweepSpec

# What decides which images an arm is validated and tested on.
IMAGES = ("name", "root", "image_size", "validation_share", "split_seed", "split", "split_per_seed")


@dataclass(frozen=True)
class Source:
    """One of the studies: the name it is called by here, its specification and what its ledger adds up to."""

    name: str
    spec: AblationSpec | SweepSpec
    state: StudyState


def compare_studies(sources: Sequence[Source]) -> StudyReport:
    """One comparison of all arms of two or more ablations, against the first one's reference and baseline.

    StudyError where there is no comparison to be had: a sweep, two studies of one name, metrics that are not the same.
    """
    specs = _ablations(sources)
    first = specs[0]
    block = first.plan.blocks[0]
    name = " + ".join(source.name for source in sources)
    state = StudyState({"name": name}, {})
    for source in sources:
        for key, record in source.state.trials.items():
            state.trials[f"{source.name}/{key}"] = replace(record, arm=f"{source.name}/{record.arm}")
    reference = f"{sources[0].name}/{block.reference}"
    apart = _other_images(state, reference)
    margins = {spec.analysis.smallest_effect_of_interest for spec in specs}
    comparison = compare(
        state,
        metric=first.metric,
        reference=reference,
        baseline=None if block.baseline is None else f"{sources[0].name}/{block.baseline}",
        interval=first.analysis.interval or 0.95,
        smallest_effect=margins.pop() if len(margins) == 1 else None,
        apart=apart,
        planned=_planned(sources),
    )
    comparison = replace(comparison, provenance=_provenance(comparison, sources))
    table = comparison_grid(comparison)
    grids = [replace(table, notes=(*_unlike(sources, state, reference, apart), *table.notes))]
    ends = [end for end in (comparison.reference, comparison.baseline) if end and enough_pairs(comparison, end)]
    grids += [judgement_grid(comparison, end) for end in ends]
    texts = {"comparison.csv": comparison_csv(comparison), "seeds.csv": seeds_csv(comparison)}
    question = " ".join(f"{source.name}: {source.spec.question}" for source in sources if source.spec.question)
    return StudyReport(name, question, tuple(grids), texts, state, (Block("", comparison, None, tuple(grids)),))


def _ablations(sources: Sequence[Source]) -> list[AblationSpec]:
    """Their specifications; StudyError for studies that cannot stand in one table."""
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise StudyError(f"studies of one name cannot be told apart in a table: {', '.join(names)}.")
    specs = []
    for source in sources:
        if not isinstance(source.spec, AblationSpec):
            raise StudyError(f"{source.name}: a sweep has no arms to compare; give ablations, or this sweep alone.")
        specs.append(source.spec)
    metric = specs[0].metric
    for source, spec in zip(sources, specs, strict=True):
        if spec.metric != metric:
            raise StudyError(
                f"{source.name} is compared by {_measured(spec)}, {sources[0].name} by {_measured(specs[0])}: "
                "no table holds both."
            )
    return specs


def _planned(sources: Sequence[Source]) -> dict[str, list[int]]:
    """The seeds of each arm: those of its own study."""
    found: dict[str, list[int]] = {}
    for source in sources:
        records = list(source.state.trials.values())
        seeds = sorted({record.seed for record in records})
        found |= {f"{source.name}/{record.arm}": seeds for record in records}
    return found


def _measured(spec: AblationSpec) -> str:
    return f"{Measure(spec.metric.name, spec.metric.mode, spec.metric.unit).label} ({spec.metric.mode})"


def _other_images(state: StudyState, reference: str) -> frozenset[str]:
    """The arms whose images are not the reference's."""
    wanted = next((_images(r) for r in state.trials.values() if r.arm == reference), None)
    return frozenset(r.arm for r in state.trials.values() if wanted is not None and _images(r) != wanted)


def _images(record: TrialRecord) -> dict[str, Any]:
    data = {
        "split": "random",
        "split_per_seed": False,
        **(record.config.get("data") or {}),
    }  # before these could be set
    return {key: data.get(key) for key in IMAGES}


def _provenance(comparison: Comparison, sources: Sequence[Source]) -> Any:
    devices = list(dict.fromkeys(device_of(source.state) for source in sources))
    found = [_whence(source) for source in sources]
    versions = list(dict.fromkeys(where.version for where in found))
    return replace(comparison.provenance, device="; ".join(devices), version=", ".join(versions))


def _whence(source: Source) -> Any:
    records = [record for record in source.state.trials.values() if record.status == "finished"]
    return provenance(source.state, records, device_of(source.state))


def _unlike(sources: Sequence[Source], state: StudyState, reference: str, apart: frozenset[str]) -> Iterator[str]:
    """What the other studies do not share with the first: images, weights and batches, versions, machine, base."""
    first = sources[0]
    for source in sources[1:]:
        arms = {record.arm for record in state.trials.values() if record.arm.startswith(f"{source.name}/")}
        if arms & apart:
            which = "its arms" if arms <= apart else ", ".join(sorted(arms & apart))
            yield f"NOT COMPARABLE: {which} of {source.name} saw other images than {reference}; no difference is taken."
        if arms - apart:
            yield from _pairing(source, first)
        ours, theirs = _whence(first), _whence(source)
        for what, a, b in (("code", ours.version, theirs.version), ("machine", ours.device, theirs.device)):
            if a != b:
                yield f"Other {what}: {first.name} {a}, {source.name} {b}."
        a, b = (s.spec.base.model_dump(mode="json", exclude={"seed", "device"}) for s in (first, source))
        if unlike := differences(a, b):
            said = "; ".join(line.replace(": was ", " ").replace(", is ", " there, here ") for line in unlike[:8])
            more = f"; and {len(unlike) - 8} more" if len(unlike) > 8 else ""
            yield f"Other base in {source.name} than in {first.name}: {said}{more}."
    for source in sources:
        if isinstance(getattr(source.spec, "seeds", None), SequentialSeeds):
            yield f"{source.name} added seeds until its intervals were narrow: plain intervals of its arms are too narrow."


def _pairing(source: Source, first: Source) -> Iterator[str]:
    """Whether trials of one seed started alike in the two studies, by their hashes."""
    ours, theirs = ({r.seed: r.fingerprint for r in s.state.trials.values() if r.fingerprint} for s in (first, source))
    shared = sorted(ours.keys() & theirs.keys())
    unlike = [str(seed) for seed in shared if ours[seed] != theirs[seed]]
    if unlike:
        yield (
            f"{source.name} and {first.name} are paired by the number of the seed alone: the initial weights or first "
            f"batches of seed {', '.join(unlike)} differ. The intervals hold; they are as wide as unpaired ones."
        )
    elif not shared:
        yield f"{source.name} and {first.name} share no seed of which both have recorded the start."
