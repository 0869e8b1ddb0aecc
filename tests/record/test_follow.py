"""Proof of fsg/record/follow.py: each whole line once, a torn one later, a damaged one named."""

import pytest

from fsg.errors import NewerFormat
from fsg.record.follow import LedgerFollower, whole_lines
from fsg.record.ledger import Ledger, canonical_json, with_crc


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger.jsonl")


def test_a_ledger_that_is_not_there_yet_has_no_events(ledger):
    follower = LedgerFollower(ledger.path)
    assert follower.read() == [] and follower.behind() == 0 and whole_lines(ledger.path) == b""


def test_each_event_is_given_once_and_in_pieces_of_at_most_so_many(ledger):
    follower = LedgerFollower(ledger.path)
    written = ledger.append_all(("stopped", {"reason": str(n)}) for n in range(5))
    assert follower.behind() == 5
    assert follower.read(2) == written[:2] and follower.read(2) == written[2:4]
    written += [ledger.append("stopped", reason="late")]
    assert follower.read() == written[4:] and follower.read() == []


def test_a_line_that_is_being_written_is_left_for_the_next_look(ledger):
    first = ledger.append("stopped", reason="a")
    line = canonical_json(with_crc({"event": "stopped", "time": 1.0, "reason": "b"}))
    with ledger.path.open("a") as file:
        file.write(line[:20])
    follower = LedgerFollower(ledger.path)
    assert follower.read() == [first]
    assert whole_lines(ledger.path).count(b"\n") == 1
    with ledger.path.open("a") as file:
        file.write(line[20:] + "\n")
    assert [event["reason"] for event in follower.read()] == ["b"]


def test_a_damaged_line_is_passed_over_and_named(ledger):
    ledger.append("stopped", reason="a")
    ledger.append("stopped", reason="b")
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b'"b"', b'"x"') + b"nonsense\n")
    follower = LedgerFollower(ledger.path)
    assert [event["reason"] for event in follower.read()] == ["a"]
    assert follower.damaged == [(2, "it does not match its crc"), (3, "it is no event (JSONDecodeError)")]


def test_what_a_newer_fsg_wrote_is_not_passed_over(ledger):
    ledger.append("stopped", reason="a")
    with ledger.path.open("a") as file:
        file.write(canonical_json(with_crc({"event": "halted", "time": 1.0})) + "\n")
    with pytest.raises(NewerFormat, match=r'ledger.jsonl:2: made by a newer fsg \(the event "halted"\)'):
        LedgerFollower(ledger.path).read()


def test_a_rewound_follower_begins_again(ledger):
    written = [ledger.append("stopped", reason=text) for text in "ab"]
    follower = LedgerFollower(ledger.path)
    assert follower.read() == written
    follower.rewind()
    assert follower.read() == written
