"""What a user can mend: exit code 2, one message with file and line, nothing started, nothing written."""

import pytest
from cli_texts import ABLATION, SWEEP

pytestmark = pytest.mark.usefixtures("nothing_starts")
FACTORIAL = ABLATION.replace("arms:\n  learnt: {gradient: fsg}\n", "design: {kind: full_factorial, switches: [lre]}\n")
FACTORIAL = FACTORIAL.replace("gradient: ste", "gradient: fsg").replace("reference: learnt", "reference: full")


def refused(said, *pieces):
    assert said.code == 2
    assert said.out == ""
    assert "Traceback" not in said.err
    for piece in pieces:
        assert piece in said.err


ABLATIONS = {
    "unknown key": ([("epochs: 2", "epoch: 2")], 5, ['"base.epoch"', 'Did you mean "base.epochs"?']),
    "unknown key of an arm": ([("gradient: fsg", "gradent: fsg")], 10, ['"learnt"', "gradent", '"gradient"']),
    "wrong type": ([("epochs: 2", "epochs: two")], 5, ["two", "valid integer"]),
    "out of range": ([("epochs: 2", "epochs: 0")], 5, ["is 0", "greater than or equal to 1"]),
    "unknown kind": ([("{gradient: fsg}", "{gradient: fgs}")], 10, ["fgs", '"fsg"']),
    "zero seeds": ([("[0, 1]", "[]")], 7, ["zero seeds"]),
    "minus one seed": ([("[0, 1]", "-1")], 7, ["-1"]),
    "a seed given twice": ([("[0, 1]", "[1, 1]")], 7, ["twice"]),
    "two arms of one name": ([("learnt:", "ste:"), ("reference: learnt, ", "")], 11, ['arm "ste" is given twice']),
    "an arm written twice": ([("  learnt:", "  learnt: {}\n  learnt:")], 11, ["learnt"]),
    "two arms alike": ([("{gradient: fsg}", "{gradient: ste}")], 11, ['arm "ste" is the same trial as arm "learnt"']),
    "an unknown reference": ([("reference: learnt", "reference: learned")], 12, ['Did you mean "learnt"?']),
    "an unknown metric": ([("name: val_accuracy", "name: val_acuracy")], 8, ["val_acuracy", '"val_accuracy"']),
    "no YAML": ([("[0, 1]", "[0, 1")], 8, ["not valid YAML"]),
}


@pytest.mark.parametrize("case", ABLATIONS)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_an_impossible_ablation_is_refused_at_its_line(case, dry, fsg, files, tmp_path):
    changes, line, pieces = ABLATIONS[case]
    files(ABLATION, *changes)
    said = fsg("ablate", "study.yaml", *dry)
    refused(said, f"fsg: study.yaml:{line}: ", *pieces)
    assert len(said.err.strip().splitlines()) == 1, "one message"
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"], "something was written"


SWITCHES = {
    "a switch that is none": ([("[lre]", "[lra]")], ['"lra"', '"lre"']),
    "a switch twice": ([("[lre]", "[lre, lre]")], ["twice"]),
    "switches of an estimator without any": ([("gradient: fsg", "gradient: ema")], ['"ema"', "lre"]),
    "no switches": ([("[lre]", "[]")], ["switches"]),
    "another design": ([("full_factorial", "full_factorail")], ["full_factorail"]),
}


@pytest.mark.parametrize("case", SWITCHES)
def test_switches_that_cannot_be_are_refused_at_the_design(case, fsg, files, tmp_path):
    changes, pieces = SWITCHES[case]
    files(FACTORIAL, *changes)
    refused(fsg("ablate", "study.yaml"), "fsg: study.yaml:9: ", *pieces)
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]


SWEEPS = {
    "a path that is none": ([("optimizer.lr", "optimizer.rl")], 5, ["optimizer.rl", "optimizer.lr"]),
    "a domain that is none": ([("loguniform", "loguniforn")], 5, ["loguniforn", '"loguniform"']),
    "a range upside down": ([("[1e-4, 1e-1]", "[1e-1, 1e-4]")], 5, ["low must be below high"]),
    "a range beyond the field": ([("[1, 2]", "[1, 20]")], 6, ["20"]),
    "no trials": ([("{trials: 3}", "{trials: 0}")], 7, ["trials"]),
    "a scheduler that can stop nobody": ([("grace_epochs: 1", "grace_epochs: 4")], 8, ["4"]),
    "a sampler that is none": ([("{trials: 3}", "{trials: 3, sampler: tep}")], 7, ["tep", "tpe"]),
}


@pytest.mark.parametrize("case", SWEEPS)
def test_an_impossible_sweep_is_refused_at_its_line(case, fsg, files, tmp_path):
    changes, line, pieces = SWEEPS[case]
    files(SWEEP, *changes)
    refused(fsg("sweep", "study.yaml"), f"fsg: study.yaml:{line}: ", *pieces)
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]


