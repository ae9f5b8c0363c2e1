"""The report in a browser, as its reader meets it: it opens from a file, shows the series' numbers, and runs nothing of
what the data say."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import PATIENCE, browser
from grown_series import write_series
from PIL import Image

from radar_fast.report.build import write_report
from radar_fast.results.growth import Growth, growth
from radar_fast.results.journal import read_records
from radar_fast.scores import judge

pytestmark = pytest.mark.full

HOSTILE = "<script>document.title = 'run'</script><img src=x onerror=\"document.title='run'\"> & <b>bold</b>"
STEPS = (100, 200, 400, 800, 1600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demo: Path) -> Path:
    """``results`` of a series on mini-M3, with runs without images; ``hostile`` of one whose every text is markup."""
    folder = tmp_path_factory.mktemp("report")
    write_series(folder / "results", demo / "mini-m3", STEPS)
    write_series(folder / "results", demo / "mini-m3", STEPS[-2:], without_images=True)
    data = folder / "hostile-data"
    data.mkdir()
    Image.new("RGB", (40, 30), "red").save(data / "x.png")
    rows = [
        {"id": f"{HOSTILE} {number}", "task": f"{HOSTILE} {number % 4}", "ability": HOSTILE, "question": HOSTILE}
        | {"image": "x.png", "answer": f"{HOSTILE} right", "distractors": [HOSTILE, "plain"]}
        for number in range(40)
    ]
    (data / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_series(folder / "hostile", data, (1, 2, 3), unfit=lambda sample: sample.id.endswith(" 7"))
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return write_report([folder / "results"], folder / "page.html").path.as_uri()


@pytest.fixture(scope="module")
def grown(folder: Path) -> Growth:
    [found] = growth(folder / "results")
    return found


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def quiet(chromium: Any) -> Iterator[None]:
    """Whatever a test does, no page may complain in its console."""
    yield
    assert chromium.get_log("browser") == []


def until(chromium: Any, condition: Callable[[], Any]) -> Any:
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(chromium, PATIENCE).until(lambda _: condition())


def all_of(chromium: Any, selector: str) -> list[Any]:
    return list(chromium.find_elements("css selector", selector))


def one(chromium: Any, selector: str) -> Any:
    return chromium.find_element("css selector", selector)


def opened(chromium: Any, address: str) -> None:
    """Open a page, and wait until its samples are unpacked."""
    chromium.get("about:blank")
    chromium.get(address)
    until(chromium, lambda: all_of(chromium, ".sample-row"))


def count_of(chromium: Any, fate: str) -> int:
    return int(one(chromium, f"[data-fate={fate}] b").text.replace(",", ""))


def show_tables(chromium: Any) -> None:
    for button in all_of(chromium, ".head .tools > .quiet"):
        chromium.execute_script("arguments[0].click()", button)  # the bar at the top may lie over it


FIGURES = ("curves", "radar", "onset", "heat", "worth", "speed")


def test_the_slider_draws_no_more_than_what_moves(chromium: Any, page: str) -> None:
    """And what is then there is what drawing all of it would give."""
    opened(chromium, page)
    drawings = "return arguments[0].map((name) => document.querySelector(`#${name} .drawing`).innerHTML)"
    chromium.execute_script("window.cells = [...document.querySelectorAll('#heat .cell, #curves .band')]")
    for place in (1, 0):
        chromium.execute_script(
            "const slider = document.getElementById('step'); slider.value = arguments[0];"
            "slider.dispatchEvent(new Event('input'))",
            place,
        )
        moved = chromium.execute_script(drawings, FIGURES)
        assert chromium.execute_script("return window.cells.length && window.cells.every((each) => each.isConnected)")
        chromium.execute_script("dispatchEvent(new Event('beforeprint'))")  # before which all figures are drawn anew
        assert not chromium.execute_script("return window.cells.some((each) => each.isConnected)")
        assert chromium.execute_script(drawings, FIGURES) == moved
        chromium.execute_script("window.cells = [...document.querySelectorAll('#heat .cell, #curves .band')]")


def test_it_opens_from_a_file_and_asks_for_nothing_but_its_pictures(chromium: Any, page: str) -> None:
    opened(chromium, page)
    assert one(chromium, "h1").text == "mini-m3"
    asked = chromium.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert all(re.search(r"page-pictures/\d+\.jpg$", name) or name.startswith("data:image/svg") for name in asked), (
        asked
    )
    for section in ("curves", "radar", "onset", "heat", "flips", "worth", "speed", "runs"):
        assert one(chromium, f"#{section} h2").is_displayed()


def test_the_slider_moves_every_figure(chromium: Any, page: str, grown: Growth) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(chromium, page)
    slider = one(chromium, "#step")
    for step in (4, 3, 2):
        assert one(chromium, "#step-label").text == str(STEPS[step])
        sds = grown.overall.values()[step]
        assert one(chromium, ".tile strong").text == f"{sds:.3f}"
        described = one(chromium, "#radar svg").get_attribute("aria-label")
        for name, curve in grown.directories.items():
            assert f"{name} {curve.values()[step]:.3f}" in described
        assert f"At {STEPS[step]}" in one(chromium, "#curves .drawing svg").get_attribute("aria-label")
        slider.send_keys(Keys.ARROW_LEFT)
    assert slider.get_attribute("aria-valuetext") == str(STEPS[1])


def test_flips_are_those_of_the_series_between_any_two_steps(chromium: Any, page: str, grown: Growth) -> None:
    opened(chromium, page)
    for first, second in ((3, 4), (0, 4), (1, 2)):
        chromium.execute_script(
            "const set = (id, value, event) => { const field = document.getElementById(id); field.value = value;"
            "field.dispatchEvent(new Event(event)); }; set('step', arguments[1], 'input');"
            "set('before', arguments[0], 'change');",
            first,
            second,
        )
        flips = grown.flips(first, second)
        found = {fate: count_of(chromium, fate) for fate in ("gained", "lost", "right", "wrong", "all", "forgotten")}
        assert found == {
            "gained": len(flips.gained),
            "lost": len(flips.lost),
            "right": flips.right,
            "wrong": flips.wrong,
            "all": len(grown.samples.rows),
            "forgotten": len(grown.forgotten()),
        }


def test_a_flip_opens_with_picture_candidates_and_history(chromium: Any, page: str, grown: Growth) -> None:
    opened(chromium, page)
    one(chromium, "[data-fate=lost]").click()
    row = all_of(chromium, ".sample-row")[1]
    row.click()
    where = one(chromium, ".detail .where").text
    flips = grown.flips(len(STEPS) - 2, len(STEPS) - 1)
    [(task, name)] = [key for key in flips.lost if where.endswith(f"{key[0]} \N{MIDDLE DOT} {key[1]}")]
    [record] = [
        record for record in read_records(grown.steps[-1].folder / "samples.jsonl") if record.key == (task, name)
    ]
    assert one(chromium, ".detail .question").text == record.metadata["question"]
    odds = dict(zip(record.candidates, judge(record.logits, record.answer or 0).probabilities, strict=True))
    shown = all_of(chromium, ".candidates li")
    assert len(shown) == len(odds)
    for item in shown:
        text = chromium.execute_script("return arguments[0].querySelector('.text').lastChild.textContent", item)
        percent = int(item.find_element("css selector", ".odds").text.split("%")[0])
        assert percent == pytest.approx(100 * odds[text], abs=2.5)
        width = chromium.execute_script("return arguments[0].style.width", item.find_element("css selector", ".fill"))
        assert width == f"{percent}%"
    image = one(chromium, ".detail img")
    until(chromium, lambda: image.get_property("naturalWidth"))
    right = grown.samples.measure("accuracy")[:, grown.samples.places[task, name]]
    boxes = ["right" in box.get_attribute("class").split() for box in all_of(chromium, ".history .step-box")]
    assert boxes == [bool(value) for value in right]
    all_of(chromium, ".history .step-box")[1].click()
    assert one(chromium, "#step-label").text == str(STEPS[1])


def test_filters_leave_what_they_say(chromium: Any, page: str, grown: Growth) -> None:
    opened(chromium, page)
    one(chromium, "[data-fate=all]").click()
    task = next(iter(grown.tasks))
    size = sum(row.task == task for row in grown.samples.rows)
    one(chromium, f"[name=place] option[value='task:{task}']").click()
    assert count_of(chromium, "all") == size
    assert {place.text for place in all_of(chromium, ".sample-row small")} == {
        one(chromium, f"[name=place] option[value='task:{task}']").text.strip()
    }
    one(chromium, "[name=place] option[value='']").click()
    counts = {}
    for option in all_of(chromium, "[name=images] option")[1:]:
        option.click()
        counts[option.get_attribute("value")] = count_of(chromium, "all")
    assert sum(counts.values()) == len(grown.samples.rows)
    assert sum(amount > 0 for amount in counts.values()) > 1, "mini-M3 has questions of two pictures"
    one(chromium, "[name=images] option[value='']").click()
    least = one(chromium, "[name=least]")
    least.clear()
    least.send_keys("50")
    sure = sum(
        True
        for record in read_records(grown.steps[-1].folder / "samples.jsonl")
        if record.status == "scored" and record.sds > 0.745  # then no distractor is within 49 points of it
    )
    assert sure <= count_of(chromium, "all") < len(grown.samples.rows)
    assert count_of(chromium, "wrong") == count_of(chromium, "lost") == 0
    least.clear()
    one(chromium, "[name=text]").send_keys("COLOUR")
    wanted = sum("colour" in json.dumps([question]).lower() for question in questions(grown))
    assert count_of(chromium, "all") >= wanted > 0


def questions(grown: Growth) -> list[str]:
    return [str(record.metadata["question"]) for record in read_records(grown.steps[-1].folder / "samples.jsonl")]


def test_the_list_is_worked_by_keys_alone(chromium: Any, page: str) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(chromium, page)
    one(chromium, "[data-fate=all]").click()
    listed = one(chromium, ".list")
    first = one(chromium, ".detail .where").text
    listed.send_keys(Keys.ARROW_DOWN)
    assert one(chromium, ".detail .where").text != first
    listed.send_keys(Keys.END)
    last = f"sample-{count_of(chromium, 'all') - 1}"
    assert listed.get_attribute("aria-activedescendant") == last
    until(chromium, lambda: one(chromium, f"#{last}[aria-selected=true]").is_displayed())
    assert len(all_of(chromium, ".sample-row")) < 40, "only what is in view is there"
    listed.send_keys(Keys.HOME)
    assert one(chromium, ".detail .where").text == first


def test_the_heat_map_reads_its_cells_and_leads_to_their_samples(chromium: Any, page: str, grown: Growth) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(chromium, page)
    heat = one(chromium, "svg.heat")
    heat.send_keys(Keys.ARROW_DOWN, Keys.ARROW_LEFT)
    task, step = sorted(grown.tasks)[1], len(STEPS) - 2
    gain = grown.tasks[task].gains[step].change("sds")
    said = one(chromium, "#live").get_attribute("textContent")
    assert said.startswith(f"{task} at {STEPS[step]}: {grown.tasks[task].values()[step]:.3f} (")
    assert f"{gain.value:+.3f}".replace("-", "\N{MINUS SIGN}") in said
    assert ("significant" in said) == bool(gain.significant)
    heat.send_keys(Keys.ENTER)
    assert count_of(chromium, "all") == sum(row.task == task for row in grown.samples.rows)
    assert one(chromium, "#step-label").text == str(STEPS[step])
    marks = sum(
        bool(curve.gains[place] and curve.gains[place].change("sds").significant)
        for curve in grown.tasks.values()
        for place in range(len(STEPS))
    )
    texts = [text.text for text in all_of(chromium, "svg.heat .cell-text")]
    assert sum("▲" in text or "▼" in text for text in texts) == marks


def test_every_figure_is_a_table_too(chromium: Any, page: str, grown: Growth) -> None:
    opened(chromium, page)
    show_tables(chromium)
    tables = all_of(chromium, ".table-box table")
    assert len(tables) == 6
    row = next(row for row in tables[0].find_elements("css selector", "tbody tr") if row.text.startswith("overall"))
    assert f"{grown.overall.values()[0]:.4f}" in row.text
    worth = grown.overall.image_gains[-1].sds
    assert f"{worth:+.4f}" in one(chromium, "#worth table").text


def test_whatever_can_be_worked_or_looked_at_has_a_name(chromium: Any, page: str) -> None:
    opened(chromium, page)
    nameless = chromium.execute_script("""
        const named = (element) => element.getAttribute("aria-label") || element.textContent.trim()
          || [...(element.labels ?? [])].some((label) => label.textContent.trim());
        return [...document.querySelectorAll("button, select, input, [role=img], [role=application], [role=listbox]")]
          .filter((element) => !named(element)).map((element) => element.outerHTML.slice(0, 120));
    """)
    assert nameless == []
    assert chromium.execute_script("return document.querySelectorAll('svg:not([role]):not([aria-hidden])').length") == 0


def test_markup_in_the_data_is_shown_and_not_run(chromium: Any, folder: Path) -> None:
    opened(chromium, write_report([folder / "hostile"], folder / "hostile.html").path.as_uri())
    one(chromium, "[data-fate=all]").click()
    assert one(chromium, ".detail .question").text == HOSTILE
    assert HOSTILE in one(chromium, ".detail .where").text
    assert any(HOSTILE in item.text for item in all_of(chromium, ".candidates li"))
    one(chromium, "[name=text]").send_keys(" 7")
    until(chromium, lambda: "Unscored" in one(chromium, ".detail").text)
    show_tables(chromium)
    assert chromium.title == "hostile-data · radar-fast"
    assert chromium.execute_script("return document.querySelectorAll('main img, main b b').length") <= 1
    assert chromium.execute_script("return document.scripts.length") >= 1
    assert all("run" not in (script.get_attribute("textContent") or "") for script in all_of(chromium, "main script"))


def test_nothing_else_can_run_in_it(chromium: Any, page: str) -> None:
    """The policy holds for what a page's own script adds."""
    opened(chromium, page)
    ran = chromium.execute_script("""
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
        return window.ran === true;
    """)
    assert ran is False
    [complaint] = chromium.get_log("browser")
    assert "Content Security Policy" in complaint["message"]


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_follow_the_system_and_the_button(chromium: Any, page: str, dark: bool) -> None:
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    try:
        opened(chromium, page)

        def brightness() -> float:
            colour = chromium.execute_script("return getComputedStyle(document.body).backgroundColor")
            return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

        assert (brightness() < 128) == dark
        one(chromium, "#theme").click()
        assert (brightness() < 128) != dark
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_it_fits_a_phone(chromium: Any, page: str) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        opened(chromium, page)
        assert chromium.execute_script("return document.documentElement.scrollWidth") == 390
        outside = chromium.execute_script("""
            return [...document.querySelectorAll("#curves svg text, #radar svg text, #onset svg text")]
              .filter((text) => { const box = text.getBoundingClientRect(); return box.left < 0 || box.right > 390; })
              .map((text) => text.textContent);
        """)
        assert outside == []
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_it_prints(chromium: Any, page: str) -> None:
    opened(chromium, page)
    printed = chromium.execute_cdp_cmd(
        "Page.printToPDF", {"printBackground": True, "paperWidth": 8.3, "paperHeight": 11.7}
    )
    assert len(printed["data"]) > 20_000


