"""What `fsg bench step` puts beside the straight-through estimator."""

from fsg.bench import step
from fsg.bench.measure import interleaved
from fsg.catalogue.surrogates import Surrogate
from fsg.config import parse_trial
from fsg.parts import find_part, names


def test_every_estimator_curve_quantizer_and_optimizer_of_fsg_has_an_arm():
    trials = [parse_trial(changes) for changes in step.arms().values()]
    for kind in ("gradient", "quantizer", "optimizer"):
        own = {name for name in names(kind) if find_part(kind, name).source is None}
        assert own <= {getattr(trial, kind).name for trial in trials}
    curves = {Surrogate(shape=shape).shape.name for shape in step.SHAPES}
    assert curves == {trial.gradient.shape.name for trial in trials if trial.gradient.name == "surrogate"}
    signs = [activations for trial in trials if (activations := trial.model.activations) != "float"]
    assert curves == {"clipped" if sign == "sign" else sign.surrogate.name for sign in signs}


def test_each_arm_but_ste_is_a_ratio_to_ste(monkeypatch):
    few = {name: step.arms()[name] for name in ("ste", "mstgd", "optimizer lcam")}
    monkeypatch.setattr(step, "arms", lambda: few)
    found = step.run(rounds=2)
    assert [row.case.partition(" / ")[0] for row in found] == ["mstgd", "optimizer lcam"]
    assert all(row.value > 0 and row.unit == "x" for row in found)


def test_a_subject_is_timed_by_the_clock_that_is_given():
    ticks = iter(range(100))
    assert interleaved({"a": lambda: None, "b": lambda: next(ticks)}, 2, lambda: next(ticks)) == {
        "a": [1, 1],
        "b": [2, 2],
    }
