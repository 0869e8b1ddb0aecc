"""Contract suites: what every part of a kind must do, as test classes to inherit. fsg's own parts pass the same.

    from fsg.testing import EstimatorContract

    class TestNearness(EstimatorContract):
        config = "nearness"               # as a study writes it; with options {"name": "nearness", "scale": 0.3}
        plugins = "own_estimator.py"      # beside the test's file

One module a kind. pytest is needed, which fsg does not install by itself: ``pip install pytest``; nothing else of fsg imports it.
Proof: ``tests/testing``.
"""

import pytest

# Before they are imported: a failed assertion of a contract shows the values that it compared.
pytest.register_assert_rewrite(
    *(
        f"fsg.testing.{module}"
        for module in (
            "contract", "training", "gradient", "quantizer", "model", "data", "schedule", "optimizer", "metric", "domain",
            "sampler", "scheduler", "design", "backend",
        )
    )
)  # fmt: skip

from fsg.testing.backend import BackendContract  # noqa: E402
from fsg.testing.contract import Contract  # noqa: E402
from fsg.testing.data import DataContract  # noqa: E402
from fsg.testing.design import DesignContract  # noqa: E402
from fsg.testing.domain import DomainContract  # noqa: E402
from fsg.testing.gradient import EstimatorContract  # noqa: E402
from fsg.testing.metric import MetricContract  # noqa: E402
from fsg.testing.model import ModelContract  # noqa: E402
from fsg.testing.optimizer import OptimizerContract  # noqa: E402
from fsg.testing.quantizer import QuantizerContract  # noqa: E402
from fsg.testing.sampler import SamplerContract  # noqa: E402
from fsg.testing.schedule import ScheduleContract  # noqa: E402
from fsg.testing.scheduler import SchedulerContract  # noqa: E402

__all__ = [
    "BackendContract",
    "Contract",
    "DataContract",
    "DesignContract",
    "DomainContract",
    "EstimatorContract",
    "MetricContract",
    "ModelContract",
    "OptimizerContract",
    "QuantizerContract",
    "SamplerContract",
    "ScheduleContract",
    "SchedulerContract",
]
