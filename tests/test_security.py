"""What a study's file, its folder or a store may hold that somebody else wrote: it runs no code and leaves no folder."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn

from fsg.errors import CheckpointCorrupt, ConfigError, StudyError
from fsg.formats import FORMAT
from fsg.record.folder import find_study
from fsg.study.spec import load_study
from fsg.train.checkpoint import CheckpointStore, load_checkpoint, save_checkpoint
from fsg.train.pretrained import load_pretrained

STUDY = """\
name: small
base: {gradient: ste, epochs: 2, data: {name: digits, batch_size: 256}}
seeds: [0, 1]
metric: {name: val_accuracy, mode: max}
arms: {slow: {optimizer: {lr: 0.003}}}
baselines: [ste]
"""


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def bomb(tmp_path):
    """(what explodes when it is unpickled, the folder it would make)."""
    return Bomb(tmp_path / "exploded"), tmp_path / "exploded"


# Files that could run code --------------------------------------------------------------------------------------------
def test_a_checkpoint_that_would_run_code_is_refused_though_its_digest_agrees(tmp_path, bomb):
    payload, exploded = bomb
    save_checkpoint({"epoch": 1, "model": payload}, tmp_path / "last.pt")
    with pytest.raises(CheckpointCorrupt, match=r"is no checkpoint of ours .*; it was not loaded"):
        load_checkpoint(tmp_path / "last.pt")
    assert CheckpointStore(tmp_path / "last.pt").load() is None
    assert list(tmp_path.glob("last.pt.damaged*")), "set aside, not deleted"
    assert not exploded.exists()


@pytest.mark.parametrize("content", [[1, 2], "text", torch.zeros(2)])
def test_a_checkpoint_of_something_else_is_refused(tmp_path, content):
    save_checkpoint(content, tmp_path / "last.pt")
    with pytest.raises(CheckpointCorrupt, match=r"expected a checkpoint's dictionary"):
        load_checkpoint(tmp_path / "last.pt")


@pytest.mark.parametrize("written", ["torch", "pickle", "with a digest"])
def test_pretrained_weights_that_would_run_code_are_refused(tmp_path, bomb, written):
    payload, exploded = bomb
    path = tmp_path / "weights.pt"
    if written == "torch":
        torch.save({"state_dict": payload}, path)
    elif written == "pickle":
        path.write_bytes(pickle.dumps(payload))
    else:
        save_checkpoint({"model": payload}, path)
    with pytest.raises(ConfigError, match=r"weights\.pt"):
        load_pretrained(nn.Linear(1, 1), path)
    assert not exploded.exists()


def test_a_study_file_cannot_build_objects(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.replace("small", f"!!python/object/apply:os.mkdir [{tmp_path / 'exploded'}]"))
    with pytest.raises(ConfigError, match=r"the tag .*python/object/apply.* is not allowed here"):
        load_study(path)
    assert not (tmp_path / "exploded").exists()


PLANTED = f"""
import pickle, sys
found = []
sys.addaudithook(lambda event, args: found.append(args) if event == "pickle.find_class" else None)
from pathlib import Path
from fsg.record.folder import StudyFolder
from fsg.report.study_report import make_report
from fsg.train.checkpoint import CheckpointStore
folder = StudyFolder(Path(sys.argv[1]))
report = make_report(folder.spec(), folder.state())
assert CheckpointStore(folder.checkpoints / "k" / "last.pt").load() == {{"format": {FORMAT}, "epoch": 1}}
import optuna
from fsg.search.journal import open_journal
optuna.logging.set_verbosity(optuna.logging.ERROR)
optuna.create_study(storage=open_journal(folder.search / "optuna.journal")[0], study_name="s", load_if_exists=True).tell(0, 1.0)
print([name for name in found if name[0] not in ("numpy", "copyreg", "builtins", "collections", "numba", "llvmlite")])
"""


def test_reading_a_study_folder_unpickles_nothing(tmp_path, bomb):
    """Specification, ledger, report, checkpoint and Optuna's journal are read under Python's audit of unpickling; what
    Ray and others leave as pickles lies there, and would explode."""
    from fsg.record.folder import StudyFolder
    from fsg.record.ledger import Ledger
    from fsg.record.ledger_header import begin

    payload, exploded = bomb
    (tmp_path / "study.yaml").write_text(STUDY)
    folder = StudyFolder.create_or_open(load_study(tmp_path / "study.yaml"), tmp_path / "studies")
    ledger = Ledger(folder.ledger_path)
    begin(ledger, folder.spec())
    for arm in ("slow", "ste"):
        ledger.append("planned", key=arm, arm=arm, seed=0, config={})
    ledger.close()
    save_checkpoint({"epoch": 1}, folder.checkpoints / "k" / "last.pt")
    code = "import optuna, sys; from pathlib import Path; from fsg.search.journal import open_journal;"
    code += "s = optuna.create_study(storage=open_journal(Path(sys.argv[1]))[0], study_name='s'); s.ask()"
    subprocess.run([sys.executable, "-c", code, str(folder.search / "optuna.journal")], check=True, capture_output=True)
    for name in ("ray/tune/tuner.pkl", "ray/tune/trainable.pkl", "ray/tune/searcher-state-1.pkl", "search/sampler.pkl"):
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).write_bytes(pickle.dumps(payload))
    np.save(folder.search / "points.npy", np.array([payload], dtype=object), allow_pickle=True)
    said = subprocess.run([sys.executable, "-c", PLANTED, str(folder.path)], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip().splitlines()[-1] == "[]"
    assert not exploded.exists()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=64))
@example(b"\x85.")
def test_any_bytes_are_refused_as_weights_in_our_words(tmp_path, content):
    """Instructions of a pickle among them: TUPLE1 of an empty stack is an IndexError of torch's reader (2.15)."""
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"weights\.pt"):
        load_pretrained(nn.Linear(1, 1), path)


