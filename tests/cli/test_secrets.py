"""Secrets planted in the environment and in addresses: nothing that a whole study writes or prints holds them."""

import pytest
from cli_texts import ABLATION

PLANTED = {
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-password",
    "MLFLOW_TRACKING_TOKEN": "planted-mlflow-token",
    "AWS_SECRET_ACCESS_KEY": "planted-aws-secret",
    "WANDB_API_KEY": "planted-api-key",
}
IN_ADDRESS = "planted-in-address"


def holding(folder):
    """The files that hold something planted."""
    wanted = [value.encode() for value in (*PLANTED.values(), IN_ADDRESS)]
    return [
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and any(value in path.read_bytes() for value in wanted)
    ]


def recorded(folder, spec, resources, ledger, *_, **__):
    """In place of Ray: every trial of the study ends at once."""

    for trial in spec.plan.trials():
        config, metrics = trial.config.model_dump(mode="json"), {"epoch": 2, "val_accuracy": 90.0, "train_loss": 0.1}
        ledger.append("planned", key=trial.key, arm=trial.arm, seed=trial.seed, config=config)
        ledger.append("epoch", key=trial.key, metrics=metrics)
        ledger.append("finished", key=trial.key, metrics=metrics)
    return True


@pytest.mark.usefixtures("with_store")
def test_a_whole_study_writes_and_prints_no_secret(fsg, files, tmp_path, monkeypatch):
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("fsg.driver.trials.run_study", recorded)
    files(ABLATION, ("[0, 1]", "[0]"), ("analysis: {", "analysis: {interval: null, "))
    away = fsg("ablate", "study.yaml", "--tracking-uri", f"http://me:{IN_ADDRESS}@127.0.0.1:9")
    assert away.code == 0, away.err
    assert "events behind: connection refused" in away.out
    synced = fsg("sync", "small")
    assert synced.code == 0, synced.err
    refused = [
        fsg("sync", "small", "--tracking-uri", f"http://me:{IN_ADDRESS}@127.0.0.1:9"),
        fsg("resume", "small", "--tracking-uri", f"me:{IN_ADDRESS}@host"),
        fsg("ablate", "study.yaml", "--tracking-uri", f"ftp://me:{IN_ADDRESS}@host/x"),
        fsg("resume", f"s3://me:{IN_ADDRESS}@bucket/small"),
        fsg("compare", PLANTED["AWS_SECRET_ACCESS_KEY"]),
    ]
    for said in refused:
        assert said.code == 2 and "Traceback" not in said.err
    for said in (away, synced, *refused):
        for value in (*PLANTED.values(), IN_ADDRESS):
            assert value not in said.out + said.err
    assert holding(tmp_path) == []
