"""Windows: 64 that go to an engine together, numbered over the whole benchmark, every sample in exactly one."""

import pickle
from itertools import pairwise

import pytest
from some_samples import one_sample, some_samples

from radar_fast.engines import WINDOW
from radar_fast.sample import Candidate, ReasonKind, Sample, Scored
from radar_fast.windows import Window, windows


@pytest.mark.parametrize("unfit", [set(), {0, 1, 64, 65, 130, 199}, set(range(60, 140)), set(range(200))])
@pytest.mark.parametrize("count", [1, 64, 65, 128, 200])
def test_every_sample_is_in_exactly_one(unfit: set[int], count: int) -> None:
    samples = some_samples(count, unfit)
    cut = list(windows(samples))
    assert sorted(one.id for window in cut for one in (*window.samples, *window.unfit)) == sorted(
        one.id for one in samples
    )
    fit = [one for one in samples if one.reason is None]
    assert [one for window in cut for one in window.samples] == fit, "in the order in which they stand"
    assert [window.number for window in cut] == list(range(len(cut)))
    assert all(len(window.samples) == WINDOW for window, _ in pairwise(cut)), "full, but for the last"
    assert len(cut) == max(1, -(-len(fit) // WINDOW))


def test_what_is_left_keeps_its_number_and_its_company() -> None:
    samples = some_samples(300, {70})
    whole = {window.number: window for window in windows(samples)}
    done = {one.key for one in samples} - {samples[5].key, samples[70].key, samples[299].key}
    left = {window.number: window for window in windows(samples, done)}
    assert list(left) == [0, 1, 4]
    assert left[0] == whole[0], "one is missing, and all of it is scored again"
    assert left[4] == whole[4]
    assert left[1] == Window(1, (), (samples[70],)), "an unfit sample alone costs no scoring"
    assert list(windows(samples, {one.key for one in samples})) == []


def test_what_only_the_published_files_count_goes_to_an_engine() -> None:
    blank = one_sample(0, ReasonKind.BLANK_QUESTION)
    assert list(windows([blank])) == [Window(0, (blank,), ())]


def test_a_window_is_cut_off_before_the_next_is_read() -> None:
    """So that no more of a benchmark is in memory than is being scored."""
    read = []

    def reading() -> object:
        for one in some_samples(3 * WINDOW):
            read.append(one)
            yield one

    next(windows(reading()))  # type: ignore[arg-type] # a generator of samples
    assert len(read) == WINDOW + 1


def test_windows_and_scores_travel_between_processes() -> None:
    """As a farm sends them: metadata by default, and given, among them."""
    given = Sample("a", "t", "d", "p", ("x",), ("a", "b"), 0, {"question": "x", "index": 3})
    window = next(windows([one_sample(0), given, one_sample(2, ReasonKind.BAD_RECORD)]))
    assert pickle.loads(pickle.dumps(window)) == window
    scored = [
        Scored(given, (Candidate((1.5,), (-0.25,)), Candidate((0.5,), (-1.0,))), tokens_computed=7),
        *window.refused(),
    ]
    back = pickle.loads(pickle.dumps(scored))
    assert back == scored
    assert back[0].sample.metadata == {"question": "x", "index": 3}
    assert [one.reason for one in back] == [None, one_sample(2, ReasonKind.BAD_RECORD).reason]
