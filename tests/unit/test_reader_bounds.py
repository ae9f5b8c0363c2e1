"""No small input takes the memory of a machine, hangs, or ends in a traceback."""

import io
import json
import os
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from radar_fast.engines.vllm.limits import Limits
from radar_fast.errors import DataError, RadarError, UsageError
from radar_fast.images import MAX_SIDE, read_image
from radar_fast.readers import open_reader, parquet_bounds
from radar_fast.sample import EmbeddedImage, ImageFile, Reason, ReasonKind

LINE = {"question": "What?", "options": ["dog", "cat"], "answer": "cat"}
READ = r"""
import resource, sys
from pathlib import Path
import pyarrow.parquet
from radar_fast.errors import RadarError
from radar_fast.inspection import inspect_samples
from radar_fast.oddities import OddCounter
from radar_fast.readers import open_reader
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    reports = inspect_samples(open_reader(Path(sys.argv[1])), OddCounter())
    found = "; ".join(str(reason) for report in reports.values() for _, reason in report.problems) or "fine"
except RadarError as error:
    found = str(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) // 1024, found)
"""


def inspected(data: Path) -> str:
    """What is found in the data, by a process of its own that stays within 1 GB of what it began with."""
    size = sum(file.stat().st_size for file in data.rglob("*") if file.is_file()) if data.is_dir() else 0
    assert size < 2**20
    result = subprocess.run([sys.executable, "-c", READ, data], capture_output=True, text=True, check=True, timeout=60)
    peak, found = result.stdout.split(" ", 1)
    assert int(peak) < 1000, found
    return found


def png_header(width: int, height: int, depth: int, colour: int) -> bytes:
    """A PNG of zeros, which are next to nothing when they are compressed."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))

    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes(1 + -(-width * depth * channels // 8))
    squeeze, pieces = zlib.compressobj(9), []
    for _ in range(height):
        pieces.append(squeeze.compress(row))
    pieces.append(squeeze.flush())
    head = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"".join(pieces)) + chunk(b"IEND", b"")


def saved(size: tuple[int, int], kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff_of_tags(count: int) -> bytes:
    """A TIFF whose tags all point to the same bytes."""
    region = 300_000
    head = b"II*\0" + struct.pack("<L", 8) + struct.pack("<H", count)
    tags = b"".join(struct.pack("<HHLL", 40_000 + number % 25_000, 7, region, 8) for number in range(count))
    return head + tags + bytes(max(0, region - len(tags)))


BOMBS: dict[str, Callable[[], bytes]] = {
    "one pixel wide": lambda: png_header(1, 1_000_000, 1, 0),
    "one pixel high": lambda: png_header(1_000_000, 1, 8, 2),
    "a large square with alpha": lambda: png_header(11_000, 11_000, 8, 6),
    "a large square": lambda: png_header(13_000, 13_000, 8, 2),
    "webp": lambda: saved((9000, 9000), "WEBP", lossless=True, quality=0, method=0),
    "tags": lambda: tiff_of_tags(4000),
    "many tags": lambda: tiff_of_tags(20_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_pictures(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.img").write_bytes(BOMBS[name]())
    (tmp_path / "a.jsonl").write_text(json.dumps(LINE | {"image": "a.img"}))
    found = inspected(tmp_path)
    assert "unreadable-image" in found
    assert "too large" in found or "tags" in found


def test_pictures_within_bounds(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(12_000, 12_000, 1, 0))
    (tmp_path / "b.png").write_bytes(png_header(1, MAX_SIDE, 8, 0))
    (tmp_path / "c.png").write_bytes(png_header(6000, 6000, 8, 6))
    (tmp_path / "a.jsonl").write_text(json.dumps(LINE | {"image": ["a.png", "b.png", "c.png"]}))
    assert inspected(tmp_path).strip() == "fine"


def test_tags_in_a_request_are_bounded_likewise() -> None:
    """Whoever asks for the number of pixels reads them too."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert Limits().check_image(tiff_of_tags(4000), 0, "data") == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_a_tiff_with_its_usual_tags() -> None:
    for options in ({}, {"compression": "tiff_lzw"}, {"big_tiff": True}):
        image = EmbeddedImage("a", saved((40, 30), "TIFF", **options))
        assert not isinstance(read_image(image), Reason)


