"""Folded ledgers with planted components: one that acts, one that does nothing."""

import io

import pytest
from rich.console import Console

from fsg.report.dry_run import _idle
from fsg.report.exercised import WHOLE, exercises, refusal
from fsg.report.study_report import make_report
from tests.report.handmade import state, trial
from tests.report.test_study_report import study

FSG = {"name": "fsg", "hgs": True, "fsg": True, "lre": True}
ACTS, IDLE = (0.20, 0.21, 0.19), (0.0002, 0.0003, 0.0002)


def arm(name, gradient, **changes):
    """Three finished trials, whose epochs recorded these changes of the direction."""
    found = []
    for seed in range(3):
        record = trial(
            name, seed, 90.0 + seed % 2 + len(name), config={"seed": seed, "gradient": gradient, "epochs": 3}
        )
        for epoch in record.epochs[1:]:
            epoch |= {key: values[seed] for key, values in changes.items()} | {"cosine": 0.99, "gain": 1.1}
        found.append(record)
    return found


PROBED = {"epochs": 1, "data": {"name": "digits", "batch_size": 512}}
FULL = {"moved": ACTS, "moved_by_hgs": IDLE, "moved_by_fsg": ACTS, "moved_by_lre": (0.0, 0.0, 0.0)}
ARMS = {
    "full": arm("full", FSG, **FULL),
    "no_hgs": arm("no_hgs", FSG | {"hgs": False}, moved=ACTS, moved_by_fsg=ACTS, moved_by_lre=IDLE),
    "no_fsg": arm("no_fsg", FSG | {"fsg": False}, moved=ACTS, moved_by_hgs=IDLE, moved_by_lre=IDLE),
    "no_hgs_fsg": arm("no_hgs_fsg", FSG | {"hgs": False, "fsg": False}, moved=ACTS, moved_by_lre=IDLE),
    "ste": arm("ste", {"name": "ste"}, moved=(0.0, 0.0, 0.0)),
    "scalar": arm("scalar", {"name": "scalar"}, moved=IDLE),
}
DESIGN = {"kind": "full_factorial", "switches": ["hgs", "fsg"]}
SPEC = study(base={"epochs": 3}, design=DESIGN, baselines=["ste", "scalar"], seeds=[0, 1, 2])


@pytest.fixture
def report():
    return make_report(SPEC, state(*(record for found in ARMS.values() for record in found)))


def refused(one, other):
    found = exercises(record for name in (one, other) for record in ARMS[name])
    return refusal(found[one], found[other])


def test_arms_that_differ_in_a_part_that_did_nothing_are_not_compared():
    assert refused("full", "no_hgs") == refused("no_hgs", "full") == "hgs"


def test_arms_that_differ_in_a_part_that_acts_are():
    assert refused("full", "no_fsg") is None
    assert refused("full", "no_hgs_fsg") is None, "hgs is idle, fsg is not"


def test_an_estimator_that_does_what_ste_does_is_not_compared_with_it():
    assert refused("scalar", "ste") == WHOLE
    assert refused("full", "ste") is None
    assert refused("scalar", "full") is None


def test_arms_that_differ_in_more_than_the_estimator_are_compared():
    found = exercises([*ARMS["full"], *ARMS["no_hgs"]])
    longer = {**found["no_hgs"].config, "epochs": 9}
    assert refusal(found["full"], type(found["no_hgs"])("no_hgs", found["no_hgs"].parts, {}, longer)) is None


def test_nothing_is_refused_where_nothing_was_recorded():
    """As in the ledgers of 0.1."""
    found = exercises([*arm("full", FSG), *arm("no_hgs", FSG | {"hgs": False})])
    assert refusal(found["full"], found["no_hgs"]) is None and found["full"].idle == ()
    assert make_report(SPEC, state(*arm("full", FSG), *arm("ste", {"name": "ste"}))).blocks[0].acted is False


def test_the_first_sentence_says_what_was_not_exercised(report):
    first, second, third = report.comparison.notes[:3]
    assert first == (
        "hgs was not exercised: removing it changes the direction by 0.023 % at most, over 2 arms, and below 1 % no verdict is "
        "given on what it is worth."
    )
    assert second.startswith("lre was not exercised: removing it changes the direction by 0.023 % at most, over 4 arms")
    assert third.startswith("scalar was not exercised: its direction is ste's but for 0.023 %")
    assert not any("fsg was not exercised" in note for note in report.comparison.notes)


def test_every_table_refuses_instead_of_showing_no_difference(report):
    rows = {row.arm: row for row in report.comparison.rows}
    assert rows["no_hgs"].vs_reference is None and rows["no_hgs"].verdict_reference is None
    assert rows["no_hgs"].vs_baseline is not None and rows["no_fsg"].vs_reference is not None
    assert rows["scalar"].vs_baseline is None
    main, _, effects, against_full, *_ = report.grids
    cells = {row[0].value: [cell.text for cell in row] for row in main.rows}
    assert cells["no_hgs"].count("not exercised") == 1 and "not exercised" not in cells["no_fsg"]
    by_term = {row[0].value: row[1].text for row in effects.rows}
    assert by_term["hgs"] == by_term["hgs × fsg"] == "not exercised" != by_term["fsg"]
    assert "no_hgs" not in [row[0].value for row in against_full.rows]
    assert "no_hgs" in report.texts["comparison.csv"] and ",hgs," in report.texts["comparison.csv"]


def test_one_table_says_what_acted_in_each_arm(report):
    acted = report.main_grids[1]
    assert acted.headers == ("arm", "cosine", "gain", "fsg %", "hgs %", "lre %", "vs ste %")
    rows = {row[0].value: [cell.text for cell in row[1:]] for row in acted.rows}
    assert rows["full"] == ["0.9900", "1.10", "20", "0.023 idle", "0 idle", "20"]
    assert rows["no_hgs"][3] == "–" and rows["ste"][-1] == "–" and rows["scalar"][-1] == "0.023 idle"
    console = Console(width=200, file=io.StringIO())
    console.print(*report.terminal)
    assert "what acted" in console.file.getvalue()


def test_a_dry_run_warns_of_what_hardly_acts_and_of_nothing_else():
    spec = study(base=PROBED | {"gradient": {"name": "fsg", "slow": {"lr": 1e-9}, "fast": {"lr": 1e-9}}}, design=DESIGN)
    (warning,) = _idle(spec)
    assert warning.startswith("Hardly acts: after 2 of 2 steps of full the direction changes by hgs ")
    rates = {"slow": {"lr": 0.3, "d_conv": 4}, "fast": {"lr": 0.3}}
    spec = study(base=PROBED | {"gradient": {"name": "fsg", "lre": False, "init": "random", **rates}}, design=DESIGN)
    assert list(_idle(spec)) == []
    spec = study(base=PROBED | {"gradient": "ste"}, arms={"full": {}, "slow": {"optimizer": {"lr": 0.001}}})
    assert list(_idle(spec)) == [], "nothing to switch"
