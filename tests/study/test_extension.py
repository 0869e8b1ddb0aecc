"""Proof of fsg/study/extension.py and of extending a study's folder: what has run still counts, and nothing else changes."""

import pytest

from fsg.errors import StudyError
from fsg.record.folder import StudyFolder
from fsg.study.extension import extends

RETUNE = "retune: {trials_per_arm: 4, space: {optimizer.lr: {loguniform: [1e-4, 1e-1]}}, spaces: {}}\n"
MORE = [
    ("more seeds", ("[0, 1]", "[0, 1, 7]")),
    ("seeds in another order", ("[0, 1]", "[1, 0]")),
    ("a rule that adds seeds", ("[0, 1]", "{min: 3, max: 9, until: half_width <= 1}")),
    ("one more baseline", ("[ste]", "[ste, ema]")),
    ("one more arm", ("baselines", "arms: {long: {epochs: 3}}\nbaselines")),
    ("one more switch", ("[lre]", "[lre, hgs]")),
    ("another question", ("Does it work?", "What then?")),
    ("another analysis", ("interval: 0.9", "interval: 0.99")),
    ("another device", ("epochs: 2", "epochs: 2\n  device: cpu")),
    ("a design with the same arms", ("full_factorial", "leave_one_out")),
]
OTHER = [
    ("fewer seeds", ("[0, 1]", "[0, 2]")),
    ("an arm less", ("[ste]", "[ema]")),
    ("another base", ("epochs: 2", "epochs: 3")),
    ("another metric", ("val_accuracy", "val_accuracy_ema")),
    ("another name", ("name: small", "name: other")),
    ("a tuning", ("baselines", f"{RETUNE}baselines")),
]


@pytest.mark.parametrize("change", [case[1] for case in MORE], ids=[case[0] for case in MORE])
def test_more_of_the_same_extends_a_study(files, ablation, ablation_text, change):
    assert extends(ablation, files.load(ablation_text, change))


@pytest.mark.parametrize("change", [case[1] for case in OTHER], ids=[case[0] for case in OTHER])
def test_anything_else_is_another_study(files, ablation, ablation_text, change):
    assert not extends(ablation, files.load(ablation_text, change))


def test_every_study_extends_itself(ablation, sweep):
    assert extends(ablation, ablation) and extends(sweep, sweep)
    assert not extends(ablation, sweep) and not extends(sweep, ablation)


def test_an_extension_cannot_be_taken_back(files, ablation, ablation_text):
    assert not extends(files.load(ablation_text, ("[0, 1]", "[0, 1, 2]")), ablation)


def test_a_rule_that_adds_seeds_cannot_change_once_begun(files, ablation_text):
    def rule(text):
        return files.load(ablation_text, ("[0, 1]", text))

    began = rule("{min: 3, max: 9, until: half_width <= 1}")
    assert extends(began, rule("{min: 3, max: 9, until: {half_width: 1}}"))
    for changed in (
        "{min: 3, max: 10, until: half_width <= 1}",
        "{min: 3, max: 9, until: half_width <= 2}",
        "[0, 1, 2, 3]",
    ):
        assert not extends(began, rule(changed))


def test_the_space_of_a_new_arm_may_be_added_and_no_other_changed(files, ablation_text):
    def tuned(spaces, baselines="[ste]"):
        return files.load(
            ablation_text,
            ("baselines: [ste]", f"{RETUNE.replace('spaces: {}', f'spaces: {spaces}')}baselines: {baselines}"),
        )

    space = "{optimizer.lr: {loguniform: [1e-3, 1e-1]}}"
    assert extends(tuned("{}"), tuned(f"{{ema: {space}}}", "[ste, ema]"))
    assert not extends(tuned("{}"), tuned(f"{{ste: {space}}}"))


def test_components_in_another_order_name_other_arms(files, ablation_text):
    one = files.load(ablation_text, ("switches: [lre]", "components: {a: [hgs], b: [lre]}"))
    other = files.load(ablation_text, ("switches: [lre]", "components: {b: [lre], a: [hgs]}"))
    assert not extends(one, other)


# The folder -----------------------------------------------------------------------------------------------------------
def test_an_extended_study_goes_on_in_its_folder_and_keeps_its_trials(files, ablation, ablation_text, tmp_path):
    folder = StudyFolder.create_or_open(ablation, tmp_path)
    before = folder.spec_path.read_bytes()
    done = ablation.plan.trials()[0]
    folder.ledger().append("planned", key=done.key, arm=done.arm, seed=done.seed, config={})
    extended = files.load(ablation_text, ("[0, 1]", "[0, 1, 2]"), ("[ste]", "[ste, ema]"))
    again = StudyFolder.create_or_open(extended, tmp_path)
    assert again.spec() == extended
    assert (folder.path / "spec.1.yaml").read_bytes() == before
    assert done.key in {trial.key for trial in again.spec().plan.trials()} & set(again.state().trials)


def test_every_specification_that_a_study_had_is_kept(files, ablation, ablation_text, tmp_path):
    folder = StudyFolder.create_or_open(ablation, tmp_path)
    for seeds in ("[0, 1, 2]", "[0, 1, 2, 3]"):
        StudyFolder.create_or_open(files.load(ablation_text, ("[0, 1]", seeds)), tmp_path)
    assert sorted(path.name for path in folder.path.glob("spec*")) == ["spec.1.yaml", "spec.2.yaml", "spec.yaml"]


def test_another_device_rewrites_nothing(files, ablation, ablation_text, tmp_path):
    folder = StudyFolder.create_or_open(ablation, tmp_path)
    StudyFolder.create_or_open(files.load(ablation_text, ("epochs: 2", "epochs: 2\n  device: cpu")), tmp_path)
    assert [path.name for path in folder.path.glob("spec*")] == ["spec.yaml"]


def test_components_in_another_order_are_refused_with_the_reason(files, ablation_text, tmp_path):
    StudyFolder.create_or_open(
        files.load(ablation_text, ("switches: [lre]", "components: {a: [hgs], b: [lre]}")), tmp_path
    )
    other = files.load(ablation_text, ("switches: [lre]", "components: {b: [lre], a: [hgs]}"))
    with pytest.raises(StudyError, match="the order of its components"):
        StudyFolder.create_or_open(other, tmp_path)


def test_a_study_keeps_its_own_copy_of_the_published_table(files, ablation_text, tmp_path):
    table = files.path.parent / "theirs.csv"
    table.write_text("method,accuracy\nste,80.7\n")
    spec = files.load(ablation_text, ("baselines", "published: theirs.csv\nbaselines"))
    folder = StudyFolder.create_or_open(spec, tmp_path / "studies")
    table.unlink()
    assert folder.spec().published == str(folder.published_path.resolve())
    assert folder.published_path.read_text() == "method,accuracy\nste,80.7\n"


def test_another_published_table_is_no_other_study(files, ablation_text, tmp_path):
    table = files.path.parent / "theirs.csv"
    table.write_text("method,accuracy\nste,80.7\n")
    spec = files.load(ablation_text, ("baselines", "published: theirs.csv\nbaselines"))
    folder = StudyFolder.create_or_open(spec, tmp_path / "studies")
    StudyFolder.create_or_open(folder.spec(), tmp_path / "studies")
    assert not (folder.path / "spec.1.yaml").exists()
    table.write_text("method,accuracy\nste,80.8\n")
    StudyFolder.create_or_open(spec, tmp_path / "studies")
    assert folder.published_path.read_text().endswith("80.8\n")