@pytest.mark.parametrize(
    "text",
    [
        ".".join(["a"] * 50_000) + " = 1\n",
        '"' + '"."'.join(["a"] * 20_000) + '" = 1\n',
        "[" + ".".join(["a"] * 50_000) + "]\n",
        "x = {" + ".".join(["a"] * 50_000) + " = 1}\n",
        "x = " + "[" * 100_000 + "\n",
        "x = " + "{x = " * 20_000 + "\n",
        "split_at = " + "9" * 100_000 + "\n",
        "x = " + "a" * 900_000 + "\n",
        "a" * 900_000,
        "x = '" + "'" * 600_000 + "\n",
    ],
)
def test_class_texts(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.toml").write_text(text)
    assert "classes.toml" in inspected(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 500_000,
        '{"a":' * 100_000,
        '[{"question": ' + "[" * 500_000,
        pytest.param("[" + "{}," * 200_000 + "{}]", marks=pytest.mark.full),
        '{"question": ' + "9" * 500_000 + "}",
        '"' + "\\u0041" * 100_000,
        "\n" * 900_000,
        '{"question": "x", "options": [' + '"",' * 200_000 + '""], "answer": ""}',
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_json(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / name).write_text(text)
    assert inspected(tmp_path).strip() != "fine"


def opened(data: Path, **options: object) -> str:
    try:
        return "; ".join(str(sample.reason) for sample in open_reader(data, **options))  # type: ignore[arg-type]
    except RadarError as error:
        return str(error)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.tsv", "a.parquet", "classes.toml", "test.json"])
def test_pipes_are_never_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "sub" / name)
    for data in (tmp_path / "sub", tmp_path / "sub" / name):
        assert "None" not in opened(data)
    with pytest.raises((UsageError, DataError)):
        open_reader(tmp_path / "sub", classes=str(tmp_path / "sub" / name))
    with pytest.raises((UsageError, DataError)):
        open_reader(tmp_path / "sub", fields_file=tmp_path / "sub" / name)


def test_devices_are_never_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        open_reader(Path("/dev/zero"))
    with pytest.raises(DataError, match="regular file"):
        open_reader(tmp_path, fields_file="/dev/zero")
    (tmp_path / "a.jsonl").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="nothing to read"):
        open_reader(tmp_path)
    with pytest.raises(DataError, match="regular file"):
        open_reader(tmp_path, format="jsonl")
    found = read_image(ImageFile(Path("/dev/zero")))
    assert isinstance(found, Reason)
    assert found.kind is ReasonKind.UNREADABLE_IMAGE


@pytest.mark.parametrize("long", ["n" * 300, "n" * 5000, "a/" * 3000, "a\0b", "line\nbreak", "\udcff"])
def test_names_that_no_file_has(tmp_path: Path, long: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(LINE) + "\n" + json.dumps(LINE | {"image": long}))
    _, sample = open_reader(tmp_path)
    if sample.reason is None:
        assert isinstance(read_image(sample.images[0]), Reason)
    for options in ({"classes": long}, {"fields_file": long}, {"preset": long}):
        found = opened(tmp_path, **options)
        assert "None" not in found
        assert "\n" not in found
    found = opened(tmp_path / long)
    assert found
    assert "\n" not in found


def test_folders_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    data = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    data.mkdir()
    (data / "a.jsonl").write_text(json.dumps(LINE))
    (data / "sub").mkdir()
    (data / "sub" / "a.tsv").write_text("index\timage\tquestion\tA\tB\tanswer\n1\t\tq\ta\tb\tA\n")
    for folder, directory in ((data, r"\udcff\udcfe"), (data / "sub", "sub")):
        [sample] = open_reader(folder)
        assert sample.reason is None
        assert sample.directory == directory
        (sample.directory + sample.id + sample.task).encode()


def parquet_rows(**columns: list[object]) -> bytes:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def one_list_of(text: str, count: int) -> bytes:
    return parquet_rows(question=["q"], options=[[text] * count], answer=["a"])


def lying_footer() -> bytes:
    """A page that claims more than the footer says of its column."""
    pq = pytest.importorskip("pyarrow.parquet")
    raw = one_list_of("a" * 5000, 3)
    start = pq.ParquetFile(io.BytesIO(raw)).metadata.row_group(0).column(1).dictionary_page_offset
    size = (2 * 5004).to_bytes(2, "big")  # zigzag of the page's bytes, as thrift writes it
    low, high = int.from_bytes(size, "big") & 127 | 128, int.from_bytes(size, "big") >> 7
    at = raw.index(bytes([low, high]), start, start + 8)
    return raw[:at] + bytes([low, 127]) + raw[at + 2 :]


TABLES: dict[str, tuple[Callable[[], bytes], str]] = {
    "many values": (lambda: one_list_of("a", 20_000_000), "row group 0"),
    "one long text": (
        lambda: parquet_rows(question=["q" * 300_000_000], options=[["a", "b"]], answer=["a"]),
        "row group 0",
    ),
    "a long text in a list": (lambda: one_list_of("x" * 4_000_000, 300), "the row would take"),
}


@pytest.mark.full
@pytest.mark.parametrize("name", TABLES)
def test_tables(tmp_path: Path, name: str) -> None:
    make, words = TABLES[name]
    (tmp_path / "a.parquet").write_bytes(make())
    assert words in inspected(tmp_path)


def test_a_footer_that_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(lying_footer())
    monkeypatch.setattr(parquet_bounds, "_MAX_BYTES", 6000)
    assert "a page of column 'options.list.element' claims" in opened(tmp_path)


def test_a_long_text_in_many_rows_is_one_copy(tmp_path: Path) -> None:
    rows = 400
    table = parquet_rows(question=["q" * 1_000_000] * rows, options=[["a", "b"]] * rows, answer=["a"] * rows)
    (tmp_path / "a.parquet").write_bytes(table)
    assert inspected(tmp_path).strip() == "fine"
