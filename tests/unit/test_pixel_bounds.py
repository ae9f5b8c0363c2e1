"""Pixel bounds that a checkpoint brings along."""

import json
from pathlib import Path

import pytest

from radar_fast.demo.series import COMMON
from radar_fast.demo.show import PIXELS
from radar_fast.errors import ModelError
from radar_fast.models.bounds import BOUNDS, pixel_bounds
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol


def checkpoint(folder: Path, bounds: object = None, **config: object) -> Checkpoint:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_vl", **config}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"min_pixels": 3136, "max_pixels": 12845056}))
    if bounds is not None:
        (folder / BOUNDS).write_text(json.dumps(bounds))
    return Checkpoint.open(folder)


def test_they_hold_where_no_option_is_given(tmp_path: Path) -> None:
    own = checkpoint(tmp_path / "own", {"min_pixels": 784, "max_pixels": 3136})
    assert open_protocol("qwen2vl", own).pixels == (784, 3136)
    assert open_protocol("qwen2vl", own, max_pixels=401408).pixels == (200704, 401408)
    assert open_protocol("qwen2vl", own).settings["max_pixels"] == 3136, "which is how a run's identity knows of them"


def test_those_of_the_image_processor_do_not(tmp_path: Path) -> None:
    assert open_protocol("qwen2vl", checkpoint(tmp_path / "plain")).pixels == (200704, 602112)


def test_the_demos_checkpoints_have_them() -> None:
    assert pixel_bounds(COMMON) == (PIXELS, PIXELS)


@pytest.mark.parametrize(
    "bounds",
    [
        {"min_pixels": 784},
        {"min_pixels": 784, "max_pixels": "3136"},
        {"min_pixels": 1, "max_pixels": 2, "x": 3},
        [1, 2],
    ],
)
def test_anything_else_in_the_file_is_an_error(tmp_path: Path, bounds: object) -> None:
    with pytest.raises(ModelError, match=r"radar_fast\.json: takes min_pixels and max_pixels"):
        open_protocol("qwen2vl", checkpoint(tmp_path / "own", bounds))


def test_a_protocol_of_fixed_sizes_says_so(tmp_path: Path) -> None:
    own = checkpoint(tmp_path / "own", {"min_pixels": 784, "max_pixels": 3136})
    with pytest.raises(ModelError, match=r"radar_fast\.json: --protocol llava fixes the size"):
        open_protocol("llava", own)


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    own = checkpoint(tmp_path / "own")
    (tmp_path / "own" / BOUNDS).write_text("{")
    with pytest.raises(ModelError, match=r"radar_fast\.json: cannot be read"):
        open_protocol("qwen2vl", own)
