"""A specification that is not what fsg wrote is noticed, and says what to do."""

import pytest

from fsg.errors import ConfigError, StudyError
from fsg.record.folder import StudyFolder
from fsg.record.ledger_header import begin
from fsg.study.spec import to_yaml


@pytest.fixture
def folder(ablation, tmp_path):
    return StudyFolder.create_or_open(ablation, tmp_path)


def flipped(data, at):
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def test_what_fsg_wrote_is_read_and_a_file_by_hand_too(folder, ablation):
    assert folder.spec() == ablation
    folder.spec_path.write_bytes(to_yaml(ablation))
    assert folder.spec() == ablation


def test_any_flipped_byte_is_refused_or_changes_nothing(folder, ablation):
    whole = folder.spec_path.read_bytes()
    for at in range(0, len(whole), 3):
        folder.spec_path.write_bytes(flipped(whole, at))
        try:
            assert folder.spec() == ablation
        except ConfigError as error:
            assert str(error).startswith(str(folder.spec_path))
    folder.spec_path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ConfigError, match=r"was damaged or changed since fsg wrote it.*move it away and start the file"
    ):
        folder.spec()


def test_a_published_table_that_changed_is_noticed(files, ablation_text, tmp_path):
    (tmp_path / "theirs.csv").write_text("method,val_accuracy\nste,90.0\n")
    spec = files.load(ablation_text, ("name: small", "name: small\npublished: theirs.csv"))
    folder = StudyFolder.create_or_open(spec, tmp_path)
    assert folder.spec().name == "small"
    folder.published_path.write_text("method,val_accuracy\nste,99.0\n")
    with pytest.raises(ConfigError, match=r"it, or published\.csv, was damaged"):
        folder.spec()


def test_a_damaged_one_that_is_moved_away_is_written_again_from_the_file_it_began_with(
    folder, ablation, files, ablation_text
):
    begin(folder.ledger(), ablation)
    whole = folder.spec_path.read_bytes()
    folder.spec_path.write_bytes(whole[:-9])
    with pytest.raises(StudyError, match="move it away"):
        StudyFolder.create_or_open(ablation, folder.path.parent)
    folder.spec_path.rename(folder.path / "spec.yaml.bad")
    other = files.load(ablation_text, ("epochs: 2", "epochs: 3"))
    with pytest.raises(StudyError, match=r"no spec\.yaml"):
        StudyFolder.create_or_open(other, folder.path.parent)
    StudyFolder.create_or_open(ablation, folder.path.parent)
    assert folder.spec_path.read_bytes() == whole
