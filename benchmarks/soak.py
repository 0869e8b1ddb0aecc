"""Does anything grow? One driver through 500 short trials while its workers are killed, watched every half second.

Run: ``python -m benchmarks.soak`` (four minutes on two idle cores; ``--trials 60`` for a look). A random search of so many
trials, each a third of a second of training, as ``fsg sweep`` runs it; a worker is killed every 10 to 20 seconds.

Measured: how the driver's own memory and open files, and the memory of workers that are warm, change over the second half,
with the 95 % interval of the slope; and what is left behind when the driver has ended: processes, and files in the folder for
temporary ones. Exits with 1 if anything is left, or grows by more than 1 (MiB, file) per 100 trials beyond its interval.
Written to ``benchmarks/results/soak.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import psutil
import yaml

from benchmarks.growth import ended_trials, slope
from benchmarks.record import table, write
from fsg.bench.faults.torment import COMMAND, processes
from fsg.record.folder import StudyFolder

LOOK_SECONDS = 0.5
WARM_SECONDS = 15.0  # a younger worker still imports torch and loads its data
EVERY = (10.0, 20.0)  # seconds between two kills; a new worker needs five until it trains
MARK = "FSG_SOAK"  # in the environment of everything that the driver starts
MIB = 2**20
GROWTH = 1.0  # MiB, or files, for every 100 trials: less is called flat
OTHERS = ("ray", f"torchinductor_{getpass.getuser()}")  # folders of Ray and of torch, one for all studies


@dataclass
class Look:
    """At one moment: trials ended, the driver's unshared MiB and open files, warm workers' mean MiB (None: there is none)."""

    ended: int
    driver: float
    files: int
    workers: float | None


def study(trials: int) -> dict[str, object]:
    """So many trials, none like another."""
    return {
        "name": "soak",
        "base": {"gradient": "ste", "epochs": 2, "device": "cpu", "data": {"name": "digits", "batch_size": 256}},
        "metric": {"name": "val_accuracy", "mode": "max"},
        "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}},
        "search": {"sampler": "random", "trials": trials, "seed": 0},
    }


def soak(place: Path, trials: int, dice: random.Random) -> tuple[list[Look], int, float, int]:
    """The study in the empty folder ``place``: what was seen, kills, seconds it took, and the driver's exit code."""
    (place / "soak.yaml").write_text(yaml.safe_dump(study(trials)))
    (place / "tmp").mkdir()
    environment = os.environ | {
        "OMP_NUM_THREADS": "1", "RAY_memory_monitor_refresh_ms": "0", "TMPDIR": str(place / "tmp"), MARK: str(place),
    }  # fmt: skip
    where = ["--storage", str(place / "studies"), "--tracking-uri", f"sqlite:///{place}/mlflow.db", "--quiet"]
    began, kills, looks = time.monotonic(), 0, []
    ended = ended_trials(StudyFolder(place / "studies" / "soak").ledger_path)
    with (place / "driver.log").open("wb") as log:
        driver = subprocess.Popen(
            [*COMMAND, "sweep", str(place / "soak.yaml"), *where], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=environment,
        )  # fmt: skip
        due = began + 20
        while driver.poll() is None:
            workers = processes(driver.pid)["worker"]
            with contextlib.suppress(psutil.Error):
                looks.append(_look(psutil.Process(driver.pid), workers, next(ended)))
            if time.monotonic() >= due and workers:
                due = time.monotonic() + dice.uniform(*EVERY)
                with contextlib.suppress(psutil.Error):
                    dice.choice(workers).kill()
                    kills += 1
            time.sleep(LOOK_SECONDS)
    return looks, kills, time.monotonic() - began, driver.returncode


def _look(driver: psutil.Process, workers: list[psutil.Process], ended: int) -> Look:
    warm = []
    for worker in workers:
        with contextlib.suppress(psutil.Error):
            if time.time() - worker.create_time() > WARM_SECONDS:
                warm.append(worker.memory_full_info().uss / MIB)
    return Look(ended, driver.memory_full_info().uss / MIB, driver.num_fds(), fmean(warm) if warm else None)


def left_behind(place: Path) -> tuple[list[str], list[str]]:
    """Processes that the driver or its children started and that still run, and files that nobody removed. Ray's
    own folder of logs is Ray's, torch's cache is torch's."""
    running = []
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(place) and process.status() != psutil.STATUS_ZOMBIE:
                running.append(f"{process.pid} {' '.join(process.cmdline())[:80]}")
    files = [path.name for path in (place / "tmp").iterdir() if path.name not in OTHERS]
    shared = [
        path.name for path in Path("/dev/shm").glob("*") if path.stat().st_mtime > (place / "soak.yaml").stat().st_mtime
    ]
    return running, files + shared


def main() -> int:
    """Watch, print, write."""
    parser = argparse.ArgumentParser(description="500 short trials, killed workers, and what grows.")
    parser.add_argument("--trials", type=int, default=500, help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fsg-soak-") as folder:
        place = Path(folder)
        looks, kills, seconds, code = soak(place, arguments.trials, random.Random(0))
        time.sleep(5)  # for Ray's processes, which end when their driver has
        left, files = left_behind(place)
        events = StudyFolder(place / "studies" / "soak").ledger().read()
        if code:
            print((place / "driver.log").read_text()[-2000:], file=sys.stderr)
    running = [look for look in looks if look.ended < arguments.trials]  # afterwards the report is drawn
    half = [look for look in running if look.ended >= arguments.trials / 2]
    measured = {
        "driver, MiB": slope([(look.ended, look.driver) for look in half]),
        "driver, open files": slope([(look.ended, look.files) for look in half]),
        "warm workers, MiB": slope([(look.ended, look.workers) for look in half if look.workers is not None]),
    }
    rows = [[name, f"{value:+.2f} ± {width:.2f}"] for name, (value, width) in measured.items()]
    print(table(["per 100 trials, second half", "slope"], rows))
    grows = [name for name, (value, width) in measured.items() if value - width > GROWTH]
    finished = sum(event["event"] == "finished" for event in events)
    again = sum(event["event"] == "retried" for event in events)
    print(
        f"{finished} trials finished, {kills} workers killed, {again} trials run again, {seconds / 60:.1f} min; left behind:"
    )
    print(f"processes: {left or 'none'}; files: {files or 'none'}; grows: {', '.join(grows) or 'nothing'}")
    body = {
        "exit_code": code, "finished": finished, "kills": kills, "retried": again, "seconds": round(seconds, 1),
        "slopes_per_100_trials": {name: {"slope": s, "half_width_95": w} for name, (s, w) in measured.items()},
        "driver_mib_by_trials": {look.ended: round(look.driver, 1) for look in running[::10]},
        "driver_open_files": [half[0].files, half[-1].files],
        "processes_left": left, "files_left": files,
    }  # fmt: skip
    write("soak", {"trials": arguments.trials, "every": EVERY}, body, ("ray", "optuna", "mlflow"))
    return int(bool(code or left or files or grows))


if __name__ == "__main__":
    sys.exit(main())
