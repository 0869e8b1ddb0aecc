"""Optuna's memory is checked, and made again where it is damaged."""

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from small_disks import fill, small_disk

from fsg.search.journal import open_journal, problem_in


def study_at(path):
    storage, said = open_journal(path)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(study_name="s", storage=storage, load_if_exists=True), said


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "search" / "optuna.journal"
    study, said = study_at(path)
    assert said == []
    for x in (0.25, 0.5):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        study.tell(trial, x)
    return path


def test_a_whole_journal_is_what_it_was_for_us_and_for_optuna(journal):
    before = journal.read_bytes()
    study, said = study_at(journal)
    assert said == [] and [t.value for t in study.trials] == [0.25, 0.5]
    plain = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(str(journal))))
    assert [t.value for t in plain.trials] == [0.25, 0.5]
    assert journal.read_bytes().startswith(before)


def test_a_flipped_digit_sets_the_journal_aside_whole(journal):
    damaged = journal.read_bytes().replace(b"0.25", b"0.15")
    journal.write_bytes(damaged)
    study, (said,) = study_at(journal)
    assert study.trials == []
    assert said.startswith(f"{journal}: damaged: line ") and "does not match its crc" in said
    assert "Set aside as optuna.journal.damaged-1" in said
    assert journal.with_name("optuna.journal.damaged-1").read_bytes() == damaged


def test_every_flipped_bit_is_noticed(journal):
    whole = journal.read_bytes().splitlines()[0] + b"\n"
    for at in range(len(whole) - 1):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            assert problem_in(bytes(damaged)), (at, bit)


def test_half_of_a_last_line_is_a_kill_and_no_damage(journal):
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4')
    study, said = study_at(journal)
    assert said == [] and len(study.trials) == 2
    assert journal.with_name("optuna.journal.torn-1").read_bytes() == b'{"op_code": 4'


def test_a_lock_that_a_kill_left_is_no_obstacle(journal):
    journal.with_name("optuna.journal.lock").symlink_to(journal)
    assert len(study_at(journal)[0].trials) == 2


def test_a_point_that_waits_is_given_out_first_and_once_even_from_an_earlier_run(journal):
    study, _ = study_at(journal)
    study.enqueue_trial({"x": 0.125})
    study.enqueue_trial({"x": 0.75})
    assert study.ask().suggest_float("x", 0, 1) == 0.125
    again, _ = study_at(journal)
    given = [again.ask().suggest_float("x", 0, 1) for _ in range(3)]
    assert given[0] == 0.75 and not {0.125, 0.75} & set(given[1:])
    assert [trial.number for trial in again.get_trials(states=[optuna.trial.TrialState.RUNNING])] == [2, 3, 4, 5]


def test_a_new_trial_is_made_without_looking_through_all_the_old_ones(journal, monkeypatch):
    study, _ = study_at(journal)
    study.ask()
    monkeypatch.setattr(JournalStorage, "get_all_trials", lambda *_, **__: pytest.fail("all were looked through"))
    assert study.ask().number == 3


def test_a_full_disk_is_waited_for_and_every_entry_is_whole_and_there_once(tmp_path):
    asked = []
    with small_disk(tmp_path, 2**20):
        storage, _ = open_journal(tmp_path / "optuna.journal", lambda: (asked.append(1), filler.unlink()))
        study = optuna.create_study(study_name="s", storage=storage)
        filler = fill(tmp_path)
        while not asked:  # the page that the journal ends in has some room
            study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), 0.5)
        told = [trial.value for trial in study.trials]
        again, said = open_journal(tmp_path / "optuna.journal")
        assert said == []
        assert [t.value for t in optuna.load_study(study_name="s", storage=again).trials] == told


def test_a_full_disk_that_nobody_waits_for_is_an_error_and_leaves_no_half_entry(tmp_path):
    with small_disk(tmp_path, 2**20):
        storage, _ = open_journal(tmp_path / "optuna.journal")
        study = optuna.create_study(study_name="s", storage=storage)
        fill(tmp_path)
        with pytest.raises(OSError, match=r"No space left on device: .*optuna\.journal"):
            while True:
                study.ask()
        assert problem_in((tmp_path / "optuna.journal").read_bytes()) is None
