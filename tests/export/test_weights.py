"""The file of packed weights: what is in it comes back, what was damaged is refused."""

import json

import pytest
import torch

from fsg.errors import CheckpointCorrupt, NewerFormat
from fsg.export.packing import pack
from fsg.export.weights import read_weights, write_weights

pytest.importorskip("safetensors")


def written(path, **about):
    weight = torch.randn(8, 64).sign() * 0.25
    state = {"a.weight": weight, "a.bias": torch.randn(8), "n": torch.tensor(3)}
    write_weights(path, state, {"a.weight": pack(weight)}, {"classes": 10, **about})
    return state


def test_what_was_written_comes_back_and_a_packed_weight_takes_a_bit_for_each(tmp_path):
    from safetensors import safe_open

    state = written(tmp_path / "w")
    about, found = read_weights(tmp_path / "w")
    assert about["classes"] == 10 and about["packed"] == {"a.weight": [8, 64]}
    assert set(found) == set(state) and all(torch.equal(found[name], state[name]) for name in state)
    with safe_open(tmp_path / "w", framework="np") as file:
        assert file.get_tensor("a.weight.bits").shape == (1, 8, 8)
        assert file.get_tensor("a.weight.values").tolist() == [[-0.25, 0.25]]


@pytest.mark.parametrize("place", [-1, -40, 4])
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path, place):
    written(tmp_path / "w")
    damaged = bytearray((tmp_path / "w").read_bytes())
    damaged[place] ^= 1
    (tmp_path / "w").write_bytes(damaged)
    with pytest.raises(CheckpointCorrupt, match="Export it again"):
        read_weights(tmp_path / "w")


def test_a_file_of_someone_else_and_one_of_a_later_fsg_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(CheckpointCorrupt, match="not readable as a network that fsg exported"):
        read_weights(tmp_path / "other")
    save_file({"a": torch.zeros(1)}, tmp_path / "later", metadata={"fsg": json.dumps({"format": 2})})
    with pytest.raises(NewerFormat, match="format is 2, this fsg knows 1"):
        read_weights(tmp_path / "later")
