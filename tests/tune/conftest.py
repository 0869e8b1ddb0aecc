"""Studies that train for a second, run through one real Ray."""

import os
import threading
import time
from contextlib import contextmanager

import pytest
from tiny_studies import ABLATION, Study

from fsg.study.design import plan


@pytest.fixture
def study(tmp_path, shared_ray):
    """Makes a Study from its specification as plain data."""
    return lambda data: Study(tmp_path, data)


@pytest.fixture(scope="session")
def twin(tmp_path_factory, shared_ray):
    """The small ablation, never interrupted: (study, whether the run said that it is complete)."""
    made = Study(tmp_path_factory.mktemp("twin"), ABLATION)
    with together(made, [trial.key for trial in plan(made.spec)[:2]]):
        return made, made.run()


@contextmanager
def together(study, keys):
    """Hold these trials' workers until all of them are there, however long each takes to start.

    In place of its last checkpoint each finds a pipe, and waits for someone to write it. All are closed, empty, at once: a
    checkpoint that is damaged is set aside, and the trial begins.
    """
    pipes = [study.folder.checkpoints / key / "last.pt" for key in keys]
    for pipe in pipes:
        pipe.parent.mkdir()
        os.mkfifo(pipe)
    over = threading.Event()

    def hold():
        held = []
        for pipe in pipes:
            while not over.is_set():
                try:
                    held.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
                    break
                except OSError:  # nobody waits for it yet
                    time.sleep(0.01)
        for descriptor in held:
            os.close(descriptor)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        yield
    finally:
        over.set()
        holder.join()
        for pipe in pipes:
            pipe.with_name("last.pt.damaged-1").unlink(missing_ok=True)
