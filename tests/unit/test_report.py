"""The report without a browser: what is packed, what the page may do, its pictures, and its server."""

import base64
import hashlib
import http.client
import io
import json
import re
import threading
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from grown_series import write_series
from PIL import Image

from radar_fast.cli import main
from radar_fast.errors import DataError, ResultsError, UsageError
from radar_fast.report.build import serve_report, write_report
from radar_fast.report.packing import packed_array, packed_json
from radar_fast.report.page import page
from radar_fast.report.quantise import quantised
from radar_fast.report.samples import ABSENT, UNSCORED, read_samples
from radar_fast.results.growth import growth
from radar_fast.results.journal import read_records
from radar_fast.sample import ImageFile
from radar_fast.scores import judge

HOSTILE = "</script><script>document.title = 'run'</script><img src=x onerror=\"document.title='run'\">&amp;"


class Elements(HTMLParser):
    """The text of each element of interest, as a browser would cut them: script and style end at their end tags."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if not self.found:
            return
        tag, attributes, text = self.found[-1]
        self.found[-1] = (tag, attributes, text + data)

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the signature of a handler
        self.found.append(("", {}, ""))  # what follows is no text of the element that has ended

    def texts(self, tag: str) -> list[str]:
        return [text for name, _, text in self.found if name == tag]

    def by_id(self, name: str) -> str:
        [text] = [text for _, attributes, text in self.found if attributes.get("id") == name]
        return text


def unpacked(block: str) -> bytes:
    return zlib.decompress(base64.b85decode(block.replace(",", "<")), -zlib.MAX_WBITS)


def document_in(path: Path) -> dict[str, Any]:
    """What a page says of its one benchmark."""
    [benchmark] = json.loads(unpacked(Elements(path.read_text()).by_id("block-document")))["benchmarks"]
    return benchmark


def block_in(path: Path, name: str) -> Any:
    return json.loads(unpacked(Elements(path.read_text()).by_id(f"block-0-{name}")))


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small benchmark of JSON lines with pictures; one question is hostile, one asks nothing that is a picture."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    folder.mkdir()
    rows = []
    for number in range(24):
        slope = np.linspace(0, 255, 700)[None, :] * np.ones((90, 1))
        channels = [slope, 255 - slope, np.full_like(slope, 10 * number)]
        Image.fromarray(np.stack(channels, axis=2).astype(np.uint8)).save(folder / f"{number}.png")
        question = HOSTILE if number == 3 else f"Which shape is number {number}?"
        row = {"id": f"q{number}", "task": f"task {number % 3}", "ability": "sight" if number % 3 else "thought"}
        row |= {"question": question, "image": f"{number}.png", "answer": "square"}
        rows.append(row | {"distractors": ["circle", HOSTILE, "triangle"][: 2 + number % 2]})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def series(questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    write_series(out, questions, unfit=lambda sample: sample.id == "q5")
    return out


@pytest.fixture(scope="module")
def written(series: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "page.html"
    write_report([series], out)
    return out


def test_arrays_and_texts_are_read_back() -> None:
    values = np.random.default_rng(1).integers(0, 101, (50, 7)).astype(np.uint8)
    assert np.frombuffer(unpacked(packed_array(values.T)), np.uint8).tolist() == values.T.ravel().tolist()
    wide = np.array([1, 2**16 - 1, 258], np.uint16)
    assert np.frombuffer(unpacked(packed_array(wide)), "<u2").tolist() == wide.tolist()
    rows = [["a", "鳥 \N{GRINNING FACE}", ["</script>", "\n"]], ["b", "a lone \ud800", []]]
    read = json.loads(unpacked(packed_json(rows)).decode())
    assert read[0] == rows[0]
    assert read[1][1] == "a lone \N{REPLACEMENT CHARACTER}"


def test_the_policy_allows_the_one_script_and_the_one_style() -> None:
    elements = Elements(page(HOSTILE, {"block-0-state": "AAAA"}).decode())
    [policy] = [value for tag, _, value in elements.attributes if tag == "meta" and value and "default-src" in value]
    run = [text for tag, attributes, text in elements.found if tag == "script" and "type" not in attributes]
    [script], [style] = run, elements.texts("style")
    for name, text in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert elements.texts("title") == [HOSTILE]
    assert not [name for _, name, _ in elements.attributes if name.startswith("on") or name == "style"]
    assert elements.by_id("block-0-state") == "AAAA"


def test_nothing_in_the_page_asks_for_anything_elsewhere(written: Path) -> None:
    elements = Elements(written.read_text())
    links = [value or "" for _, name, value in elements.attributes if name in ("src", "href", "action", "data")]
    assert all(link.startswith(("data:", "#")) for link in links), links
    assert "<script>document.title" not in written.read_text()


def test_the_page_has_the_numbers_of_the_series(series: Path, written: Path) -> None:
    [grown] = growth(series)
    benchmark = document_in(written)
    assert [step["label"] for step in benchmark["steps"]] == ["100", "200", "400", "800"]
    entries = {(entry["kind"], entry["name"]): entry for entry in benchmark["entries"]}
    for section, name, curve in grown.curves():
        kind = {"tasks": "task", "directories": "directory", "abilities": "ability", "overall": "overall"}[section]
        entry = entries.pop((kind, name))
        assert entry["measures"]["accuracy"]["value"] == pytest.approx(curve.values("accuracy"), abs=1e-5)
        lows = [one.estimate("sds").low for one in curve.entries]
        assert entry["measures"]["sds"]["low"] == pytest.approx(lows, abs=1e-5)
        assert entry["onset"] == {"chance": curve.trend.onset, "first": curve.trend.onset_above_first}
        assert entry["gains"]["value"][0] is None
        assert entry["gains"]["value"][1:] == pytest.approx([gain.sds for gain in curve.gains[1:]], abs=1e-5)
        assert entry["gains"]["significant"][1:] == [gain.change("sds").significant for gain in curve.gains[1:]]
    assert not entries
    assert any("unscored at every step: 1 unreadable-image" in line for line in benchmark["warnings"])


def shown_percent(path: Path, steps: int) -> list[list[list[int]]]:
    """Sample -> candidate -> percent at each step, by what quantise.py says of itself."""
    elements = Elements(path.read_text())

    def numbers(name: str, kind: str) -> list[int]:
        return np.frombuffer(unpacked(elements.by_id(f"block-0-{name}")), kind).tolist()

    first, answer, state = numbers("first", "<u4"), numbers("answer", "<u2"), numbers("state", "u1")
    cells = [(place, step) for place in range(len(answer)) for step in range(steps)]
    kinds = dict(zip(cells, state, strict=True))
    answers = dict(zip(sorted(cells, key=kinds.__getitem__), numbers("answers", "u1"), strict=True))
    left = {cell: (100 - answers[cell]) // 2 for cell in cells}
    others = iter(numbers("others", "u1"))
    sizes = [end - start for start, end in pairwise(first)]
    found = [[[0] * steps for _ in range(size)] for size in sizes]
    for rank in range(max(sizes)):
        here = sorted((cell for cell in cells if sizes[cell[0]] - 2 > rank), key=left.__getitem__)
        for (place, step), number in zip(here, others, strict=False):
            left[place, step] -= number
            found[place][[each for each in range(sizes[place]) if each != answer[place]][rank]][step] = 2 * number
    assert next(others, None) is None
    for (place, step), value in answers.items():
        if sizes[place]:
            found[place][answer[place]][step] = value
            *_, last = [each for each in range(sizes[place]) if each != answer[place]]
            found[place][last][step] = 100 - sum(row[step] for row in found[place])
    return found


def test_the_samples_have_the_probabilities_of_the_journal(series: Path, written: Path) -> None:
    [grown] = growth(series)
    names, questions, candidates = (block_in(written, name) for name in ("names", "questions", "candidates"))
    reasons = dict(block_in(written, "reasons"))
    percent = shown_percent(written, 4)
    state = np.frombuffer(unpacked(Elements(written.read_text()).by_id("block-0-state")), np.uint8).reshape(-1, 4)
    seen = 0
    for number, step in enumerate(grown.steps):
        for record in read_records(step.folder / "samples.jsonl"):
            place = grown.samples.places[record.key]
            assert (names[place], questions[place]) == (record.id, record.metadata["question"])
            assert candidates[place] == list(record.candidates)
            if record.status == "unscored":
                assert state[place, number] == UNSCORED
                assert reasons[place] == record.reason
                continue
            verdict = judge(record.logits, record.answer or 0)
            shown = [row[number] for row in percent[place]]
            assert shown[record.answer or 0] == round(100 * verdict.probability)
            assert shown == pytest.approx([100 * value for value in verdict.probabilities], abs=2.5)
            assert sum(shown) == 100
            assert state[place, number] == verdict.correct
            seen += 1
    assert seen == 4 * 23


def test_many_candidates_are_each_within_two_and_a_half_percent() -> None:
    draw = np.random.default_rng(2)
    counts = draw.integers(1, 12, 300)
    first = np.concatenate([[0], np.cumsum(counts)])
    answers = draw.integers(0, counts)
    wanted = np.concatenate([draw.dirichlet(np.full(count, 0.4), 5).T for count in counts]).astype(np.float32)
    answer, others = quantised(wanted, first, answers)
    kept = 0
    for place, count in enumerate(counts):
        rows = 100 * wanted[first[place] : first[place + 1]]
        assert np.abs(answer[place] - rows[answers[place]]).max() <= 0.5001
        distractors = [number for number in range(count) if number != answers[place]]
        left = 100 - answer[place].astype(int)
        for number in distractors[:-1]:
            assert np.abs(2 * others[kept].astype(int) - rows[number]).max() <= 2.5001
            left -= 2 * others[kept]
            kept += 1
        if distractors:
            assert left.min() >= 0
            assert np.abs(left - rows[distractors[-1]]).max() <= 2.5001
    assert kept == len(others)


def test_a_journal_that_is_torn_repeated_or_shorter_is_shown_as_far_as_it_goes(questions: Path, tmp_path: Path) -> None:
    one, two = write_series(tmp_path, questions, (1, 2))
    lines = (one / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (one / "samples.jsonl").write_bytes(b"".join([*lines[:10], lines[0], lines[11][:40]]))
    [grown] = growth(tmp_path)
    samples = read_samples(grown)
    assert (samples.state[:, 0] == ABSENT).sum() == 14
    assert (samples.state[:, 1] == ABSENT).sum() == 0
    whole = read_samples(growth(two)[0])
    assert np.array_equal(whole.state[:, 0], samples.state[:, 1])
    assert whole.told == samples.told
    written = write_report([tmp_path], tmp_path / "page.html")
    assert any("14 samples are missing" in note for note in written.notes)


def test_pictures_are_thumbnails_of_what_moved_most(series: Path, questions: Path, tmp_path: Path) -> None:
    written = write_report([series], tmp_path / "page.html", pictures=5)
    assert written.folder == tmp_path / "page-pictures"
    assert sorted(path.name for path in written.folder.iterdir()) == [f"{number}.jpg" for number in range(5)]
    with Image.open(written.folder / "0.jpg") as picture:
        assert picture.size == (400, 51)
    page_ = tmp_path / "page.html"
    shown = {name: one for name, one in zip(block_in(page_, "names"), block_in(page_, "pictures"), strict=True) if one}
    assert sorted(number for numbers in shown.values() for number in numbers) == list(range(5))
    [first] = [name for name, numbers in shown.items() if numbers == [0]]
    odds: dict[str, list[float]] = {}
    for folder in sorted(series.iterdir()):
        for record in read_records(folder / "samples.jsonl"):
            if record.sds is not None:
                odds.setdefault(record.id, []).append(record.sds)
    swings = {name: max(values) - min(values) for name, values in odds.items()}
    assert swings[first] == max(swings.values())
    with Image.open(questions / f"{first[1:]}.png") as original, Image.open(written.folder / "0.jpg") as picture:
        wanted = np.asarray(original.resize(picture.size, Image.Resampling.LANCZOS), float)
        assert np.abs(wanted - np.asarray(picture, float)).mean() < 3
    (written.folder / "mine.jpg").write_bytes(b"")
    write_report([series], tmp_path / "page.html", pictures=2)
    assert sorted(path.name for path in written.folder.iterdir()) == ["0.jpg", "1.jpg", "mine.jpg"]


def test_pictures_in_the_page_itself(series: Path, tmp_path: Path) -> None:
    written = write_report([series], tmp_path / "page.html", inline=True, pictures=3)
    assert written.folder is None
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    elements = Elements(written.path.read_text())
    for number in range(3):
        data = base64.b64decode(elements.by_id(f"picture-{number}"))
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == "JPEG"


def test_without_its_data_a_report_says_so(questions: Path, tmp_path: Path) -> None:
    data = tmp_path / "moved"
    questions_now = tmp_path / "data"
    questions_now.mkdir()
    for path in questions.iterdir():
        (questions_now / path.name).write_bytes(path.read_bytes())
    write_series(tmp_path / "results", questions_now)
    questions_now.rename(data)
    absent = write_report([tmp_path / "results"], tmp_path / "absent.html")
    assert absent.pictures == 0
    assert "--data says where it lies now" in document_in(absent.path)["pictures"]["why"]
    assert write_report([tmp_path / "results"], tmp_path / "found.html", data=data).pictures == 24
    rows = (data / "rows.jsonl").read_text().replace("number 7?", "number seven?")
    (data / "rows.jsonl").write_text(rows)
    changed = write_report([tmp_path / "results"], tmp_path / "changed.html", data=data)
    assert changed.pictures == 23
    assert any(note.startswith("1 sample asks something else") for note in changed.notes)
    (data / "4.png").write_bytes(b"no picture")
    assert write_report([tmp_path / "results"], tmp_path / "unreadable.html", data=data).pictures == 22
    unread = write_report([tmp_path / "results"], tmp_path / "unread.html", data=tmp_path / "nowhere", pictures=0)
    assert "--pictures 0" in document_in(unread.path)["pictures"]["why"]
    with pytest.raises(DataError, match="nowhere"):
        write_report([tmp_path / "results"], tmp_path / "nowhere.html", data=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"out": "page.txt"}, "--out page.txt: name a file that ends in .html"),
        ({"out": "page.html", "pictures": -1}, "--pictures -1: must be 0 or more"),
    ],
)
def test_options_that_cannot_be_right(series: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        write_report([series], **options)


def test_a_page_that_cannot_be_written(series: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="cannot write"):
        write_report([series], tmp_path / "no" / "folder" / "page.html", pictures=0)


def test_the_command_says_what_it_has_written(series: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    result = CliRunner().invoke(main, ["report", str(series), "--out", str(out), "--pictures", "2"])
    assert result.exit_code == 0, result.output
    *notes, last = result.stdout.splitlines()
    assert re.fullmatch(rf"{re.escape(str(out))}: \d+ kB, 2 pictures in {re.escape(str(tmp_path))}/page-pictures", last)
    assert notes == ["note: 1 sample is unscored at every step: 1 unreadable-image"]
    for words, told in (
        (["--serve", "--inline"], "--inline: is for a page that is written"),
        (["--port", "80"], "--port: is for --serve"),
    ):
        result = CliRunner().invoke(main, ["report", str(series), *words])
        assert result.exit_code == 2
        assert told in result.stderr


@pytest.fixture
def server(series: Path) -> Iterator[Any]:
    with serve_report([series]) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def asked(port: int, path: str, method: str = "GET", host: str | None = None) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{port}")
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read()
    finally:
        connection.close()


def test_the_server_gives_the_page_its_pictures_and_nothing_else(server: Any, questions: Path) -> None:
    port = server.server_port
    assert server.server_address[0] == "127.0.0.1"
    status, kind, text = asked(port, "/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert text == server.page
    status, kind, data = asked(port, "/picture/0.jpg")
    assert (status, kind) == (200, "image/jpeg")
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (700, 90), "not made smaller than it is"
    assert asked(port, "/picture/0.jpg", "HEAD")[::2] == (200, b"")
    outside = questions.parent / "secret.png"
    outside.write_bytes((questions / "0.png").read_bytes())
    for path in (
        "/picture/24.jpg",
        "/picture/-1.jpg",
        "/picture/0.jpg/",
        "/picture/../0.png",
        "/picture/..%2f0.jpg",
        "/../../etc/passwd",
        "//etc/passwd",
        f"/{outside}",
        "/rows.jsonl",
        "/?x",
    ):
        assert asked(port, path)[0] == 404, path
    assert asked(port, "/", "POST")[0] == 501
    for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}"):
        assert asked(port, "/", host=host)[0] == 403


def test_a_picture_that_is_gone_is_not_found(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "images", [ImageFile(Path("/nowhere.png"))])
    assert asked(server.server_port, "/picture/0.jpg")[0] == 404


def test_a_port_that_is_taken_is_told(series: Path, server: Any) -> None:
    with pytest.raises(UsageError, match=f"--port {server.server_port}: cannot be had"):
        serve_report([series], port=server.server_port)


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def themes() -> list[dict[str, str]]:
    text = (Path(__file__).parents[2] / "radar_fast" / "report" / "page" / "style.css").read_text()
    blocks = re.findall(r":root[^{]*\{([^}]*--text[^}]*)\}", text)
    assert len(blocks) == 4, "light, dark by choice, dark by the system, print"
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", block)) for block in blocks]


def test_text_stands_out_in_both_themes() -> None:
    """WCAG AA: 4.5 for text; 3 for lines and marks."""

    def contrast(one: str, other: str) -> float:
        high, low = sorted((luminance(one), luminance(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    light, dark, system, _ = themes()
    assert dark == system
    for theme in (light, dark):
        for paper in ("card", "paper"):
            for name in ("text", "soft", "accent", "good", "bad"):
                assert contrast(theme[name], theme[paper]) >= 4.5, (name, paper)
            for hue in range(8):
                assert contrast(theme[f"c{hue}"], theme[paper]) >= 3, hue
        assert contrast(theme["warn"], theme["warn-soft"]) >= 4.5
        for end in ("high", "low"):
            assert contrast(theme["on-strong"], theme[end]) >= 4.5
