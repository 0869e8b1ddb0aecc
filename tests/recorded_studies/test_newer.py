"""What a later fsg wrote is refused in one message with exit code 2, and neither mended, set aside nor written to."""

import json

import pytest

from fsg.config import canonical_json
from fsg.errors import NewerFormat, StudyError
from fsg.formats import FORMAT
from fsg.record.checksum import with_checksum
from fsg.record.ledger import with_crc
from fsg.search.journal import FORMAT_ATTRIBUTE, _crc, open_journal
from fsg.train.checkpoint import CheckpointStore, save_checkpoint

COMMANDS = (["resume"], ["compare"], ["status"], ["sync"], ["upgrade"], ["upgrade", "--write"])


def lines_of(folder):
    return folder.ledger_path.read_bytes().splitlines(keepends=True)


def a_later_header(folder):
    first, *rest = lines_of(folder)
    event = {k: v for k, v in json.loads(first).items() if k != "crc"} | {"format": 99}
    folder.ledger_path.write_bytes(canonical_json(with_crc(event)).encode() + b"\n" + b"".join(rest))
    return "format 99"


def an_unknown_event(folder):
    lines = lines_of(folder)
    event = with_crc({"event": "distilled", "time": 1.0, "key": "k"})
    lines.insert(len(lines) // 2, canonical_json(event).encode() + b"\n")
    folder.ledger_path.write_bytes(b"".join(lines))
    return 'the event "distilled"'


def an_unknown_field(folder):
    lines = lines_of(folder)
    place = next(n for n, line in enumerate(lines) if b'"event":"finished"' in line)
    event = {k: v for k, v in json.loads(lines[place]).items() if k != "crc"} | {"energy": 3}
    lines[place] = canonical_json(with_crc(event)).encode() + b"\n"
    folder.ledger_path.write_bytes(b"".join(lines))
    return 'energy in "finished"'


def a_later_specification(folder):
    text = folder.spec_path.read_bytes().partition(b"\n")[2]
    folder.spec_path.write_bytes(with_checksum(b"format: 99\n" + text))
    return "format 99"


def a_specification_with_a_later_field(folder):
    text = folder.spec_path.read_bytes().partition(b"\n")[2]
    folder.spec_path.write_bytes(with_checksum(text + b"energy_cap: 3\n"))
    return 'unknown key "energy_cap"'


CHANGES = (
    a_later_header, an_unknown_event, an_unknown_field, a_later_specification, a_specification_with_a_later_field
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("change", CHANGES)
def test_a_study_of_a_later_fsg_is_refused_in_one_message_and_left_alone(study_of, fsg, change, command):
    folder = study_of("factorial")
    how = change(folder)
    place = folder.path.parents[1]
    before = {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}
    said = fsg(command[0], "factorial", *command[1:])
    assert said.code == 2 and said.out == ""
    assert "made by a newer fsg" in said.err and how in said.err, said.err
    assert f"this one reads up to format {FORMAT}: upgrade fsg" in said.err and said.err.count("\n") == 1
    assert {p: p.read_bytes() for p in place.rglob("*") if p.is_file()} == before


def test_a_file_of_a_later_fsg_starts_nothing(study_of, fsg, tmp_path, request):
    study_of("factorial")
    recipe = (request.path.parent / "recipes" / "factorial.yaml").read_text()
    (tmp_path / "f.yaml").write_text(f"format: 99\n{recipe}")
    said = fsg("ablate", "f.yaml")
    assert said.code == 2 and "made by a newer fsg (format 99)" in said.err and "f.yaml:1" in said.err


def test_a_checkpoint_of_a_later_fsg_is_refused_and_not_set_aside(tmp_path, fsg):
    save_checkpoint({"format": 99, "epoch": 1}, tmp_path / "last.pt")
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(NewerFormat, match=r"last.pt: made by a newer fsg \(format 99\)"):
        CheckpointStore(tmp_path / "last.pt").load()
    said = fsg("train", "--set", "data=synthetic", "--checkpoint", "last.pt")
    assert said.code == 2 and "made by a newer fsg (format 99)" in said.err
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"] and (tmp_path / "last.pt").read_bytes() == before


def test_a_checkpoint_without_a_format_that_is_no_trials_is_refused(tmp_path, fsg, monkeypatch):
    import fsg.train.checkpoint as module

    with monkeypatch.context() as first:
        first.setattr(module, "FORMAT_KEY", "epoch")
        save_checkpoint({"weights": 1}, tmp_path / "last.pt")
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(StudyError, match="is no checkpoint of a trial: it names no format and has no"):
        CheckpointStore(tmp_path / "last.pt").load()
    said = fsg("train", "--set", "data=synthetic", "--checkpoint", "last.pt")
    assert said.code == 2 and "is no checkpoint of a trial" in said.err
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"] and (tmp_path / "last.pt").read_bytes() == before


def test_a_journal_of_a_later_fsg_is_refused_and_not_set_aside(study_of):
    path = study_of("sweep").search / "optuna.journal"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    log = {"op_code": 2, "worker_id": "w", "study_id": 0, "user_attr": {FORMAT_ATTRIBUTE: 99}}
    line = json.dumps(log | {"crc": _crc(log)}, separators=(",", ":")).encode() + b"\n"
    path.write_bytes(b"".join([first, line, *rest]))
    before = path.read_bytes()
    with pytest.raises(NewerFormat, match=r"optuna.journal:2: made by a newer fsg \(format 99\)"):
        open_journal(path)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_value_that_this_version_refuses_is_not_called_a_newer_one(study_of, fsg):
    """An older fsg took it; nothing is gained by an upgrade."""
    folder = study_of("sweep")
    text = folder.spec_path.read_bytes().partition(b"\n")[2].replace(b"- 32\n", b"- 64\n")
    folder.spec_path.write_bytes(with_checksum(text))
    said = fsg("compare", "sweep")
    assert said.code == 2 and "choice holds 64 twice" in said.err and "newer" not in said.err
