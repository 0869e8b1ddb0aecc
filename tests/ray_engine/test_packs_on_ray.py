"""Packs of trials on Ray: the same trials as LocalEngine's, and a worker that dies costs no trial."""

import os
import signal

import psutil
from tiny_studies import BASE, numbers

DATA = {
    "name": "packed",
    "base": BASE | {"epochs": 4, "fused": True},
    "seeds": [0, 1],
    "metric": {"name": "val_accuracy", "mode": "max"},
    "arms": {"slow": {"optimizer": {"lr": 0.003}}, "gate": {"gradient": "gate"}},
    "baselines": ["ste"],
}


def trials(study):
    records = study.folder.state().trials.values()
    return {(record.arm, record.seed): (record.status, list(map(numbers, record.epochs))) for record in records}


def test_packs_on_ray_train_as_packs_in_one_process_and_survive_a_killed_worker(study, tmp_path):
    on_ray = study(DATA)
    killed = []

    def kill_once(event):
        if event["event"] == "epoch" and not killed:
            workers = [p for p in psutil.process_iter(["cmdline"]) if "PackActor" in " ".join(p.info["cmdline"] or [])]
            killed.extend(p.pid for p in workers if p.ppid() in _of_this_ray())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    assert on_ray.run(listener=kill_once)
    assert killed
    statuses = {record.status for record in on_ray.folder.state().trials.values()}
    assert statuses == {"finished"}
    assert any(record.retries for record in on_ray.folder.state().trials.values())
    apart = type(on_ray)(_other(tmp_path), DATA)
    assert apart.run(fuse=1)
    assert trials(on_ray) == trials(apart)


def _of_this_ray():
    return {p.pid for p in psutil.Process().children(recursive=True)}


def _other(tmp_path):
    (tmp_path / "apart").mkdir()
    return tmp_path / "apart"
