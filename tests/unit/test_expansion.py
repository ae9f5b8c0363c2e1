"""What becomes of a prompt with images is learned by the shapes of their features, and used once seen to be right."""

import torch

from radar_fast.engines.encode.expansion import MOST, Expansions, Made

IMAGE, PIECE = 9, 8


def features(side: int) -> dict[str, torch.Tensor]:
    return {"pixels": torch.zeros(side * side, 3), "grid": torch.tensor([[1, side, side]])}


def processed(prefix: list[int], side: int, extra: int = 0) -> Made:
    ids = [part for token in prefix for part in ([7, *[IMAGE] * side * side, PIECE] if token == IMAGE else [token])]
    ids += [5] * extra
    return ids, features(side), {"mm_token_type_ids": (torch.tensor(ids) == IMAGE).long()}


def test_a_second_prompt_of_the_shape_proves_it() -> None:
    known = Expansions(IMAGE, torch.float32)
    known.learn([1, IMAGE, 2], features(2), processed([1, IMAGE, 2], 2))
    assert not known.proven
    known.learn([3, 3, IMAGE], features(2), processed([3, 3, IMAGE], 2))
    assert known.proven
    found = known.find(features(2))
    assert found is not None
    ids, inputs, types = found([IMAGE, 4], features(2), torch.bfloat16)
    assert (ids, sorted(inputs)) == (processed([IMAGE, 4], 2)[0], ["grid", "pixels"])
    assert (inputs["pixels"].dtype, inputs["grid"].dtype) == (torch.bfloat16, torch.int64)
    assert types["mm_token_type_ids"].tolist() == processed([IMAGE, 4], 2)[2]["mm_token_type_ids"].tolist()
    assert known.find(features(3)) is None, "of another shape nothing is known"


def test_shapes_are_told_apart_by_their_grid() -> None:
    """Sixteen patches are a square or a band, of as many pixels and other tokens."""
    known = Expansions(IMAGE, torch.float32)
    known.learn([IMAGE], features(4), processed([IMAGE], 4))
    band = {"pixels": torch.zeros(16, 3), "grid": torch.tensor([[1, 2, 8]])}
    assert known.find(band) is None


def test_what_depends_on_the_text_is_never_believed_again() -> None:
    known = Expansions(IMAGE, torch.float32)
    known.learn([1, IMAGE, 2], features(2), processed([1, IMAGE, 2], 2))
    known.learn([1, IMAGE, 3], features(2), processed([1, IMAGE, 3], 2, extra=1))
    known.learn([1, IMAGE, 2], features(2), processed([1, IMAGE, 2], 2))
    assert not known.proven
    assert known.find(features(2)) is None


def test_a_processor_that_changes_the_text_is_left_to_itself() -> None:
    known = Expansions(IMAGE, torch.float32)
    known.learn([1, IMAGE, 2], features(2), processed([6, IMAGE, 2], 2))
    assert known.find(features(2)) is None


def test_so_many_shapes_are_known_and_no_more() -> None:
    known = Expansions(IMAGE, torch.float32)
    for length in range(MOST + 3):
        grid = {"pixels": torch.zeros(1, 3), "grid": torch.tensor([[1, 1, length]])}
        known.learn([IMAGE], grid, ([IMAGE], grid, {}))
        assert known.find(grid) is not None
    assert known.find({"pixels": torch.zeros(1, 3), "grid": torch.tensor([[1, 1, 0]])}) is None
