"""Proof of fsg/search/budget.py: what a study cost, from its events alone."""

import json

import pytest

from fsg.errors import StudyError
from fsg.execution.devices import OF_CLUSTER
from fsg.record.ledger import Ledger
from fsg.search.budget import FollowingMeter, Meter, Spent, hourly_price, reached, used
from fsg.study.search import BudgetSpec, describe_budget


def event(name, key, time, device="NVIDIA H200"):
    about = {"event": name, "key": key, "time": time}
    return about | ({"device": device} if name in ("started", "device") else {})


def meter(events, **options):
    found = Meter(**options)
    for one in events:
        found.see(one)
    return found.spent()


def test_trials_side_by_side_share_the_wall_and_not_the_hours():
    events = [event("planned", "a", 0), event("started", "a", 100), event("started", "b", 1000)]
    events += [event("finished", "a", 3700), event("pruned", "b", 4600)]
    assert meter(events, gpus=0.5) == Spent(2, 4500, 1.0, 0.0)


def test_time_between_two_runs_costs_nothing_and_a_killed_attempt_counts_to_its_last_event():
    events = [event("started", "a", 0), event("epoch", "a", 600), event("started", "a", 90_000)]
    events += [event("finished", "a", 90_600)]
    assert meter(events, gpus=1) == Spent(1, 1200, pytest.approx(1 / 3), 0.0)


def test_a_running_trial_counts_up_to_its_last_event():
    assert meter([event("started", "a", 0), event("epoch", "a", 1800)], gpus=2).gpu_hours == 1.0


def test_a_price_is_of_the_longest_name_in_the_devices_name():
    events = [event("started", "a", 0), event("finished", "a", 3600)]
    prices = {"h200": 4.0, "nv": 1.0, "default": 0.1}
    assert meter(events, gpus=0.5, prices=prices).cost == 2.0
    cpu = [event("started", "a", 0, "AMD EPYC"), event("finished", "a", 3600)]
    assert meter(cpu, cpus=4, prices=prices).cost == pytest.approx(0.4)


def test_a_trial_of_a_cluster_costs_the_dearest_until_it_says_what_it_computes_on():
    prices = {"H200": 4.0, "T4": 0.5, "default": 0.1}
    began = [event("started", "a", 0, OF_CLUSTER["cuda"]), event("epoch", "a", 3600)]
    assert meter(began, gpus=1, prices=prices).cost == 4.0
    assert meter([*began, event("device", "a", 3600, "Tesla T4")], gpus=1, prices=prices).cost == 0.5


def test_a_device_without_a_price_is_refused_by_name():
    with pytest.raises(StudyError, match=r"^budget\.prices has no price for \"AMD EPYC\", only for H200; add it"):
        meter([event("started", "a", 0, "AMD EPYC")], prices={"H200": 4.0})


@pytest.mark.parametrize(
    ("caps", "reason"),
    [
        ({"trials": 3}, None),
        ({"trials": 2}, "budget.trials: 2 of 2 used"),
        ({"wall_time": 100.0}, "budget.wall_time: 4500 s of 100 s used"),
        ({"wall_time": 5000.0, "gpu_hours": 1.0}, "budget.gpu_hours: 1 h of 1 h used"),
        ({"cost": 3.0, "prices": {"a": 1.0}}, "budget.cost: 3.5 of 3 used"),
    ],
)
def test_the_first_cap_that_is_reached_is_named(caps, reason):
    assert reached(BudgetSpec(**caps), Spent(2, 4500, 1.0, 3.5)) == reason


def test_without_a_budget_nothing_is_reached():
    assert reached(None, Spent(10**6, 1e9, 1e9, 1e9)) is None


def test_a_budget_describes_itself():
    budget = BudgetSpec(trials=40, wall_time="8h", gpu_hours=10.0)
    assert describe_budget(budget) == "No trial is begun beyond 40 trials, 8 h of wall time, 10 GPU-hours."


def test_a_ledger_is_read_on_where_it_was_left(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    tail = FollowingMeter(ledger.path, Meter())
    assert tail.spent() == Spent()
    ledger.append("planned", key="a", arm="sweep", seed=0, config={})
    ledger.append("started", key="a", attempt=1, node="n", device="cpu")
    assert tail.spent().trials == 1
    with ledger.path.open("ab") as file:
        file.write(json.dumps({"event": "started"}).encode()[:9])  # half a line, as a kill leaves it
    assert tail.spent().trials == 1


def test_what_is_used_names_each_cap():
    budget = BudgetSpec(trials=40, wall_time="2h", cost=10, prices={"default": 1.0})
    assert used(budget, Spent(12, 1800, 0.0, 2.5)) == "12 of 40 trials, 0.5 of 2 h, 2.5 of 10 cost"


def test_the_longest_name_that_is_part_of_a_device_prices_it():
    prices = {"H200": 3.0, "NVIDIA H200 NVL": 4.0, "default": 0.1}
    assert [hourly_price(prices, d) for d in ("NVIDIA H200", "NVIDIA H200 NVL", "Xeon")] == [3.0, 4.0, 0.1]
    assert hourly_price({}, "Xeon") == 0.0