def test_pictures_within_the_page(chromium: Any, folder: Path) -> None:
    opened(chromium, write_report([folder / "results"], folder / "inline.html", inline=True).path.as_uri())
    until(chromium, lambda: one(chromium, ".detail img").get_property("naturalWidth"))
    assert one(chromium, ".detail img").get_attribute("src").startswith("data:image/jpeg;base64,")


def test_several_benchmarks_are_chosen_between(chromium: Any, folder: Path) -> None:
    both = write_report([folder / "results", folder / "hostile"], folder / "both.html")
    opened(chromium, both.path.as_uri())
    titles = [one(chromium, "h1").text]
    all_of(chromium, "#benchmark option")[1].click()
    until(chromium, lambda: one(chromium, "h1").text not in ("", titles[0]) and all_of(chromium, ".sample-row"))
    titles.append(one(chromium, "h1").text)
    assert sorted(titles) == ["hostile-data", "mini-m3"]


def test_a_single_checkpoint_is_a_report_too(chromium: Any, folder: Path) -> None:
    single = write_report([folder / "results" / "step-100"], folder / "single.html")
    opened(chromium, single.path.as_uri())
    assert one(chromium, "h1").text == "mini-m3"
    assert not all_of(chromium, "#step, #heat, #onset")
    assert count_of(chromium, "all") == 256


def test_served_pictures_are_looked_up_as_they_are_asked_for(chromium: Any, folder: Path) -> None:
    command = [sys.executable, "-m", "radar_fast", "report", str(folder / "results"), "--serve"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line
        opened(chromium, line.split()[0])
        until(chromium, lambda: one(chromium, ".detail img").get_property("naturalWidth"))
        chromium.get("about:blank")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, errors) == (0, "")
