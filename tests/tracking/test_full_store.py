"""MLflow's database on a disk that is full: one reason, no traceback, and the copy catches up once there is space."""

import shutil
import time

from small_disks import fill, small_disk

from fsg.record.ledger import Ledger
from fsg.tracking import FollowingExporter

HEADER = {"study_id": "i", "name": "s", "kind": "ablation", "spec_digest": "d", "versions": {}, "git_commit": None}


def test_a_full_disk_is_named_in_one_line_and_the_copy_catches_up(empty_store, tmp_path, capfd):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, empty_store.stat().st_size + 2**20):
        shutil.copy(empty_store, disk / "mlflow.db")
        filler = fill(disk)
        with FollowingExporter(ledger.path, f"sqlite:///{disk / 'mlflow.db'}", interval=0.1) as follower:
            ledger.append("study", **HEADER)
            deadline = time.monotonic() + 60
            while "away" not in follower.status:
                assert time.monotonic() < deadline, follower.status
                time.sleep(0.05)
            assert follower.status.endswith("(SQLite: database or disk is full)")
            filler.unlink()
            assert follower.close() is None
    assert capfd.readouterr().err == ""
