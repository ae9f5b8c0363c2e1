"""Weight files: which of them count, and what is read of them."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from radar_fast.errors import IncompleteError, ModelError
from radar_fast.models.weights import spare_weights, tensors_of, weight_files

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("weight_map"), inner, max_size=3),
    max_leaves=8,
)


def index_of(folder: Path, *names: str, ending: str = "model.safetensors.index.json") -> None:
    (folder / ending).write_text(json.dumps({"weight_map": {str(number): name for number, name in enumerate(names)}}))


def test_safetensors_come_before_pickles(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    assert weight_files(tmp_path) == [tmp_path / "pytorch_model.bin"]
    assert spare_weights(tmp_path) == []
    (tmp_path / "model.safetensors").touch()
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]
    assert spare_weights(tmp_path) == ["pytorch_model.bin"]


def test_an_index_picks_among_files(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors", "old.safetensors", "training_args.bin"):
        (tmp_path / name).touch()
    index_of(tmp_path, "b.safetensors", "a.safetensors", "b.safetensors")
    assert weight_files(tmp_path) == [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]


@pytest.mark.parametrize("name", ["n" * 300, "a\0b", "\n", "a\nb"])
def test_an_index_that_names_what_no_file_is_called(tmp_path: Path, name: str) -> None:
    index_of(tmp_path, name)
    with pytest.raises(ModelError, match="which") as caught:
        weight_files(tmp_path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("names", "index", "told"),
    [
        (["model.safetensors", "a.safetensors"], "model.safetensors.index.json", "two sets of weights, model.safe"),
        (["model.safetensors", "a.safetensors"], None, "two sets of weights, model.safetensors and a.safetensors"),
        (["consolidated.safetensors", "a.safetensors"], "model.safetensors.index.json", "weights, consolidated.safe"),
        (["pytorch_model.bin", "a.bin"], "pytorch_model.bin.index.json", "two sets of weights, pytorch_model.bin"),
        (["pytorch_model.bin", "other.bin"], None, "two sets of weights, pytorch_model.bin and other.bin"),
    ],
)
def test_two_sets_are_refused_where_the_libraries_disagree(
    tmp_path: Path, names: list[str], index: str | None, told: str
) -> None:
    for name in names:
        (tmp_path / name).touch()
    if index is not None:
        index_of(tmp_path, names[-1], ending=index)
    with pytest.raises(ModelError, match=f"{told}.*Remove the one that is not meant"):
        weight_files(tmp_path)


@pytest.mark.parametrize(
    ("names", "index", "told"),
    [
        (["model-00001-of-00002.safetensors"], [], "model-00001-of-00002.safetensors and no model.safetensors.index"),
        (["pytorch_model-00002-of-00002.bin"], [], "still being written. .* no pytorch_model.bin.index.json"),
        (
            ["a.safetensors"],
            ["a.safetensors", "b.safetensors"],
            "names b.safetensors, which is not in the folder; wait",
        ),
    ],
)
def test_what_may_still_come_is_incomplete(tmp_path: Path, names: list[str], index: list[str], told: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    if index:
        index_of(tmp_path, *index)
    with pytest.raises(IncompleteError, match=told):
        weight_files(tmp_path)


def test_without_weights(tmp_path: Path) -> None:
    (tmp_path / "training_args.bin").touch()
    with pytest.raises(ModelError, match="no weights in it, so that the model cannot be loaded"):
        weight_files(tmp_path)


@pytest.mark.parametrize("name", ["../away.safetensors", "/tmp/away.safetensors", "in/a.safetensors", "..", "./a"])
def test_an_index_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "away.safetensors").touch()
    folder = tmp_path / "in"
    (folder / "in").mkdir(parents=True)
    (folder / "a.safetensors").touch()
    (folder / "in" / "a.safetensors").touch()
    index_of(folder, "a.safetensors", name)
    with pytest.raises(ModelError, match="which is no file beside it") as caught:
        weight_files(folder)
    assert not isinstance(caught.value, IncompleteError)


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
