"""Records small whole studies as this version of fsg writes them: ``python tests/recorded_studies/record.py VERSION``.

Writes ``tests/recorded_studies/VERSION/``. Each recipe is run by the command line in an empty folder; of what it leaves, the
pictures, Ray's snapshots and the checkpoints of trials that ended are left out. Two minutes on two cores.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FSG = [sys.executable, "-m", "fsg.cli"]
LEFT_OUT = shutil.ignore_patterns("ray", "driver.json", "*.svg", "*.png", "*.html")
# One step in the epoch: what gates remember of 13 moves of every weight is 2.3 MB once it is filled, and zeros before.
SMALL_GATE = ["gradient.length=2", "gradient.hidden=1", "data.batch_size=512"]
ESTIMATORS: dict[str, list[str]] = {
    **{name: [] for name in ("ste", "ema", "scalar", "multi_fc", "fc_grad", "fsg", "hand_gate")},
    "lstm_fc": ["gradient.fast.hidden=2"],
    "gate": SMALL_GATE,
    "gate_permuted": SMALL_GATE,
}
EPOCHS_BEFORE_KILL = 3
PROPOSALS = 3


def main(version: str) -> None:
    """Record everything anew."""
    target = HERE / version
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="recording-") as name:
        place = Path(name)
        for recipe in sorted((HERE / "recipes").glob("*.yaml")):
            print(f"{recipe.stem} ...", flush=True)
            kill = recipe.stem == "cut_off"
            run_recipe(recipe, place, kill)
            folder = place / "studies" / recipe.stem
            (target / recipe.stem).parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, target / recipe.stem, ignore=LEFT_OUT)
            if not kill:
                for checkpoints in target.joinpath(recipe.stem).rglob("checkpoints"):
                    shutil.rmtree(checkpoints)
                    checkpoints.mkdir()
        with tarfile.open(target / "mlflow.tar.xz", "w:xz") as archive:
            archive.add(place / "mlflow.db", "mlflow.db")
            archive.add(place / "mlartifacts" / "factorial", "mlartifacts/factorial", filter=without_pictures)
        (target / "proposals.json").write_text(json.dumps(next_proposals(place / "studies" / "sweep"), indent=1) + "\n")
        checkpoints_of_estimators(place / "estimators")
        with tarfile.open(target / "estimators.tar.xz", "w:xz") as archive:
            archive.add(place / "estimators", "estimators")


def without_pictures(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """What of MLflow's artifacts is kept."""
    return None if member.name.endswith((".svg", ".png", ".html")) else member


def run_recipe(recipe: Path, place: Path, kill: bool) -> None:
    """The study of ``recipe`` in ``place``, to its end, or killed whole in the middle of an epoch."""
    kind = "sweep" if "space:" in recipe.read_text().replace("retune: {space:", "") else "ablate"
    store = f"sqlite:///{place}/mlflow.db" if recipe.stem == "factorial" else f"sqlite:///{place}/other.db"
    command = [*FSG, kind, str(recipe), "--quiet", "--allow-failed", "--tracking-uri", store]
    driver = subprocess.Popen(command, cwd=place, start_new_session=True)
    if kill:
        wait_for_the_middle_of_an_epoch(place / "studies" / recipe.stem, driver)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        time.sleep(10)  # its workers notice, and leave
    elif driver.wait() != 0:
        raise SystemExit(f"{recipe}: exit {driver.returncode}")


def wait_for_the_middle_of_an_epoch(folder: Path, driver: subprocess.Popen[bytes]) -> None:
    """Until both trials have some epochs and a checkpoint of the epoch under way is newer than the ledger's last line."""
    ledger = folder / "ledger.jsonl"
    while driver.poll() is None:
        begun = Counter(
            re.findall(r'"event":"checkpoint","key":"(\w+)"', ledger.read_text() if ledger.exists() else "")
        )
        if len(begun) == 2 and min(begun.values()) >= EPOCHS_BEFORE_KILL:
            with suppress(FileNotFoundError):  # replaced at this moment
                newest = [path.stat().st_mtime for path in folder.glob("checkpoints/*/last.pt")]
                if len(newest) == 2 and min(newest) > ledger.stat().st_mtime + 0.005:
                    return
        time.sleep(0.002)
    raise SystemExit(f"{folder}: came to no epoch that could be cut off.")


def next_proposals(folder: Path) -> list[dict[str, Any]]:
    """What the search would try next, asked of a copy of its journal."""
    from fsg.record.folder import StudyFolder
    from fsg.search.configurations import outcomes
    from fsg.search.searcher import _proposals

    copy = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(folder, copy)
    study = StudyFolder(copy)
    spec, state = study.spec(), study.state()
    proposals = _proposals(study, spec, len(state.trials), None)
    proposals.recall(outcomes(spec, state.trials))
    return [dict(proposals.ask()[1]) for _ in range(PROPOSALS)]


def checkpoints_of_estimators(target: Path) -> None:
    """A checkpoint of every estimator after its first epoch, and the metrics of the epoch that follows."""
    import torch

    from fsg.config import load_trial
    from fsg.train import Trainer
    from fsg.train.checkpoint import save_checkpoint

    torch.set_num_threads(1)
    settings = ["data=synthetic", "data.image_size=4", "optimizer=sgd", "optimizer.lr=0.05", "evaluate.ema_weights=0"]
    following = {}
    for name, options in ESTIMATORS.items():
        trainer = Trainer(load_trial(None, [*settings, "epochs=2", "device=cpu", f"gradient={name}", *options]))
        trainer.run_epoch()
        save_checkpoint(trainer.state_dict(), target / f"{name}.pt")
        metrics = trainer.run_epoch().metrics
        following[name] = {k: metrics[k] for k in ("train_loss", "val_loss", "val_accuracy", "test_accuracy")}
    (target / "following_epoch.json").write_text(json.dumps(following, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
