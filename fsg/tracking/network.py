"""A study's data set and best network in MLflow's own types: to compare runs by their data, to take a model from its registry.

The network is the binary one, without hypernetworks, as an exported PyTorch program ("pt2"): it loads without fsg.
Proof: ``tests/tracking/test_network.py``.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch import Tensor, nn

# What decides which images a trial is trained, validated and tested on.
IMAGES = (
    "data.name", "data.root", "data.image_size", "data.validation_share", "data.split", "data.split_seed", "data.split_per_seed",
)  # fmt: skip


def log_dataset(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    """Name the data set of a run from its parameters; once more changes nothing. Equal digests mean the same images and split."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    name = params.get("data.name")
    if name is None:
        return
    drawn = ("seed",) if params.get("data.split_per_seed") == "True" else ()
    source = json.dumps({key: params[key] for key in (*IMAGES, *drawn) if key in params}, sort_keys=True)
    digest = hashlib.sha256(source.encode()).hexdigest()[:8]
    dataset = Dataset(name, digest, source_type="fsg", source=source)
    client.log_inputs(
        run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training, validation and test")])]
    )


def log_network(tracking_uri: str, run_id: str, network: nn.Module, images: Tensor, name: str) -> int:
    """Store ``network`` with the run, and register it under ``name``; returns its version there.

    ``images`` (N, C, H, W), uint8, N at least 2: the input example, from which the signature follows: any number of images
    of that shape in, (N, classes) logits out. Errors are mlflow's own.
    """
    import mlflow

    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # a virtual environment of uv's has no pip
    from mlflow.models import Model, infer_signature

    example = images.numpy()
    signature = infer_signature(example, network(images).numpy())
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(tracking_uri)  # for the processes that this one starts, too
    try:
        import mlflow.pytorch

        client = mlflow.MlflowClient()
        run = client.get_run(run_id)
        # Else MLflow 3.17 makes the model in the active experiment, "Default", whatever experiment the run is of.
        made = client.create_logged_model(run.info.experiment_id, "network", run_id, params=run.data.params)
        logged: Any = Model.log(
            artifact_path=None,
            model_id=made.model_id,
            flavor=mlflow.pytorch,
            run_id=run_id,
            pytorch_model=network,
            serialization_format="pt2",
            signature=signature,
            input_example=example,
            registered_model_name=name,
            pip_requirements=["torch", "mlflow"],
        )
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None: as if it had never been set
    return int(logged.registered_model_version)
