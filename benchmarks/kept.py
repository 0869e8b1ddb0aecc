"""Studies whose tables stand in README and docs/log.md, kept small enough to be made again from what was measured.

    python -m benchmarks.kept                        the names of those that are kept
    python -m benchmarks.kept real_images            its table, as markdown, from results/real_images.tar.xz
    python -m benchmarks.kept --keep studies/NAME    keep a finished study there

Kept are specification, plug-ins and ledger, less the lines that no table reads: diagnostics by layer, checkpoints and memory.
Unpacked it is a study that ``fsg compare`` reads. Proof: ``tests/benchmarks/test_kept.py``.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.record import RESULTS
from fsg.record.folder import StudyFolder
from fsg.report.study_report import make_report

LEFT_OUT = {"layers", "checkpoint", "memory"}


def keep(folder: Path, out: Path) -> None:
    """Write what the tables of the study in ``folder`` are made of as the .tar.xz ``out``."""
    with tarfile.open(out, "w:xz", preset=9) as tar:
        for path in [
            *(folder / name for name in ("spec.yaml", "header.json", "ledger.jsonl")),
            *folder.glob("plugins/*"),
        ]:
            content = path.read_bytes()
            if path.suffix == ".jsonl":
                lines = content.splitlines(keepends=True)
                content = b"".join(line for line in lines if json.loads(line)["event"] not in LEFT_OUT)
            entry = tarfile.TarInfo(f"{folder.name}/{path.relative_to(folder)}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


@contextmanager
def opened(archive: Path) -> Iterator[StudyFolder]:
    """A kept study, unpacked meanwhile."""
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(archive) as tar:
            tar.extractall(place, filter="data")
        (study,) = Path(place).iterdir()
        yield StudyFolder(study)


def markdown(archive: Path) -> str:
    """The report of a kept study, made anew."""
    with opened(archive) as folder:
        return make_report(folder.spec(), folder.state()).markdown


def kept() -> dict[str, Path]:
    """Name -> archive."""
    return {path.name.removesuffix(".tar.xz"): path for path in sorted(RESULTS.glob("*.tar.xz"))}


def main() -> None:
    """Print a table, or keep a study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="?", choices=list(kept()), help="whose table to print")
    parser.add_argument("--keep", type=Path, metavar="STUDY", help="the folder of a finished study")
    asked = parser.parse_args()
    if asked.keep:
        keep(asked.keep, out := RESULTS / f"{asked.keep.name}.tar.xz")
        print(f"{out}: {out.stat().st_size / 1000:.0f} kB")
    elif asked.name:
        print(markdown(kept()[asked.name]))
    else:
        print(*kept(), sep="\n")


if __name__ == "__main__":
    main()
