"""A worker process of Ray, which is to end with its raylet, and to hand its trial back before that where it is told.

Proof: ``tests/faults/test_ray_killed.py``, ``tests/clusters/hosts/test_draining.py``.
"""

from __future__ import annotations

import os
import signal
import threading
import time

import ray

from fsg.execution.process import Leaving

LOOK_SECONDS = 1.0
ASK_SECONDS = 5.0  # between two questions to the GCS


def follow_raylet(leaving: Leaving) -> None:
    """Let a worker of Ray leave when its raylet is gone, and say so beforehand where its node is being drained.

    Ray means that to be so, but asks only whether process 1 has become the parent. Below a subreaper, as systemd's user
    sessions and many containers have one, a worker stayed for a minute: on a GPU's memory, and writing checkpoints.

    A node that `ray start --block` was told to leave by SIGTERM, as Kubernetes tells a pod, is drained for
    RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S (30 by default) and then killed; its workers hear nothing of it from Ray 2.60.
    """
    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return
    raylet, node = os.getppid(), ray.get_runtime_context().get_node_id()

    def follow() -> None:
        asked = time.monotonic()
        while os.getppid() == raylet:
            time.sleep(LOOK_SECONDS)
            if not leaving() and time.monotonic() - asked > ASK_SECONDS:
                asked = time.monotonic()
                if is_drained(node):
                    os.kill(os.getpid(), signal.SIGTERM)  # as from a machine that is about to go
        leaving.leave()

    threading.Thread(target=follow, name="follow_raylet", daemon=True).start()


def is_drained(node: str) -> bool:
    """Whether a node of this cluster, by its id, is to go; False where the GCS does not answer."""
    from ray._private.state import state

    try:
        return node in state.get_draining_nodes()
    except Exception:  # of Ray's a dozen kinds
        return False
