"""Bits and back: equal for every quantiser, in the layout that docs/export.md states."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsg.config import parse_trial
from fsg.export.packing import pack, unpack
from fsg.parts import names
from fsg.quantizers import make_quantizer

SHAPE = (6, 5, 3, 3)  # 45 weights a channel: they do not fill their last byte


def quantised(config, shape=SHAPE):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    weight[0, 0, 0, 0] = 0.0
    return make_quantizer(parse_trial({"quantizer": config, "gradient": "ste"}).quantizer)(weight).value


def equal(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)


@pytest.mark.parametrize(
    ("config", "bits", "tables"),
    [
        ("bwn", 1, 1), ("bwn_channel", 1, 6), ("xnor", 1, 6), ("recu", 1, 1), ("siman", 1, 1), ("adabin", 1, 6),
        ({"name": "xnor", "standardize": True, "scale": "power_of_two"}, 1, 1), ("bwn_reference", 2, 1),
        *(({"name": "dorefa", "bits": bits}, bits, 1) for bits in range(1, 6)),
    ],
)  # fmt: skip
def test_a_quantised_weight_comes_back_equal_at_the_bits_that_its_values_need(config, bits, tables):
    weight = quantised(config)
    packed = pack(weight)
    assert (packed.bits_per_weight, len(packed.values)) == (bits, tables)
    assert packed.bits.shape == (bits, 6, 6) and packed.bits.dtype == torch.uint8
    assert equal(unpack(packed), weight)


@pytest.mark.parametrize("bits", [6, 7, 8])
def test_levels_that_are_many_need_a_weight_that_is_large(bits):
    weight = quantised({"name": "dorefa", "bits": bits}, (32, 64, 3, 3))
    packed = pack(weight)
    assert packed.bits_per_weight == bits and equal(unpack(packed), weight)


def test_each_of_our_quantizers_is_packed_here():
    assert set(names("quantizer")) - {"none"} == {
        "dorefa", "bwn", "bwn_channel", "bwn_reference", "xnor", "recu", "siman", "adabin"
    }  # fmt: skip


@given(st.data())
def test_any_weight_of_few_values_comes_back_equal(data):
    outputs, size = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 40))
    values = data.draw(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=9))
    places = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=outputs * size, max_size=outputs * size))
    weight = torch.tensor(values)[torch.tensor(places)].view(outputs, size)
    packed = pack(weight)
    if packed is None:
        assert weight.nbytes <= 4 * outputs * size
    else:
        assert packed.size < weight.nbytes and equal(unpack(packed), weight)


def test_a_bit_is_the_sign_also_in_a_channel_of_one_value():
    weight = torch.full((2, 64), 0.5)
    weight[1] *= -1
    packed = pack(weight)
    assert packed.values.tolist() == [[-0.5, 0.5]] and packed.bits[0].tolist() == [[255] * 8, [0] * 8]
    weight[1] = -0.25
    packed = pack(torch.cat([weight, torch.randn(1, 64).sign()]))
    assert packed.values.tolist() == [[-0.5, 0.5], [-0.25, 0.25], [-1, 1]] and packed.bits[0, 1].tolist() == [0] * 8


def test_a_weight_that_bits_would_not_make_smaller_is_left_alone():
    assert pack(torch.randn(16, 64)) is None
    assert pack(torch.tensor([[1.0, -1.0]])) is None


def test_the_layout_is_the_one_that_the_page_gives_in_c(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    (tmp_path / "weight.c").write_text(re.search(r"```c\n(.*?)```", page, re.DOTALL)[1])
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "weight.so", tmp_path / "weight.c"], check=True)
    decode = ctypes.CDLL(str(tmp_path / "weight.so")).weight
    decode.restype = ctypes.c_float
    for config in ("adabin", {"name": "dorefa", "bits": 3}):
        weight = quantised(config).flatten(1)
        packed = pack(weight)
        bits, values = packed.bits.numpy(), packed.values.contiguous().numpy()
        outputs, size = weight.shape
        found = [
            decode(
                ctypes.c_void_p(bits.ctypes.data), ctypes.c_void_p(values.ctypes.data), len(bits), outputs, size,
                len(values), o, i,
            )
            for o in range(outputs) for i in range(size)
        ]  # fmt: skip
        assert found == weight.flatten().tolist()
