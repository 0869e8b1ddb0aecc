"""How long property tests look: ``FSG_FUZZ=100 pytest ...`` looks a hundred times as long as CI does."""

import os

from hypothesis import HealthCheck, settings

LONGER = int(os.environ.get("FSG_FUZZ", "1"))


def looking(examples):
    """Settings of a property test: ``examples`` of them in CI."""
    slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]
    return settings(max_examples=examples * LONGER, deadline=None, suppress_health_check=slow)
