"""A worker process of Ray, which is to end with its raylet. Proof: ``tests/faults/test_ray_killed.py``."""

from __future__ import annotations

import os
import threading
import time

import ray

from fsg.execution.process import Leaving


def follow_raylet(leaving: Leaving) -> None:
    """Let a worker of Ray leave when its raylet is gone; nothing elsewhere.

    Ray means that to be so, but asks only whether process 1 has become the parent. Below a subreaper, as systemd's user
    sessions and many containers have one, a worker stayed for a minute: on a GPU's memory, and writing checkpoints.
    """
    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return
    raylet = os.getppid()

    def follow() -> None:
        while os.getppid() == raylet:
            time.sleep(1)
        leaving.leave()

    threading.Thread(target=follow, name="follow_raylet", daemon=True).start()