def test_the_source_names_no_way_to_unpickle():
    """No pickle.load, no torch.load without weights_only, no unsafe YAML, no eval; exec where a plug-in is loaded alone."""
    import re

    forbidden = re.compile(
        r"pickle\.loads?\(|Unpickler|joblib|allow_pickle|weights_only=False|yaml\.(?:load|unsafe_load|full_load)\(|"
        r"(?<![\w.])(?:eval|exec)\(|shell=True|os\.system|Tuner\.restore"
    )
    root = Path(sys.modules["fsg"].__file__).parent
    found = [f"{p.relative_to(root)}: {m[0]}" for p in root.rglob("*.py") for m in forbidden.finditer(p.read_text())]
    assert found == ["plugins.py: exec("], found
    for path in root.rglob("*.py"):
        for call in re.findall(r"torch\.load\([^\n]*", path.read_text()):
            assert "weights_only=True" in call, path


# Paths that would leave the study -------------------------------------------------------------------------------------
NAMES = ["../x", "a/b", "/etc/x", "..", ".", ".hidden", "a\n", "a\0b", "", "-x", "~", "a" * 65]


@pytest.mark.parametrize("name", NAMES)
def test_a_study_cannot_be_named_like_a_path(tmp_path, name):
    import yaml

    path = tmp_path / "study.yaml"
    path.write_text(STUDY.replace("name: small", yaml.safe_dump({"name": name}, width=1000).strip()))
    with pytest.raises(ConfigError, match=r'study\.yaml:\d+: "?name'):
        load_study(path)


@pytest.mark.parametrize("name", NAMES)
def test_an_arm_cannot_be_named_like_a_path(tmp_path, name):
    import yaml

    path = tmp_path / "study.yaml"
    arms = yaml.safe_dump({"arms": {name: {"optimizer": {"lr": 0.003}}}}, default_flow_style=True, width=1000).strip()[
        1:-1
    ]
    path.write_text(STUDY.replace("arms: {slow: {optimizer: {lr: 0.003}}}", arms))
    with pytest.raises(ConfigError):
        load_study(path)


def test_a_published_table_cannot_lie_outside_the_study(tmp_path):
    folder = tmp_path / "studies"
    folder.mkdir()
    (tmp_path / "secret.csv").write_text("method,accuracy_mean\nste,90\n")
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    for published in ("../secret.csv", "link.csv", "x/../../secret.csv"):
        (folder / "study.yaml").write_text(STUDY + f"published: {published}\n")
        with pytest.raises(ConfigError, match=r'study\.yaml:7: "published" is .* leads out of'):
            load_study(folder / "study.yaml")


def test_a_password_in_a_study_file_is_refused(tmp_path):
    sweep = """\
name: search
base: {epochs: 2}
metric: {name: val_accuracy, mode: max}
space: {optimizer.lr: {loguniform: [1e-4, 1e-1]}}
search: {trials: 3, storage: "postgresql://me:planted@db/optuna"}
"""
    path = tmp_path / "study.yaml"
    path.write_text(sweep)
    with pytest.raises(ConfigError, match=r"study\.yaml:5: .*holds a password in clear; write \$\{NAME\}") as refused:
        load_study(path)
    assert "planted" not in str(refused.value)
    path.write_text(sweep.replace("planted", "${PASSWORD}"))
    assert load_study(path).search.storage == "postgresql://me:${PASSWORD}@db/optuna"


def test_a_study_that_is_not_there_is_refused_however_it_is_named(tmp_path):
    for name in ("../..", "/", "a\0b", "x" * 5000):
        with pytest.raises((StudyError, ConfigError)):
            find_study(name, tmp_path)
