"""A study's data set and best network in MLflow's own types."""

import shutil

import pytest
import torch
from typer.testing import CliRunner

from fsg.cli import app
from fsg.driver.locate import open_study
from fsg.driver.trained import best_network
from fsg.tracking.network import log_dataset
from fsg.tracking.store import open_client


def test_runs_of_the_same_images_have_the_same_data_set_however_often_it_is_said(uri, tmp_path):
    client = open_client(uri)
    experiment = client.create_experiment("x", tmp_path.as_uri())

    def told(**params):
        run = client.create_run(experiment).info.run_id
        for _ in range(2):
            log_dataset(client, run, {name.replace("__", "."): value for name, value in params.items()})
        return [(found.dataset.name, found.dataset.digest) for found in client.get_run(run).inputs.dataset_inputs]

    (first,) = told(data__name="digits", data__split_seed="0", data__batch_size="64")
    assert told(data__name="digits", data__split_seed="0", data__batch_size="256") == [first] and first[0] == "digits"
    assert told(data__name="digits", data__split_seed="1") != [first]
    assert told(data__name="digits", data__split_seed="0", data__split="by_writer") != [first]
    seeds = [told(data__name="digits", data__split_per_seed="True", seed=seed) for seed in ("1", "2")]
    assert seeds[0] != seeds[1], "each seed has images of its own"


def test_the_best_network_is_registered_and_gives_the_logits_of_the_study(uri, tmp_path, finished):
    shutil.copytree(finished.folder.path, tmp_path / "studies" / "small")
    storage = ["--storage", str(tmp_path / "studies"), "--tracking-uri", uri]
    done = CliRunner().invoke(app, ["sync", "small", *storage, "--register"])
    assert done.exit_code == 0 and "Registered as models:/small/1" in done.output
    import mlflow

    record, network, images = best_network(open_study("small", str(tmp_path / "studies")))
    assert not mlflow.is_tracking_uri_set(), "the next process would write into that store"
    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model("models:/small/1")
    mlflow.set_tracking_uri(None)
    with torch.no_grad():
        expected = network(images).numpy()
    assert model.predict(images.numpy()) == pytest.approx(expected, abs=1e-5)
    assert model.predict(images[:1].numpy()).shape == (1, 10), "any number of images"
    (stored,) = open_client(uri).search_logged_models([open_client(uri).get_experiment_by_name("small").experiment_id])
    assert stored.name == "network" and stored.params["gradient.name"]
    assert "uint8" in str(model.metadata.signature.inputs) and model.input_example is not None
    (version,) = open_client(uri).search_model_versions("name = 'small'")
    run = open_client(uri).get_run(version.run_id)
    assert run.data.tags["fsg.trial_key"] == record.key and run.info.status == "FINISHED"
    arm = open_client(uri).get_run(run.data.tags["mlflow.parentRunId"])
    assert [found.dataset.name for found in arm.inputs.dataset_inputs] == ["digits"]
