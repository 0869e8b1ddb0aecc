"""Trials that train together, as an engine sees them: each with its own ledger, checkpoint, end and decisions."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_studies import BASE, ONE_SEED, WILD, LocalStudy, numbers

from fsg.config import TrialConfig
from fsg.execution.packs import PackQueue, PackRun, size_of
from fsg.execution.reports import TrialAssignment
from fsg.execution.trial_run import TrialRun

FUSED = BASE | {"epochs": 3, "fused": True}
RATES = {
    "name": "rates",
    "base": FUSED,
    "seeds": [0, 1],
    "metric": {"name": "val_accuracy", "mode": "max"},
    "arms": {"slow": {"optimizer": {"lr": 0.003}}, "gate": {"gradient": "gate"}},
    "baselines": ["ste", "scalar"],
}
SWEEP = {
    "name": "search",
    "base": FUSED | {"epochs": 4},
    "metric": {"name": "val_accuracy", "mode": "max"},
    "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}},
    "search": {"sampler": "random", "trials": 6, "seed": 0},
    "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
}


class Packed(LocalStudy):
    """A study that LocalEngine runs, in packs of six unless said otherwise."""

    def run(self, listener=None, fuse=6):
        return super().run(listener, fuse=fuse)

    def results(self):
        """(arm, seed, rate) -> status and epochs without times."""
        return {
            (record.arm, record.seed, record.config["optimizer"]["lr"]): (
                record.status,
                list(map(numbers, record.epochs)),
            )
            for record in self.folder.state().trials.values()
        }


@pytest.fixture
def packs(monkeypatch):
    """How many trials each epoch trained together."""
    seen = []
    together = PackRun._together

    def counted(self, members):
        seen.append(len(members))
        return together(self, members)

    monkeypatch.setattr(PackRun, "_together", counted)
    return seen


def in_folder(path, name):
    (path / name).mkdir()
    return path / name


def test_trials_of_equal_networks_train_together_and_end_as_each_by_itself(tmp_path, packs):
    together, apart = Packed(in_folder(tmp_path, "a"), RATES), Packed(in_folder(tmp_path, "b"), RATES)
    assert together.run()
    assert packs == [6, 6, 6], "both arms of ste and scalar with both seeds; gate has no twin"
    assert apart.run(fuse=1)
    assert together.results() == apart.results()
    configs = [record.config for record in together.folder.state().trials.values()]
    assert {c["gradient"]["name"] for c in configs if not c["fused"]} == {"gate"}


def test_the_seeds_of_an_arm_are_neighbours_and_packs_are_of_one_size():
    names = ["ste", "scalar", "gate", "ema", "multi_fc"]
    configs = [
        TrialConfig.model_validate({"gradient": n, "seed": k, "fused": n != "gate"}) for k in range(3) for n in names
    ]
    left = [TrialAssignment(f"{c.gradient.name}{c.seed}", c, Path("last.pt"), {}) for c in configs]

    class Planned(SimpleNamespace):
        ahead = property(lambda self: len(left))

        def take(self, name):
            return left.pop(0) if left else None

    queue = PackQueue(SimpleNamespace(source=Planned()), 16, "pack", slots=2)
    packs = [[member.assignment.key for member in queue.filled([])] for _ in range(6)]
    assert packs[0] == ["ste0", "ste1", "ste2", "scalar0", "scalar1", "scalar2"]
    assert packs[2] == ["ema0", "ema1", "ema2", "multi_fc0", "multi_fc1", "multi_fc2"]
    assert [packs[1], *packs[3:]] == [["gate0"], ["gate1"], ["gate2"], []]


@pytest.mark.parametrize(
    ("trials", "slots", "size"), [(36, 2, 9), (36, 1, 12), (16, 1, 16), (17, 1, 9), (3, 4, 1), (33, 2, 9)]
)
def test_packs_are_as_few_as_there_can_be_and_equal(trials, slots, size):
    assert size_of(trials, 16, slots) == size


def test_each_trial_of_a_pack_is_judged_by_itself(tmp_path):
    study = Packed(tmp_path, SWEEP)
    assert study.run()
    trials = list(study.folder.state().trials.values())
    assert len(trials) == 6 and {t.status for t in trials} == {"finished", "pruned"}
    alone = Packed(in_folder(tmp_path, "alone"), SWEEP)
    assert alone.run(fuse=1)
    for key, (_, epochs) in study.results().items():
        others = alone.results()[key][1]
        common = min(len(epochs), len(others))
        assert epochs[:common] == others[:common], "who is judged with whom changes no epoch"


def test_a_trial_that_diverges_leaves_its_pack(tmp_path, packs):
    slow = {"optimizer": {"lr": 0.001}}
    arms = {"calm": slow, "other": slow | {"gradient": "scalar"}, "wild": {"optimizer": {"lr": 90.0}}}
    data = RATES | ONE_SEED | {"base": FUSED | WILD, "arms": arms, "baselines": []}
    study = Packed(tmp_path, data)
    assert study.run()
    found = {record.arm: record for record in study.folder.state().trials.values()}
    assert found["calm"].status == "finished" and found["wild"].status == "failed"
    assert found["wild"].reason.startswith("diverged: ")
    assert found["other"].status == "finished" and packs[0] == 3 and packs[-1] == 2


def test_a_study_killed_in_the_middle_goes_on_to_the_bit_in_other_packs(tmp_path):
    whole, stopped = Packed(in_folder(tmp_path, "a"), RATES), Packed(in_folder(tmp_path, "b"), RATES)
    assert whole.run()

    class Killed(BaseException):
        pass

    epochs = []

    def kill(event):
        epochs.extend([event] * (event["event"] == "epoch"))
        if len(epochs) == 6:
            raise Killed

    with pytest.raises(Killed):
        stopped.run(listener=kill)
    again = Packed.__new__(Packed)
    again.spec, again.folder = stopped.spec, stopped.folder
    assert again.run(fuse=3)
    assert again.results() == whole.results()


def test_a_pack_that_fails_goes_on_trial_by_trial(tmp_path, monkeypatch):
    import fsg.train.fused as fused

    whole, faulty = Packed(in_folder(tmp_path, "a"), RATES), Packed(in_folder(tmp_path, "b"), RATES)
    assert whole.run()
    real, seen = fused.run_epoch, []

    def failing(trainers, *rest):
        seen.append(len(trainers))
        if len(trainers) > 1:
            raise MemoryError("no room for so many")
        return real(trainers, *rest)

    monkeypatch.setattr(fused, "run_epoch", failing)
    assert faulty.run()
    assert seen.count(6) == 1 and faulty.results() == whole.results()
    assert all(record.attempts == 1 for record in faulty.folder.state().trials.values()), "nothing was a trial's fault"


def test_a_trial_whose_checkpoint_cannot_be_written_ends_alone(tmp_path, monkeypatch):
    """The others of its pack are reported as ever."""
    study = Packed(tmp_path, RATES | {"arms": {"slow": {"optimizer": {"lr": 0.003}}}})
    real, hit = TrialRun.report, SimpleNamespace(key=None)

    def report(self, result):
        hit.key = hit.key or self.assignment.key
        if self.assignment.key == hit.key:
            raise RuntimeError("a fault of one trial")
        return real(self, result)

    monkeypatch.setattr(TrialRun, "report", report)
    study.run()
    statuses = {key: record.status for key, record in study.folder.state().trials.items()}
    assert statuses.pop(hit.key) == "failed" and set(statuses.values()) == {"finished"}
