import json
import multiprocessing
import os

import pytest

from fsg.errors import StudyError
from fsg.record.ideas import Idea, IdeaLog, Look
from fsg.record.ledger import Ledger

LR = Idea("components", "0a1b", "full", "ste", "val_accuracy")
OTHER = Idea("components", "0a1b", "no_lre", "ste", "val_accuracy")


def look(idea=LR, p=0.2, seeds=3):
    return Look(idea, seeds, 0.5, p, True)


@pytest.fixture
def log(tmp_path):
    """A log of two looks."""
    log = IdeaLog(tmp_path / "ideas.jsonl", 0.05)
    log.add(look(), lambda rate, looks: None)
    log.add(look(OTHER), lambda rate, looks: None)
    return log


def test_what_was_added_is_read_and_judged_with_all_before_it(log):
    assert log.add(look(p=0.01, seeds=5), lambda rate, looks: (rate, looks)) == (
        0.05,
        [look(), look(OTHER), look(p=0.01, seeds=5)],
    )
    assert log.read() == (0.05, [look(), look(OTHER), look(p=0.01, seeds=5)])


def test_a_log_that_is_not_there_has_no_looks_and_reading_makes_none(tmp_path):
    assert IdeaLog(tmp_path / "none.jsonl", 0.05).read() == (0.05, [])
    assert not (tmp_path / "none.jsonl").exists()


def test_the_rate_of_a_log_is_that_of_its_first_line(log):
    assert IdeaLog(log.path, 0.2).read()[0] == 0.05


def test_lines_are_only_added(log):
    before = log.path.read_bytes()
    log.add(look(), lambda rate, looks: None)
    assert log.path.read_bytes().startswith(before)


@pytest.mark.parametrize(
    ("line", "text", "why"),
    [
        (2, lambda t: t.replace('"p":0.2', '"p":0.01'), "does not match its crc"),
        (3, lambda t: t.replace('"seeds":3', '"seeds":33'), "does not match its crc"),
        (2, lambda t: "not json", r"is no line of a log of ideas \(JSONDecodeError\)"),
        (2, lambda t: "{}", r"is no line of a log of ideas \(KeyError\)"),
        (3, lambda t: "", r"is no line of a log of ideas \(JSONDecodeError\)"),
        (1, lambda t: t.replace("ideas", "study"), "does not match its crc"),
    ],
)
def test_a_damaged_or_foreign_line_is_refused_with_its_number_and_nothing_is_added(line, text, why, log):
    lines = log.path.read_text().splitlines()
    lines[line - 1] = text(lines[line - 1])
    log.path.write_text("\n".join(lines) + "\n")
    before = log.path.read_bytes()
    for ask in (log.read, lambda: log.add(look(), lambda rate, looks: None)):
        with pytest.raises(StudyError, match=rf"ideas.jsonl:{line}: it {why}.*Restore the file from a copy"):
            ask()
    assert log.path.read_bytes() == before and len(list(log.path.parent.iterdir())) == 1


def test_a_line_that_was_taken_out_of_another_log_is_refused_where_it_does_not_belong(log):
    head, first, _ = log.path.read_text().splitlines()
    log.path.write_text(f"{first}\n{head}\n")
    with pytest.raises(StudyError, match=r"ideas.jsonl:1: it is not the first line of a log of ideas"):
        log.read()
    log.path.write_text(f"{head}\n{head}\n")
    with pytest.raises(StudyError, match=r"ideas.jsonl:2: it is no look at an idea"):
        log.read()


def test_a_ledger_is_no_log_of_ideas(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("stopped", reason="the budget was used up")
    ledger.close()
    before = ledger.path.read_bytes()
    with pytest.raises(StudyError, match=r"ledger.jsonl:1: it is not the first line of a log of ideas"):
        IdeaLog(ledger.path, 0.05).add(look(), lambda rate, looks: None)
    assert ledger.path.read_bytes() == before


def test_a_text_without_a_newline_that_is_not_ours_is_left_as_it_is(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("first line\nmy notes")
    with pytest.raises(StudyError, match=r"notes.txt:1: it is no line of a log"):
        IdeaLog(path, 0.05).add(look(), lambda rate, looks: None)
    assert path.read_text() == "first line\nmy notes" and len(list(tmp_path.iterdir())) == 1


def test_a_line_that_was_cut_off_is_moved_aside_by_the_next_look(log):
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + b'{"crc":"12')
    assert log.read()[1] == [look(), look(OTHER)]
    log.add(look(p=0.03), lambda rate, looks: None)
    assert log.read()[1] == [look(), look(OTHER), look(p=0.03)]
    assert log.path.with_name("ideas.jsonl.torn-1").read_bytes() == b'{"crc":"12'


def test_a_disk_that_refuses_leaves_the_log_as_it_was(log, monkeypatch):
    before, write = log.path.read_bytes(), os.write

    def half(file, data):
        if not data.startswith(b"{"):
            raise OSError(28, "No space left on device")
        return write(file, data[:10])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(
        StudyError, match=r"ideas.jsonl: cannot be written \(No space left on device\); nothing was added"
    ):
        log.add(look(), lambda rate, looks: None)
    assert log.path.read_bytes() == before


def add_many(path, name):
    log = IdeaLog(path, 0.05)
    for seeds in range(1, 26):
        log.add(Look(Idea(name, "", "a", "b", "m"), seeds, 0.0, 0.5, True), lambda rate, looks: None)


def test_two_processes_that_add_at_once_lose_nothing(tmp_path):
    fork = multiprocessing.get_context("fork")
    adding = [fork.Process(target=add_many, args=(tmp_path / "ideas.jsonl", name)) for name in "xy"]
    for process in adding:
        process.start()
    for process in adding:
        process.join()
    looks = IdeaLog(tmp_path / "ideas.jsonl", 0.05).read()[1]
    assert [[one.seeds for one in looks if one.idea.study == name] for name in "xy"] == 2 * [list(range(1, 26))]
    assert sum(json.loads(line)["event"] == "ideas" for line in (tmp_path / "ideas.jsonl").open()) == 1
