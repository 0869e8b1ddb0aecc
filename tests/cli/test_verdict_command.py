"""``fsg verdict`` on a study of trials that were made up: its words, its exit codes, its log."""

import json

import pytest
from command_line import run_main

from fsg.record.folder import StudyFolder
from fsg.record.ideas import IdeaLog
from fsg.record.ledger import Ledger
from fsg.record.ledger_header import begin
from fsg.report.study_report import make_report
from fsg.study.spec import load_study

STUDY = """\
name: {name}
base: {{gradient: ste, epochs: 1, data: digits}}
seeds: 6
metric: {{name: val_accuracy, mode: max, unit: "%"}}
arms: {{tuned: {{optimizer: {{lr: 0.003}}}}, slow: {{optimizer: {{lr: 0.0001}}}}}}
baselines: [ste, scalar]
analysis: {{reference: tuned, baseline: ste, smallest_effect_of_interest: 0.5}}
"""
ABOVE = {
    "tuned": (2.0, 2.2, 1.9, 2.1, 2.0, 2.3),
    "slow": (-2.1, -2.2, -1.9, -2.1, -2.0, -2.3),
    "scalar": (0.02, -0.03, 0.01, 0.0, -0.02, 0.02),
    "ste": (0.0,) * 6,
}


def finish(folder, name, seeds=6):
    """A study of which these seeds have finished."""
    (folder / f"{name}.yaml").write_text(STUDY.format(name=name))
    spec = load_study(folder / f"{name}.yaml")
    made = StudyFolder.create_or_open(spec, folder / "studies")
    ledger = Ledger(made.ledger_path)
    if made.state().header is None:
        begin(ledger, spec)
    done = made.state().trials
    for trial in spec.plan.trials(range(seeds)):
        if trial.key not in done:
            value = 90 + trial.seed / 7 + ABOVE[trial.arm][trial.seed]
            ledger.append_all([
                ("planned", trial.event()),
                ("started", {"key": trial.key, "attempt": 1, "node": "here", "device": "cpu"}),
                ("epoch", {"key": trial.key, "metrics": {"epoch": 1, "val_accuracy": value, "train_loss": 1.0}}),
                ("finished", {"key": trial.key, "metrics": {"val_accuracy": value, "test_accuracy": value}}),
            ])  # fmt: skip
    ledger.close()
    return made


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder above a study whose trials have finished."""
    folder = tmp_path_factory.mktemp("verdict")
    finish(folder, "rates")
    return folder


@pytest.fixture
def asked(study, monkeypatch):
    return lambda *words: run_main(monkeypatch, study, "verdict", *words)


@pytest.mark.parametrize(
    ("arm", "code", "answer"), [("tuned", 0, "better"), ("slow", 3, "worse"), ("scalar", 4, "equivalent")]
)
def test_the_exit_code_is_the_answer(arm, code, answer, asked):
    said = asked("rates", arm)
    assert (said.code, said.err) == (code, "")
    assert said.out.startswith(f"{arm} is {answer} ")


def test_what_is_not_yet_known_exits_with_five(tmp_path, monkeypatch):
    finish(tmp_path, "rates", seeds=2)
    said = run_main(monkeypatch, tmp_path, "verdict", "rates", "tuned", "--against", "ste")
    assert (said.code, said.err) == (5, "")
    assert said.out.startswith("tuned against ste: not yet known. +2.1 points of val_accuracy over 2 paired seeds")


def test_the_json_has_the_numbers_that_compare_shows(asked, study):
    found = json.loads(asked("rates", "scalar", "--json").out)
    folder = StudyFolder(study / "studies" / "rates")
    row = next(r for r in make_report(folder.spec(), folder.state()).comparison.rows if r.arm == "scalar")
    assert (found["answer"], found["exit_code"], found["seeds"]) == ("equivalent", 4, [0, 1, 2, 3, 4, 5])
    shown = row.vs_baseline
    assert (found["table"]["estimate"], found["table"]["low"]) == (shown.estimate, shown.low)
    assert found["effect"]["estimate"] == shown.estimate
    assert found["table_marks"]["equivalent"] is row.verdict_baseline.equivalent is True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "fsg: verdict needs the name of a study, as in: fsg verdict rates\n"),
        (("rates",), "fsg: verdict needs an arm of rates. It has: tuned, slow, ste, scalar.\n"),
        (("rates", "tund"), 'fsg: rates has no arm "tund". Did you mean "tuned"?'),
        (("rates", "ste", "--against", "ste"), "fsg: ste against itself is no question"),
        (("rats", "ste"), 'Did you mean "rates"?'),
        (
            ("--log", "ideas.jsonl"),
            "there is no log of ideas yet; the first verdict begins it: fsg verdict STUDY ARM --log",
        ),
    ],
)
def test_what_cannot_be_asked_is_one_message_and_exit_code_two(words, message, asked):
    said = asked(*words)
    assert said.code == 2 and message in said.err and not said.out


def test_a_log_holds_each_idea_to_the_level_that_is_left(study, tmp_path, asked):
    log = tmp_path / "ideas.jsonl"
    first = json.loads(asked("rates", "scalar", "--log", log, "--json").out)
    second = json.loads(asked("rates", "tuned", "--log", log, "--json").out)
    third = json.loads(asked("rates", "slow", "--log", log, "--json").out)
    assert first["level"] > second["level"] and third["level"] > second["level"]  # a discovery earned it
    assert second["corrected_over"] == 1 and second["answer"] == "better" and third["answer"] == "worse"
    shown = json.loads(asked("--log", log, "--json").out)
    assert shown["rate"] == 0.05
    assert [(i["arm"], i["found"], i["level"]) for i in shown["ideas"]] == [
        ("scalar", None, first["level"]), ("tuned", "better", second["level"]), ("slow", "worse", third["level"])
    ]  # fmt: skip
    table = asked("--log", log)
    assert table.code == 0 and "rates: tuned against ste" in table.out and "better at 6 seeds" in table.out


def test_looking_again_at_an_idea_with_more_seeds_is_the_same_idea_at_the_same_level(tmp_path, monkeypatch):
    levels = []
    for seeds in (3, 6):
        finish(tmp_path, "rates", seeds)
        said = run_main(monkeypatch, tmp_path, "verdict", "rates", "tuned", "--log", "ideas.jsonl", "--json")
        levels.append(json.loads(said.out)["level"])
    looks = IdeaLog(tmp_path / "ideas.jsonl", 0.05).read()[1]
    assert levels[0] == levels[1] and [look.seeds for look in looks] == [3, 6]
    assert len({look.idea for look in looks}) == 1


def test_a_damaged_log_gives_no_verdict(asked, tmp_path):
    log = tmp_path / "ideas.jsonl"
    asked("rates", "tuned", "--log", log)
    log.write_text(log.read_text().replace('"seeds":6', '"seeds":7'))
    said = asked("rates", "slow", "--log", log)
    assert (said.code, said.out) == (2, "")
    assert (
        f"fsg: {log}:2: it does not match its crc. What an idea may claim follows from every line before it" in said.err
    )
