"""A study that moves: renamed, seen from another folder, its data spelt otherwise; and one trial of it by itself."""

import pytest

from fsg.config import digest, load_trial, parse_trial
from fsg.record.folder import StudyFolder
from fsg.record.surroundings import remember_surroundings
from fsg.tracking.contents import contents


def test_one_of_its_trials_goes_on_by_itself_from_its_own_checkpoint(study_of, fsg, tmp_path):
    folder = study_of("cut_off")
    (tmp_path / "studies").rename(tmp_path / "moved")
    folder = StudyFolder(tmp_path / "moved" / "cut_off")
    key = next(iter(folder.state().trials))
    said = fsg("train", "--from", f"moved/cut_off#{key}", "--checkpoint", folder.checkpoints / key / "last.pt")
    assert said.code == 0, said.err
    assert "Going on from epoch" in said.out and "Test accuracy" in said.out


def test_a_renamed_study_that_is_complete_has_nothing_to_run(study_of, fsg, unpacked, tmp_path):
    """And, resumed from another folder without naming a store, it goes on with the copy that it has."""
    uri = f"sqlite:///{unpacked('mlflow.tar.xz')}/mlflow.db"
    folder = study_of("factorial")
    before = contents(uri, folder.state().header["study_id"])
    remember_surroundings(folder.path, uri)
    (tmp_path / "elsewhere").mkdir()
    said = fsg("resume", tmp_path / "studies" / "factorial")
    assert said.code == 0, said.err
    assert not [event for event in folder.events() if event["event"] == "started" and event["attempt"] > 1]
    assert contents(uri, folder.state().header["study_id"]).keys() == before.keys()


@pytest.mark.parametrize("data", ["cifar10", "image_folder"])
def test_where_data_lie_and_whether_they_may_be_downloaded_is_no_part_of_a_trial(data):
    def key(root, **other):
        return digest(parse_trial({"data": {"name": data, "root": root, **other}}).identity())

    assert key("/a/images") == key("~/b/images") == key("images", download=True) == key("../images/")


def test_another_folder_of_images_is_another_trial():
    keys = {
        digest(parse_trial({"data": {"name": "image_folder", "root": root}}).identity())
        for root in ("a/cats", "a/dogs")
    }
    assert len(keys) == 2


def test_a_checkpoint_names_no_folder_of_the_machine(tmp_path):
    from fsg.train import Trainer

    trainer = Trainer(load_trial(None, ["data=synthetic", "data.image_size=4", f"data.root={tmp_path}", "epochs=1"]))
    assert str(tmp_path) not in trainer.state_dict()["config"]
