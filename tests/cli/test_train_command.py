"""``fsg train``: one trial without a study."""

import pytest

TINY = ["--set", "gradient=ste", "--set", "data.batch_size=256"]


def test_settings_are_laid_over_the_defaults_and_each_epoch_is_a_line(fsg, tmp_path):
    said = fsg("train", *TINY, "--set", "epochs=2")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].startswith("digits_cnn on digits, quantizer dorefa, gradient ste,")
    assert lines[1].split()[:2] == ["epoch", "train_loss"]
    assert [line.split()[0] for line in lines[2:4]] == ["1", "2"]
    assert lines[4].startswith("Test accuracy ")
    assert list(tmp_path.iterdir()) == [], "nothing is written unasked"


def test_a_file_gives_the_trial_and_a_setting_changes_it(fsg, files):
    files("gradient: ema\nepochs: 3\ndata: {batch_size: 256}\n", name="trial.yaml")
    said = fsg("train", "trial.yaml", "--set", "epochs=1")
    assert said.code == 0
    assert "gradient ema" in said.out.splitlines()[0]
    assert len(said.out.splitlines()) == 4


@pytest.mark.parametrize("gradient", ["ste", "fsg"])
def test_an_interrupted_training_goes_on_from_its_checkpoint_to_the_same_end(gradient, fsg, monkeypatch, tmp_path):
    from fsg.train import Trainer

    arguments = ["train", *TINY, "--set", f"gradient={gradient}", "--set", "epochs=3", "--checkpoint", "last.pt"]
    whole = fsg(*arguments[:-2])
    run_epoch = Trainer.run_epoch

    def interrupted(trainer, *rest):
        if trainer.epoch == 2:
            raise KeyboardInterrupt
        return run_epoch(trainer, *rest)

    monkeypatch.setattr(Trainer, "run_epoch", interrupted)
    said = fsg(*arguments)
    assert said.code == 130
    assert said.err == "fsg: interrupted. What was finished is recorded.\n"
    monkeypatch.setattr(Trainer, "run_epoch", run_epoch)
    again = fsg(*arguments)
    assert again.code == 0
    assert again.out.startswith("Going on from epoch 2 of last.pt.")

    def without_times(line):
        return line.split()[:-1]

    assert without_times(again.out.splitlines()[-2]) == without_times(whole.out.splitlines()[-2])
    assert again.out.splitlines()[-1] == whole.out.splitlines()[-1]
    finished = fsg(*arguments)
    assert (finished.code, finished.out.splitlines()[-1]) == (0, whole.out.splitlines()[-1])


def test_a_checkpoint_of_another_trial_is_refused(fsg):
    assert fsg("train", *TINY, "--set", "epochs=1", "--checkpoint", "last.pt").code == 0
    said = fsg("train", *TINY, "--set", "epochs=1", "--set", "seed=1", "--checkpoint", "last.pt")
    assert said.code == 1
    assert said.err.startswith("fsg: the checkpoint belongs to another trial: seed was 0, is 1")


def test_a_trial_that_diverges_says_where_and_exits_with_1(fsg):
    wild = ["optimizer.name=sgd", "optimizer.lr=100", "optimizer.weight_decay=1", "quantizer=bwn", "data.batch_size=32"]
    said = fsg("train", "--set", "gradient=ste", *(word for setting in wild for word in ("--set", setting)))
    assert said.code == 1
    assert said.err.startswith("fsg: epoch ") and "not finite" in said.err
    assert "Traceback" not in said.err


def test_a_checkpoint_that_cannot_be_written_is_one_message(fsg, tmp_path):
    (tmp_path / "file").write_text("no folder")
    said = fsg("train", *TINY, "--set", "epochs=1", "--checkpoint", "file/last.pt")
    assert said.code == 1
    assert said.err.startswith("fsg: ") and "file" in said.err and "Traceback" not in said.err
