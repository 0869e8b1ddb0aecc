"""How a study ends of which trials failed. In place of Ray every trial ends at once."""

import pytest
from cli_texts import ABLATION, SWEEP

REASON = "diverged: epoch 1: the training loss is [nan]."


def ends(failing):
    """In place of ``run_study``: the trials whose number is in ``failing`` fail, the others finish."""

    def run_study(folder, spec, resources, ledger, *_, **__):
        from fsg.search.configurations import configuration

        if spec.kind == "sweep":
            points = [{"optimizer.lr": 0.001 * (n + 1), "quantizer.bits": 1} for n in range(3)]
            trials = [configuration(spec, point).trial(spec, spec.seed) for point in points]
        else:
            trials = spec.plan.trials()
        for number, trial in enumerate(trials):
            ledger.append("planned", **trial.event())
            ledger.append("started", key=trial.key, attempt=1, node="n", device="cpu")
            if number in failing:
                ledger.append("failed", key=trial.key, reason=REASON)
                continue
            metrics = {"epoch": 4, "val_accuracy": 90.0 + number, "train_loss": 0.1}
            ledger.append("epoch", key=trial.key, metrics=metrics)
            ledger.append("finished", key=trial.key, metrics=metrics)
        return True

    return run_study


@pytest.mark.parametrize(
    ("command", "text", "name", "of"), [("ablate", ABLATION, "small", 4), ("sweep", SWEEP, "search", 3)]
)
@pytest.mark.usefixtures("with_store")
def test_a_study_with_failed_trials_reports_and_exits_with_1_unless_that_is_allowed(
    command, text, name, of, fsg, files, monkeypatch
):
    files(text)
    monkeypatch.setattr("fsg.driver.trials.run_study", ends({1, 2}))
    said = fsg(command, "study.yaml")
    sentence = f"studies/{name}: 2 of {of} trials failed, the first of them: {REASON}"
    assert said.code == 1 and "90.00" in said.out and f"fsg ui {name}" in said.out
    assert (
        said.err == f"fsg: {sentence}\nEverything else stands in the report. With --allow-failed this exits with 0.\n"
    )
    monkeypatch.setattr("fsg.driver.trials.run_study", lambda *told, **named: True)
    assert fsg("resume", name).code == 1
    allowed = fsg("resume", name, "--allow-failed")
    assert (allowed.code, allowed.err) == (0, "") and sentence in allowed.out


@pytest.mark.usefixtures("with_store")
def test_where_all_failed_that_is_said(fsg, files, monkeypatch):
    files(ABLATION)
    monkeypatch.setattr("fsg.driver.trials.run_study", ends({0, 1, 2, 3}))
    said = fsg("ablate", "study.yaml", "--json")
    assert said.code == 1 and f"studies/small: all 4 trials failed, the first of them: {REASON}" in said.err


@pytest.mark.usefixtures("with_store")
def test_a_study_without_failed_trials_says_nothing_of_them(fsg, files, monkeypatch):
    files(ABLATION)
    monkeypatch.setattr("fsg.driver.trials.run_study", ends(set()))
    said = fsg("ablate", "study.yaml")
    assert (said.code, said.err) == (0, "") and "trials failed" not in said.out


def test_the_search_of_an_arm_counts_with_its_study(tmp_path):
    from fsg.driver.run import _failed, _studies_of
    from fsg.record.folder import StudyFolder

    study = StudyFolder(tmp_path / "study")
    search = StudyFolder(study.path / "retune" / "arm")
    for number, place in enumerate((study, search)):
        place.path.mkdir(parents=True)
        place.spec_path.touch()
        ledger = place.ledger()
        ledger.append("planned", key="k", arm="arm", seed=0, config={})
        ledger.append("failed", key="k", reason=f"number {number}")
    assert [_failed(place) for place in _studies_of(study)] == [
        f"{search.path}: all 1 trials failed, the first of them: number 1",
        f"{study.path}: all 1 trials failed, the first of them: number 0",
    ]
