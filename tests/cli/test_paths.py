"""One rule for paths: ``~`` is the home folder wherever a user gives one, in a file, an option or a database's address."""

from pathlib import Path

import pytest
import torch
import yaml
from cli_texts import ABLATION

from fsg.catalogue.data import DataConfig
from fsg.config import TrialConfig, load_trial
from fsg.database import absolute_address
from fsg.files import user_path
from fsg.record.folder import StudyFolder, find_study
from fsg.study.spec import load_study


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder of our own, and a working folder that is another."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def no_folder_named_tilde(folder):
    assert not [path for path in folder.rglob("*") if "~" in path.name]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("~", "{home}"),
        ("~/x", "{home}/x"),
        ("~/x/", "{home}/x"),
        ("x", "x"),
        ("./x/", "x"),
        ("/x", "/x"),
        ("a/~/x", "a/~/x"),
        ("~nobody_here/x", "~nobody_here/x"),
        ("", "."),
    ],
)
def test_a_path_is_what_a_shell_would_make_of_it(given, meant, home):
    assert user_path(given) == Path(meant.format(home=home))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("sqlite:///~/runs.db", "sqlite:///{home}/runs.db"),
        ("sqlite:///runs.db", "sqlite:///{here}/runs.db"),
        ("sqlite:////x/~/runs.db", "sqlite:////x/~/runs.db"),
        ("http://host/~me", "http://host/~me"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
    ],
)
def test_an_address_of_a_file_follows_the_same_rule(given, meant, home):
    assert absolute_address(given) == meant.format(home=home, here=Path.cwd())


@pytest.mark.parametrize("storage", ["--storage=~/st", "--storage=~/st/", "--storage=~/x/../st"])
def test_a_storage_is_in_the_home_folder(storage, fsg, files, home, tmp_path, monkeypatch):
    files(ABLATION)
    begun = []
    monkeypatch.setattr("fsg.cli.study.run", lambda folder, *_: begun.append(folder.path.resolve()))
    (home / "x").mkdir()
    assert fsg("ablate", "study.yaml", storage).code == 0
    assert begun == [home / "st" / "small"]
    assert (home / "st" / "small" / "driver.json").is_file(), "the lock lies elsewhere"
    for words in (
        ["status", "small", storage],
        ["status", "~/st/small"],
        ["studies", storage],
        ["resume", "small", storage],
    ):
        assert fsg(*words).code == 0, words
    assert find_study("~/st/small").path == find_study("small", "~/st").path == home / "st" / "small"
    assert StudyFolder.create_or_open(load_study(tmp_path / "study.yaml"), "~/st").path == home / "st" / "small"
    no_folder_named_tilde(tmp_path)


def test_a_tracking_store_is_in_the_home_folder(fsg, files, home, tmp_path, monkeypatch):
    from fsg.cli.options import tracking_of
    from fsg.tracking.store import artifact_location, sqlite_path

    assert tracking_of("sqlite:///~/runs.db", False) == f"sqlite:///{home}/runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///~/env.db")
    assert tracking_of(None, False) == f"sqlite:///{home}/env.db"
    assert sqlite_path("sqlite:///~/runs.db") == home / "runs.db"
    assert artifact_location("sqlite:///~/runs.db", "x") == f"file://{home}/mlartifacts/x"


def test_a_team_server_keeps_its_runs_in_the_home_folder(home, tmp_path):
    from fsg.tracking.team import load_team_server

    path = tmp_path / "server.yaml"
    path.write_text("store: sqlite:///~/team/runs.db\nartifacts: ~/team/files\n")
    team = load_team_server(path)
    assert (team.store, team.artifacts) == (f"sqlite:///{home}/team/runs.db", f"{home}/team/files")


def test_a_search_is_remembered_in_the_home_folder(home):
    from fsg.study.search import SearchSpec, database_of

    search = SearchSpec(trials=2, storage="sqlite:///~/optuna.db")
    assert database_of(search) == f"sqlite:///{home}/optuna.db"


def test_a_trial_and_its_checkpoint_are_in_the_home_folder(fsg, home, tmp_path):
    (home / "trial.yaml").write_text("epochs: 1\ngradient: ste\ndata: {name: digits, batch_size: 512}\n")
    said = fsg("train", "~/trial.yaml", "--checkpoint=~/last.pt")
    assert said.code == 0, said.err
    assert (home / "last.pt").is_file()
    assert load_trial("~/trial.yaml").epochs == 1
    no_folder_named_tilde(tmp_path)


@pytest.mark.parametrize("command", ["train", "ablate --dry-run"])
def test_pretrained_weights_are_in_the_home_folder(command, fsg, files, home):
    from fsg.train import Trainer

    torch.save(Trainer(TrialConfig(quantizer={"name": "none"}, gradient="ste")).model.state_dict(), home / "x.pt")
    if command == "train":
        words = ["--set", "model.pretrained=~/x.pt", "--set", "epochs=1", "--set", "gradient=ste"]
    else:
        files(ABLATION, ("  epochs: 2", "  model: {pretrained: ~/x.pt}\n  epochs: 2"))
        words = ["study.yaml"]
    assert fsg(*command.split(), *words).err == ""


def test_a_worker_gets_whole_paths(home):
    from fsg.search.searcher import with_absolute_paths

    trial = with_absolute_paths(TrialConfig(model={"pretrained": "~/x.pt"}, data={"root": "~/images"}))
    assert (trial.model.pretrained, trial.data.root) == (f"{home}/x.pt", f"{home}/images")


@pytest.mark.parametrize("name", ["cifar10", "image_folder"])
def test_images_are_in_the_home_folder(name, home):
    from fsg.data import load_data
    from fsg.errors import DataError
    from fsg.study.inputs import absolute_root

    config = DataConfig(name=name, root="~/images")
    assert absolute_root(config) == home / "images"
    with pytest.raises(DataError, match=str(home / "images")):
        load_data(config)


def test_a_published_table_is_in_the_home_folder(files, home, tmp_path):
    (home / "table.csv").write_text("method,val_accuracy\nours,90\n")
    files(ABLATION + "published: ~/table.csv\n")
    assert load_study(tmp_path / "study.yaml").published == str(home / "table.csv")


def test_a_study_of_the_home_folder_is_run_by_its_path(fsg, home):
    (home / "study.yaml").write_text(yaml.safe_dump(yaml.safe_load(ABLATION) | {"name": "x y"}))
    said = fsg("ablate", "~/study.yaml", "--dry-run")
    assert said.err.startswith(f"fsg: {home}/study.yaml:")
