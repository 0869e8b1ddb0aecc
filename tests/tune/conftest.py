"""Studies that train for a second, run through one real Ray."""

import pytest
from tiny_studies import ABLATION, Study


@pytest.fixture
def study(tmp_path, shared_ray):
    """Makes a Study from its specification as plain data."""
    return lambda data: Study(tmp_path, data)


@pytest.fixture(scope="session")
def twin(tmp_path_factory, shared_ray):
    """The small ablation, never interrupted: (study, whether the run said that it is complete)."""
    made = Study(tmp_path_factory.mktemp("twin"), ABLATION)
    return made, made.run()
