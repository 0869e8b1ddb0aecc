"""CIFAR-10 and CIFAR-100 pass the contract of data sets, on files in their own format."""

import pytest

from fsg.testing import DataContract


class TestCifar10(DataContract):
    @pytest.fixture(autouse=True)
    def files(self, fake_cifar10):
        type(self).config = {"name": "cifar10", "root": str(fake_cifar10), "batch_size": 16}


class TestCifar100(DataContract):
    @pytest.fixture(autouse=True)
    def files(self, fake_cifar100):
        type(self).config = {"name": "cifar100", "root": str(fake_cifar100), "batch_size": 16}
