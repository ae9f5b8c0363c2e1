"""What is said while a run goes on: to a log, and to a terminal."""

import io

import pytest
from rich.console import Console

from radar_fast.terminal import progress as module
from radar_fast.terminal.progress import BarProgress, ConsoleProgress, LineProgress, progress_on


class Hand:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand()
    monkeypatch.setattr(module, "time", hand)
    return hand


def log(*, verbose: bool = False) -> tuple[LineProgress, io.StringIO]:
    stream = io.StringIO()
    return LineProgress(Console(file=stream, width=160), verbose=verbose), stream


def test_a_log_gets_a_line_now_and_then_whose_rate_counts_this_run_alone(hand: Hand) -> None:
    progress, stream = log()
    progress.start("step-100", 100, 60)
    for _ in range(10):
        hand.now += 0.5
        progress.advance()
    assert stream.getvalue() == "", "nothing within ten seconds"
    for _ in range(10):
        hand.now += 0.5
        progress.advance()
    assert stream.getvalue() == "step-100: 80/100 samples, 2.0 samples/s, 0:10 left\n"
    progress.stop()


def test_the_tally_says_what_is_kept_and_how_long_it_took(hand: Hand) -> None:
    progress, _ = log()
    assert progress.tally is None
    progress.start("step-100", 10, 4)
    hand.now += 3
    progress.advance()
    progress.stop()
    hand.now += 50
    progress.stop()
    assert progress.tally is not None
    assert (progress.tally.done, progress.tally.fresh, progress.tally.seconds) == (5, 1, 3)


def test_details_are_for_those_who_ask() -> None:
    for verbose, said in ((False, "news\n"), (True, "news\ndetail\n")):
        progress, stream = log(verbose=verbose)
        progress.say("news")
        progress.detail("detail")
        assert stream.getvalue() == said


def test_a_terminal_gets_one_bar_at_a_time_which_goes_when_it_is_done() -> None:
    stream = io.StringIO()
    progress = progress_on(Console(file=stream, width=80, force_terminal=True))
    assert isinstance(progress, BarProgress)
    for name in ("step-100", "step-200"):
        progress.start(name, 3, 1)
        progress.advance()
        progress.advance()
        progress.stop()
        progress.stop()
    seen = stream.getvalue()
    assert seen.count("3/3") >= 2
    assert "step-100" not in seen[seen.rindex("step-200") :]
    assert seen.rindex("\x1b[2K") > seen.rindex("step-200"), "the line is cleared"
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l"), "the cursor is back"


def test_a_bar_that_never_ended_makes_room_for_the_next() -> None:
    progress = BarProgress(Console(file=io.StringIO(), width=80, force_terminal=True))
    progress.start("step-100", 3, 0)
    progress.start("step-200", 3, 0)
    progress.stop()


def test_no_terminal_no_bar() -> None:
    progress: ConsoleProgress = progress_on(Console(file=io.StringIO()))
    assert isinstance(progress, LineProgress)
