"""Weight files: which of them count, and what is read of them."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from radar_fast.errors import ModelError
from radar_fast.models.weights import tensors_of, weight_files

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("weight_map"), inner, max_size=3),
    max_leaves=8,
)


def test_safetensors_come_before_pickles_and_shards_before_a_whole(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    assert weight_files(tmp_path) == [tmp_path / "pytorch_model.bin"]
    (tmp_path / "model.safetensors").touch()
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).touch()
    index = {"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weight_files(tmp_path) == [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]


@given(value=JSON)
def test_any_index_gives_files_beside_it_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    folder = tmp_path_factory.mktemp("index")
    (folder / "model.safetensors.index.json").write_text(json.dumps(value))
    with pytest.raises(ModelError, match=r"index\.json") as caught:
        weight_files(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_both_formats_give_the_same_tensors(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    state = {"b": torch.randn(3, 5).to(dtype), "a": torch.randn(7).to(dtype)}
    save_file(state, tmp_path / "m.safetensors")
    torch.save(state, tmp_path / "m.bin")
    for name in ("m.safetensors", "m.bin"):
        found = dict(tensors_of(tmp_path / name))
        assert found.keys() == state.keys()
        assert all(torch.equal(found[key], value) and found[key].dtype == dtype for key, value in state.items())