def test_a_missing_file_names_the_nearest(fsg, files):
    files(ABLATION)
    refused(fsg("ablate", "stuby.yaml"), "stuby.yaml: no such file.", 'Did you mean "study.yaml"?')


@pytest.mark.parametrize(("command", "text", "other"), [("sweep", ABLATION, "ablate"), ("ablate", SWEEP, "sweep")])
def test_the_other_kind_of_study_names_its_command(command, text, other, fsg, files, tmp_path):
    files(text)
    refused(fsg(command, "study.yaml"), f"fsg {other} study.yaml")
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_missing_cifar_folder_says_how_to_get_it(name, fsg, files, tmp_path):
    files(ABLATION, ("data: {name: digits, ", f"data: {{name: {name}, root: images, "))
    refused(fsg("ablate", "study.yaml"), f"fsg: {name}: ", str(tmp_path / "images"), "data.download=true", "md5")
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"], "a study of missing images was begun"


def test_a_damaged_cifar_folder_says_what_is_damaged(fsg, files, tmp_path):
    batches = tmp_path / "images" / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    (batches / "data_batch_1").write_bytes(b"half a download")
    files(ABLATION, ("data: {name: digits, ", "data: {name: cifar10, root: images, "))
    refused(fsg("ablate", "study.yaml"), "data_batch_1 damaged", "data.download=true")
    assert not (tmp_path / "studies").exists()


def test_images_searched_by_a_sweep_are_looked_for_too(fsg, files, tmp_path):
    files(SWEEP, ("  quantizer.bits", "  data.name: cifar10\n  quantizer.bits"))
    refused(fsg("sweep", "study.yaml"), "fsg: cifar10: ")
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize(
    ("arguments", "pieces"),
    [
        (["--set", "epochs"], ["--set 'epochs'", "key.path=value"]),
        (["--set", "epochs=0"], ["epochs"]),
        (["--set", "gradient.slow_nett.lr=1"], ["slow_nett"]),
        (["--set", "device=tpu"], ["device"]),
        (["trial.yaml"], ["trial.yaml: no such file."]),
        (["--from", "nothing#best"], ['no study "nothing"']),
        (["--from", "#best"], ["names no study"]),
        (["study.yaml", "--from", "x#best"], ["give one of them"]),
        (["--checkpoint", "."], ["is a folder"]),
    ],
)
def test_an_impossible_trial_is_refused(arguments, pieces, fsg, files):
    refused(fsg("train", *arguments), *pieces)


@pytest.mark.parametrize("command", ["resume", "compare", "ui"])
def test_an_unknown_study_names_those_there_are(command, fsg, tmp_path):
    (tmp_path / "studies" / "small").mkdir(parents=True)
    (tmp_path / "studies" / "small" / "spec.yaml").write_text(ABLATION)
    refused(fsg(command, "smal"), 'no study "smal"', 'Did you mean "small"?')


@pytest.mark.parametrize("uri", ["./mlruns", "htp://server", "file:///tmp/mlruns"])
def test_a_store_that_mlflow_cannot_use_is_refused_before_anything_is_written(uri, fsg, files, tmp_path, monkeypatch):
    files(ABLATION)
    refused(fsg("ablate", "study.yaml", "--tracking-uri", uri), f'--tracking-uri is "{uri}"', "sqlite:///mlflow.db")
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize("option", [["--cpus-per-trial", "0"], ["--gpus-per-trial", "-1"], ["--no-such-option"]])
def test_an_impossible_option_is_refused(option, fsg, files, tmp_path):
    files(ABLATION)
    refused(fsg("ablate", "study.yaml", *option), option[0])
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]


def test_a_storage_that_cannot_be_written_is_named(fsg, files, tmp_path):
    files(ABLATION)
    (tmp_path / "full").write_text("a file, no folder")
    refused(fsg("ablate", "study.yaml", "--storage", "full"), "full/small: cannot be written", "--storage")


def test_a_study_that_changed_under_its_name_is_refused_with_what_changed(fsg, files, tmp_path):
    (tmp_path / "studies" / "small").mkdir(parents=True)
    (tmp_path / "studies" / "small" / "spec.yaml").write_text(ABLATION)
    files(ABLATION, ("epochs: 2", "epochs: 3"))
    refused(fsg("ablate", "study.yaml"), "base.epochs: was 2, is 3")
    assert not (tmp_path / "mlflow.db").exists()


def test_a_damaged_ledger_is_named_by_its_line_and_who_mends_it(fsg, files, tmp_path):
    study = tmp_path / "studies" / "small"
    study.mkdir(parents=True)
    (study / "spec.yaml").write_text(ABLATION)
    (study / "ledger.jsonl").write_text('{"event": "study"\n')
    refused(fsg("compare", "small"), "ledger.jsonl:1: damaged line", "fsg resume")
