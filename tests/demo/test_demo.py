"""The page, in a real browser."""

import contextlib
import io
import json
import os
import queue
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.explore.made_store import make_store
from xfv_demo import EXPLAINERS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "assets" / "examples"

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_up(url, process, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "the demo ended by itself"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"the demo was not up after {seconds} s")


@contextmanager
def running_demo(folder, **environment):
    """The demo as `python demo/app.py` starts it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = (folder / "log.txt").open("w")
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "demo" / "app.py"), "--model", "mobilefacenet", "--port", str(port)],
        env={**os.environ, "GRADIO_TEMP_DIR": str(folder / "cache"), "PYTHONPATH": "", **environment},
        cwd=folder, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        wait_until_up(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(20)
        log.close()
    assert "Traceback" not in (folder / "log.txt").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def address(folder):
    with running_demo(folder, XFV_STORES=str(make_store(folder / "made"))) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs Chromium: install the package chromium")
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
    ]
    with playwright.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=chromium, args=arguments)
        yield started
        started.close()


@contextmanager
def visit(browser, address):
    """The page, opened. At the end: no console error, and no request that left this machine."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(15_000)
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.get_by_role("tab", name="Compare").wait_for()
    page.get_by_text("Model: mobilefacenet").wait_for(timeout=60_000)
    yield page
    page.close()
    here = address.partition("/?")[0]
    assert [url for url in requests if not url.startswith((here, "data:", "blob:"))] == []
    assert errors == []


@pytest.fixture
def page(browser, address):
    with visit(browser, address) as opened:
        yield opened


def file_field(page, letter):
    return page.locator(".photo").nth("AB".index(letter)).locator("input[type=file]")


def choose(page, probe, reference):
    for letter, photo in zip("AB", (probe, reference), strict=True):
        file_field(page, letter).set_input_files(photo)


def remove(page, letter):
    page.get_by_label("Remove Image").nth("AB".index(letter)).click()
    page.get_by_text(f"Faces found in photo {letter} will stand here").wait_for()


def faces_found(page, letter):
    return page.get_by_alt_text(re.compile(rf"^Face \d+ in photo {letter}$"))


def compare(page, probe, reference):
    choose(page, probe, reference)
    for letter in "AB":
        faces_found(page, letter).first.wait_for()
    page.get_by_role("button", name="Compare").click()


def wait_until_done(page):
    page.get_by_text("done", exact=True).wait_for(timeout=60_000)


def downloaded(page):
    """What the zip holds, by the files' names."""
    with page.expect_download() as download:
        page.get_by_role("link", name="Download .zip").or_(
            page.get_by_role("button", name="Download .zip")
        ).first.click()
    with zipfile.ZipFile(download.value.path()) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def maps_of(page, method):
    return page.locator(f"[data-method={method}] img")


def count_updates(page):
    """Counts from here on how often the occlusion map of photo A changes before one's eyes."""
    page.evaluate(
        """() => {
          window.updates = 0;
          new MutationObserver(changes => {
            for (const change of changes)
              if (change.target.closest?.('[data-method=occlusion]') && change.target.dataset.side === 'A')
                window.updates += 1;
          }).observe(document.body, {subtree: true, attributes: true, attributeFilter: ['src']});
        }"""
    )


def stale_parts(page):
    """By part of the result that shows something, whether it is greyed and out of use."""
    return page.evaluate(
        """() => Object.fromEntries(
          ['.verdict:not(.empty)', '.scale:has(.pair-line)', '.faces:has(img)',
           '[data-method]:has(img[data-side])', '.answer:not(.empty)', '.keep']
          .flatMap(name => [...document.querySelectorAll(name)]
            .map((part, number) => [`${name} ${number}`, part.closest('[inert]') !== null])))"""
    )


def assert_stale(page, what):
    """Photos or settings have changed, and no part of the result stands there as if it were of them."""
    page.locator(".stale", has_text=f"{what} changed: compare again").wait_for(timeout=5000)
    parts = stale_parts(page)
    assert all(parts.values())
    assert len(parts) >= 4


def assert_current(page):
    page.wait_for_function("document.querySelector('.stale').textContent === ''", timeout=5000)
    assert not any(stale_parts(page).values())


def watch_for(page, decision, letter, name):
    """Notes from here on whether this verdict is ever in use beside a photo of this name."""
    page.evaluate(
        """([decision, index, name]) => {
          window.beside = 0;
          const look = () => {
            const verdict = document.querySelector('.verdict');
            const photo = document.querySelectorAll('.photo')[index].querySelector('img[src*="/file="]');
            if (photo?.src.includes(name) && verdict.innerText.includes(decision)
                && !verdict.closest('[inert]')) window.beside += 1;
            requestAnimationFrame(look);
          };
          look();
        }""",
        [decision, "AB".index(letter), name],
    )


def said_by_command(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "xfv_demo", *map(str, arguments), "--model", "mobilefacenet"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos that a page must cope with, by name."""
    folder = tmp_path_factory.mktemp("photos")
    obama, biden = (Image.open(EXAMPLES / name).convert("RGB") for name in ("obama.jpg", "biden.jpg"))
    two = Image.new("RGB", (1000, 600), "grey")
    two.paste(obama.crop((260, 0, 760, 500)).resize((500, 500)), (0, 50))
    two.paste(biden.crop((323, 100, 823, 600)).resize((400, 400)), (560, 100))
    two.save(folder / "two.png")
    huge = Image.new("RGB", (8000, 5000), "grey")
    huge.paste(obama.resize((3640, 4548)), (2000, 200))
    huge.save(folder / "huge.jpg")
    Image.new("RGB", (8000, 7000), "grey").save(folder / "too-large.jpg")
    Image.new("RGB", (300, 300), "grey").save(folder / "wall.png")
    (folder / "notes.jpg").write_text("these are notes, not a photo")
    cut = (EXAMPLES / "biden.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(cut[: len(cut) // 3])
    obama.crop((260, 0, 760, 500)).resize((80, 80)).save(folder / "small.png")
    return folder


def test_verdict_maps_and_zip_give_the_numbers_of_call_and_command(page, address, tmp_path):
    from gradio_client import Client, handle_file

    count_updates(page)
    pair = EXAMPLES / "obama.jpg", EXAMPLES / "obama2.jpg"
    compare(page, *pair)
    page.get_by_role("heading", name="Same person").wait_for(timeout=30_000)
    assert page.evaluate("updates") == 0, "the verdict must not wait for the maps"
    distance, threshold = map(float, re.findall(r"\d\.\d{3}", page.locator(".verdict .numbers").inner_text()))
    assert 0 < distance < threshold
    for letter in "AB":
        page.get_by_alt_text(f"The aligned face of photo {letter}").wait_for()
    wait_until_done(page)
    assert page.evaluate("updates") >= 8
    contents = downloaded(page)
    assert set(contents) == {"report.json", "maps.npz", "occlusion.png", "xssab.png", "figure.png"}
    report = json.loads(contents["report.json"])
    assert f"{report['distance']:.3f}" == f"{distance:.3f}"

    client = Client(address, verbose=False, download_files=str(tmp_path / "downloads"))
    called = {"probe": handle_file(str(pair[0])), "reference": handle_file(str(pair[1]))}
    verdict = client.predict(**called, api_name="/verify")
    assert verdict == json.loads(said_by_command("verify", *pair, "--json"))
    assert {key: report[key] for key in verdict} == verdict
    explained, files = client.predict(**called, methods=["occlusion", "xssab"], api_name="/explain")
    assert {Path(file).name for file in files} == set(contents)
    said_by_command("explain", *pair, "--out", tmp_path / "command")
    told = json.loads((tmp_path / "command" / "report.json").read_text())
    for other in (explained, told):
        assert {key: other[key] for key in verdict} == verdict
        for method, result in report["methods"].items():
            for part in ("summary", "explanations", "regions"):
                assert other["methods"][method][part] == result[part]
    own = np.load(io.BytesIO(contents["maps.npz"]))
    by_call = np.load(next(file for file in files if file.endswith("maps.npz")))
    by_command = np.load(tmp_path / "command" / "maps.npz")
    for other in (by_call, by_command):
        assert set(other.files) == set(own.files)
        for name in own.files:
            np.testing.assert_allclose(other[name], own[name], rtol=1e-5, atol=1e-7)
    assert report["command"] == page.locator(".command textarea").input_value()


def heights(page):
    """Where the parts of the sheet begin, in pixels from its top."""
    return page.evaluate(
        "[...document.querySelectorAll('.verdict-row, .maps section, .keep')]"
        ".filter(part => part.checkVisibility())"
        ".map(part => Math.round(part.getBoundingClientRect().top + window.scrollY))"
    )


def test_what_is_shown_changes_without_computing_and_nothing_jumps(page):
    page.get_by_role("slider", name="Threshold on the distance").wait_for()
    empty = heights(page)
    compare(page, EXAMPLES / "obama.jpg", EXAMPLES / "biden.jpg")
    page.get_by_role("heading", name="Different people").wait_for(timeout=30_000)
    assert "confident" in page.locator(".verdict h2").inner_text()
    wait_until_done(page)
    np.testing.assert_allclose(heights(page), empty, atol=3)

    def changes(method, action):
        before = maps_of(page, method).first.get_attribute("src")
        action()
        page.wait_for_function(
            "([method, before]) => document.querySelector(`[data-method=${method}] img`).src !== before",
            arg=[method, before], timeout=5000,
        )  # fmt: skip

    changes("occlusion", lambda: page.get_by_label("paired").check(force=True))
    assert page.evaluate("document.activeElement.value") == "paired", "the keyboard must not lose its place"
    changes("xssab", lambda: page.get_by_label("against", exact=True).check(force=True))
    changes("occlusion", lambda: page.get_by_label("map alone").check())
    changes("xssab", lambda: page.get_by_label("see-through").check())

    maps_of(page, "occlusion").first.click(position={"x": 100, "y": 160})
    page.get_by_text(re.compile("in photo A")).first.wait_for()
    assert "of the evidence" in page.locator(".answer").inner_text()

    verdict = page.locator(".verdict")
    page.locator("input.threshold").fill("1.3")
    page.get_by_role("heading", name="Same person").wait_for()
    assert "moved to, 1.300" in verdict.inner_text()
    page.get_by_role("button", name="back to").click()
    page.get_by_role("heading", name="Different people").wait_for()
    assert re.search(r"1 in \d+ strangers pass", verdict.inner_text())


def test_methods_are_chosen_in_settings_and_weights_have_their_own_legend(page):
    assert not page.locator("[data-method=xcos]").is_visible()
    page.get_by_text("Settings", exact=True).click()
    offered = page.locator(".methods input[type=checkbox]")
    # What the drawer holds is made when it is opened.
    offered.last.wait_for()
    assert offered.count() == len(EXPLAINERS)
    page.get_by_role("checkbox", name=re.compile("^Occlusion")).uncheck()
    for title in ("Grid cells", "Local cosines"):
        page.get_by_role("checkbox", name=re.compile(f"^{title}")).check()
    page.locator("[data-method=xcos]").wait_for()
    page.locator("[data-method=occlusion]").wait_for(state="hidden")
    compare(page, EXAMPLES / "obama.jpg", EXAMPLES / "biden.jpg")
    wait_until_done(page)
    for method in ("xssab", "grid", "xcos"):
        assert maps_of(page, method).count() == 2
    assert "--methods xssab,grid,xcos" in page.locator(".command textarea").input_value()
    page.get_by_label("attention").check(force=True)
    page.get_by_text("counts much").wait_for()
    assert "share of weight" in page.locator("[data-method=xcos]").inner_text()
    page.set_viewport_size({"width": 390, "height": 844})
    switch = page.locator("[data-method=xcos] .views")
    edges = switch.evaluate("box => [box, ...box.children].map(part => part.getBoundingClientRect().right)")
    assert max(edges) <= 390
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_only_comparing_is_queued(page):
    # Of two queued calls the page may lose the second's result; see demo/compare/wiring.py.
    queued = []
    page.on("request", lambda sent: queued.append(sent.url) if "/queue/join" in sent.url else None)
    choose(page, EXAMPLES / "obama.jpg", EXAMPLES / "biden.jpg")
    for letter in "AB":
        faces_found(page, letter).first.wait_for()
    assert queued == []
    page.get_by_role("button", name="Compare").click()
    wait_until_done(page)
    answers = []
    page.on("requestfinished", lambda sent: answers.append(sent.url) if "/run/predict" in sent.url else None)
    # Drawn anew, then packed anew.
    with page.expect_event("requestfinished", lambda sent: len(answers) == 2):
        page.get_by_label("map alone").check()
    assert len(queued) == 1


def flaws_of_plot(page):
    """Which words and numbers that are shown lie on one another or outside, by a pixel or more."""
    return page.evaluate(
        """() => {
          const shown = [...document.querySelectorAll('.tradeoff svg text')]
            .map(part => [part.textContent, part.getBoundingClientRect()])
            .filter(([, box]) => box.width > 0);
          const overlap = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
            && a.top < b.bottom - 1 && b.top < a.bottom - 1;
          const plot = [...document.querySelectorAll('.tradeoff svg')]
            .map(part => part.getBoundingClientRect());
          const outside = shown.filter(([, box]) => !plot.some(frame =>
            box.left >= frame.left - 1 && box.right <= frame.right + 1
            && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1));
          return [...outside.map(([name]) => `${name} is outside`),
            ...shown.flatMap(([name, box], index) => shown.slice(0, index)
              .filter(([, other]) => overlap(box, other)).map(([other]) => `${name} | ${other}`))];
        }"""
    )


def test_the_benchmark_has_a_tab_and_comparing_goes_on_beside_it(page):
    report = json.loads((ROOT / "assets/results/mobilefacenet-lfw-explanations.json").read_text())
    compare(page, EXAMPLES / "obama.jpg", EXAMPLES / "biden.jpg")
    page.get_by_role("heading", name="Different people").wait_for(timeout=30_000)
    page.get_by_role("tab", name="Benchmark").click()
    page.get_by_role("heading", name="Which explanation is right?").wait_for()
    assert not page.locator(".verdict").is_visible()
    rows = page.locator(".benchmark table.contenders tbody tr")
    assert rows.count() == len(report["contenders"])
    assert flaws_of_plot(page) == []
    page.evaluate("document.querySelectorAll('.benchmark details').forEach(part => part.open = true)")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert flaws_of_plot(page) == []
    name, seconds = rows.first.locator("th"), rows.first.locator("td").last
    left = name.bounding_box()["x"]
    seconds.evaluate("cell => cell.closest('.scroll').scrollLeft = 9999")
    box = seconds.bounding_box()
    assert box["x"] + box["width"] <= 390
    assert name.bounding_box()["x"] == left

    page.set_viewport_size({"width": 1440, "height": 900})
    page.get_by_role("tab", name="Compare").click()
    wait_until_done(page)
    assert maps_of(page, "occlusion").count() == 2
    page.get_by_role("tab", name="Benchmark").click()
    page.get_by_role("tab", name="Compare").click()
    remove(page, "B")
    file_field(page, "B").set_input_files(EXAMPLES / "obama2.jpg")
    faces_found(page, "B").first.wait_for()
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="Same person").wait_for(timeout=30_000)
    wait_until_done(page)


def test_a_whole_data_set_is_filtered_stepped_through_and_shared(browser, address):
    with visit(browser, address) as page:
        # Nothing of a store is asked for before.
        assert page.locator(".filters").count() == 0
        page.get_by_role("tab", name="Explore").click()
        page.locator(".count b", has_text="200").wait_for()
        page.get_by_label("false match").check()
        page.get_by_role("button", name="confidence").click()
        page.locator("th.confidence[aria-sort=descending]").wait_for()
        found = int(page.locator(".count b").inner_text())
        stated = page.locator(".listing td.confidence").all_inner_texts()
        assert len(stated) == found >= 6

        plot = page.locator("[data-measure=distance] .plot").bounding_box()
        page.mouse.move(plot["x"] + 2, plot["y"] + 60)
        page.mouse.down()
        page.mouse.move(plot["x"] + 0.25 * plot["width"], plot["y"] + 50, steps=5)
        page.mouse.up()
        end = float(page.locator("[name=distance_to]").input_value())
        page.wait_for_function(
            """([end, found]) => {
              const left = [...document.querySelectorAll('.listing td.distance')].map(one => one.innerText);
              return left.length > 0 && left.length < found && left.every(one => one <= end);
            }""",
            arg=[end, found],
        )
        page.get_by_label("Show all again, whatever their distance").click()
        page.locator(".count b", has_text=str(found)).wait_for()

        page.locator(".listing tbody a").first.click()
        page.get_by_text(f"1 of {found}").wait_for()
        for place in range(2, 7):
            # By keyboard: the focus goes along.
            page.keyboard.press("Enter")
            page.get_by_text(f"{place} of {found}").wait_for()
        told = page.locator(".decided").inner_text()
        assert stated[5].replace("\N{NO-BREAK SPACE}", " ") in told.replace("\N{NO-BREAK SPACE}", " ")
        link = page.url
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    with visit(browser, link) as second:
        second.get_by_text(f"6 of {found}").wait_for()
        assert second.locator(".decided").inner_text() == told
        assert second.get_by_label("false match").is_checked()
        second.get_by_role("button", name="back to the list").click()
        second.locator("th.confidence[aria-sort=descending]").wait_for()
        assert second.locator(".listing td.confidence").all_inner_texts() == stated


def test_stop_stops_and_keeps_what_is_there(page):
    count_updates(page)
    page.get_by_role("button", name="hard: half a face").click()
    for letter in "AB":
        faces_found(page, letter).first.wait_for()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_function("updates >= 2", timeout=30_000)
    asked = page.evaluate("updates")
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("stopped with Occlusion at").wait_for()
    seen = page.evaluate("updates")
    # What was on its way, and no more: eight come in a second of an idle machine.
    assert seen - asked <= 8
    page.wait_for_timeout(700)
    assert page.evaluate("updates") == seen
    assert maps_of(page, "occlusion").count() == 2
    assert {"report.json", "occlusion.png"} <= set(downloaded(page))
    page.get_by_role("button", name="Compare").click()
    wait_until_done(page)


@contextmanager
def late_stream(address, seconds):
    """The page as from a host far away: what is streamed comes later than what is answered at once."""
    upstream = urllib.parse.urlsplit(address)

    def hand_on(source, target, wait):
        # All are as late, however many there are.
        received = queue.SimpleQueue()

        def send():
            with contextlib.suppress(OSError):
                while (late := received.get()) is not None:
                    due, content = late
                    time.sleep(max(0, due - time.monotonic()))
                    target.sendall(content)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        with contextlib.suppress(OSError):
            while content := source.recv(65_536):
                received.put((time.monotonic() + wait, content))
        received.put(None)
        sender.join()

    class Proxy(socketserver.BaseRequestHandler):
        def handle(self):
            head = b""
            while b"\r\n\r\n" not in head:
                content = self.request.recv(65_536)
                if not content:
                    return
                head += content
            # One request a connection, so that its first line tells of all that follows.
            head = re.sub(rb"(?i)connection: keep-alive", b"Connection: close", head)
            wait = seconds if b"/queue/data" in head.partition(b"\r\n")[0] else 0
            with socket.create_connection((upstream.hostname, upstream.port)) as server:
                server.sendall(head)
                threading.Thread(target=hand_on, args=(self.request, server, 0), daemon=True).start()
                hand_on(server, self.request, wait)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as proxy:
        proxy.daemon_threads = True
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
        proxy.shutdown()


def test_what_is_streamed_late_undoes_neither_stop_nor_deletion(browser, address):
    with late_stream(address, 0.1) as late, visit(browser, late) as page:
        compare(page, EXAMPLES / "obama.jpg", EXAMPLES / "biden.jpg")
        maps_of(page, "occlusion").first.wait_for(timeout=30_000)
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("stopped with Occlusion at").wait_for()
        page.wait_for_timeout(1000)
        assert page.get_by_text("stopped with Occlusion at").is_visible()
        assert page.get_by_role("button", name="Stop").is_disabled()

        count_updates(page)
        page.get_by_role("button", name="Compare").click()
        page.wait_for_function("updates >= 2", timeout=30_000)
        page.get_by_role("button", name="Delete now").click()
        page.get_by_text("photos and results are deleted").wait_for()
        page.wait_for_timeout(1000)
        assert page.get_by_text("photos and results are deleted").is_visible()
        assert page.locator("[data-method] img, .verdict-row h2").all_inner_texts() == ["Same or different?"]


@pytest.mark.parametrize("seconds", [0, 0.2])
def test_no_verdict_stands_beside_a_photo_that_it_is_not_of(browser, address, seconds):
    """Compare two people, replace A while it runs, press Compare."""
    with late_stream(address, seconds) as late, visit(browser, late) as page:
        compare(page, EXAMPLES / "obama.jpg", EXAMPLES / "biden.jpg")
        page.get_by_role("heading", name="Different people").wait_for(timeout=30_000)
        maps_of(page, "occlusion").first.wait_for(timeout=30_000)
        remove(page, "B")
        assert_stale(page, "photos")
        watch_for(page, "Different people", "B", "obama2.jpg")
        file_field(page, "B").set_input_files(EXAMPLES / "obama2.jpg")
        faces_found(page, "B").first.wait_for()
        page.get_by_role("button", name="Compare").click()
        page.get_by_role("heading", name="Same person").wait_for(timeout=30_000)
        assert page.evaluate("beside") == 0
        assert_current(page)
        # As pressed anew while that runs.
        maps_of(page, "occlusion").first.wait_for(timeout=30_000)
        page.get_by_role("button", name="Compare").click()
        page.locator(".result[data-of='3'] .verdict").wait_for(timeout=30_000)
        page.locator(".result[data-of='3'] [data-method=occlusion]").wait_for(timeout=30_000)
        assert page.locator(".result[data-of='1'], .result[data-of='2']").count() == 0
        assert_current(page)


def test_a_verdict_that_comes_after_its_photo_was_replaced_is_greyed_at_once(browser, address):
    with late_stream(address, 1.5) as late, visit(browser, late) as page:
        watch_for(page, "Different people", "B", "obama2.jpg")
        choose(page, EXAMPLES / "obama.jpg", EXAMPLES / "biden.jpg")
        for letter in "AB":
            faces_found(page, letter).first.wait_for()
        page.get_by_role("button", name="Compare").click()
        page.wait_for_timeout(1000)
        page.get_by_role("button", name="same person", exact=True).click()
        page.get_by_text("stopped, as photos or settings changed").wait_for(timeout=30_000)
        assert page.evaluate("beside") == 0
        parts = stale_parts(page)
        assert all(stale for part, stale in parts.items() if not part.startswith(".keep"))


def test_what_is_of_other_photos_faces_or_settings_is_greyed_and_out_of_use(page, photos):
    choose(page, photos / "two.png", EXAMPLES / "biden.jpg")
    page.get_by_text("2 faces found: pick one").wait_for()
    faces_found(page, "B").first.wait_for()
    page.get_by_role("button", name="Compare").click()
    maps_of(page, "occlusion").first.wait_for(timeout=30_000)
    page.get_by_role("button", name="Stop").click()
    page.get_by_text(re.compile("^stopped")).wait_for()
    assert_current(page)
    maps_of(page, "occlusion").first.click(position={"x": 100, "y": 160})
    page.get_by_text(re.compile("in photo A")).first.wait_for()

    page.get_by_role("radio", name="Face 2 in photo A").check(force=True)
    assert_stale(page, "photos")
    page.get_by_role("radio", name="Face 1 in photo A").check(force=True)
    assert_current(page)

    page.get_by_text("Settings", exact=True).click()
    for change, undo in (("bfloat16, faster", "float32, exact"), ("edges covered too", "as published")):
        page.get_by_label(change).check()
        assert_stale(page, "settings")
        page.get_by_label(undo).check()
        assert_current(page)
    page.get_by_label("28", exact=True).uncheck()
    assert_stale(page, "settings")
    # What has another look, or more to come, is of the same photos.
    page.get_by_label("28", exact=True).check()
    page.get_by_label("map alone").check()
    page.get_by_role("checkbox", name=re.compile("^Grid cells")).check()
    assert_current(page)

    remove(page, "B")
    assert_stale(page, "photos")
    # Drawn anew, it is still of the other photo.
    before = maps_of(page, "occlusion").first.get_attribute("src")
    page.get_by_label("see-through").check()
    page.wait_for_function(
        "before => document.querySelector('[data-method=occlusion] img').src !== before", arg=before
    )
    assert_stale(page, "photos")
    file_field(page, "B").set_input_files(photos / "notes.jpg")
    page.locator(".found", has_text="is not an image").wait_for()
    assert_stale(page, "photos")
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("nothing was compared").wait_for()
    assert_stale(page, "photos")


def test_two_visitors_do_not_mix(browser, address):
    with visit(browser, address) as first, visit(browser, address) as second:
        for page, pair in ((first, "different people"), (second, "same person")):
            page.get_by_role("button", name=pair, exact=True).click()
            for letter in "AB":
                faces_found(page, letter).first.wait_for()
        first.get_by_role("button", name="Compare").click()
        first.get_by_role("heading", name="Different people").wait_for(timeout=30_000)
        second.get_by_role("button", name="Compare").click()
        second.get_by_text(re.compile(r"queue: 1/1")).wait_for()
        for page, decision in ((first, "Different people"), (second, "Same person")):
            wait_until_done(page)
            page.get_by_role("heading", name=decision).wait_for()
        pictures = [
            page.get_by_alt_text("The aligned face of photo B").get_attribute("src")
            for page in (first, second)
        ]
        assert pictures[0] != pictures[1]


def test_of_several_faces_one_is_picked(page, photos):
    choose(page, photos / "two.png", EXAMPLES / "biden.jpg")
    page.get_by_text("2 faces found: pick one").wait_for()
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="Different people").wait_for(timeout=30_000)
    page.get_by_role("button", name="Stop").click()
    page.get_by_text(re.compile("^stopped")).wait_for()
    page.get_by_role("radio", name="Face 2 in photo A").check(force=True)
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="Same person").wait_for(timeout=30_000)
    assert "--face-a 1" in page.locator(".command textarea").input_value()


def test_a_photo_of_40_megapixels_is_read_and_a_small_face_is_cautioned(page, photos):
    choose(page, photos / "huge.jpg", photos / "small.png")
    for letter in "AB":
        faces_found(page, letter).first.wait_for(timeout=60_000)
    page.get_by_role("button", name="Compare").click()
    page.locator(".verdict .caution", has_text='the face in "small.png" is').wait_for(timeout=30_000)
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("stopped", exact=False).first.wait_for()


def test_photos_that_cannot_be_used_say_so_and_nothing_is_lost(page, photos):
    compare(page, EXAMPLES / "obama.jpg", EXAMPLES / "obama2.jpg")
    page.get_by_role("heading", name="Same person").wait_for(timeout=30_000)
    wait_until_done(page)
    for name, problem in (
        ("notes.jpg", "is not an image"),
        ("cut.jpg", "is cut off or damaged"),
        ("wall.png", "shows no face"),
        ("too-large.jpg", "megapixels"),
    ):
        remove(page, "B")
        file_field(page, "B").set_input_files(photos / name)
        page.get_by_text(re.compile(rf'Photo B: "{re.escape(name)}".*{problem}')).first.wait_for()
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("nothing was compared").wait_for()
    assert page.locator(".verdict h2").inner_text().startswith("= Same person")
    assert maps_of(page, "occlusion").count() == 2
    assert_stale(page, "photos")


def test_a_missing_photo(page):
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("Photo A and photo B are missing: choose a file for each first.").first.wait_for()


def files_in(folder):
    # Unlike rglob, os.walk bears that folders go meanwhile.
    found = [Path(root, name) for root, _, names in os.walk(folder) for name in names]
    return [file for file in found if file.is_file()]


def test_deleting_now_leaves_nothing(page, folder):
    # Not those of pages that were closed a moment ago.
    before = set(files_in(folder / "cache"))
    compare(page, EXAMPLES / "obama3.jpg", EXAMPLES / "biden.jpg")
    wait_until_done(page)
    made = set(files_in(folder / "cache")) - before
    assert {file.name for file in made} == {"obama3.jpg", "biden.jpg", "explanation.zip"}
    page.get_by_role("button", name="Delete now").click()
    page.get_by_text("photos and results are deleted").wait_for()
    assert made.isdisjoint(files_in(folder / "cache"))
    page.get_by_role("heading", name="Same or different?").wait_for()
    assert maps_of(page, "occlusion").count() == 0
    assert page.locator("input[type=file]").count() == 2


def test_no_photo_outlives_the_page(browser, address, folder):
    before = set(files_in(folder / "cache"))
    with visit(browser, address) as page:
        page.get_by_role("button", name="same, another day").click()
        faces_found(page, "B").wait_for()
        remove(page, "B")
        file_field(page, "B").set_input_files(EXAMPLES / "biden.jpg")
        faces_found(page, "B").wait_for()
        page.get_by_role("button", name="Compare").click()
        page.get_by_role("heading", name="Different people").wait_for(timeout=30_000)
        made = set(files_in(folder / "cache")) - before
        assert "biden.jpg" in {file.name for file in made}
    wait_until_gone(folder / "cache", 20, before)


def test_no_photo_outlives_the_deletion_time(browser, tmp_path):
    # Long enough that a loaded machine has compared the photos before they go; no later than 14 s after it.
    with running_demo(tmp_path, XFV_DELETE_AFTER="30") as url, visit(browser, url) as page:
        compare(page, EXAMPLES / "obama3.jpg", EXAMPLES / "biden.jpg")
        wait_until_done(page)
        wait_until_gone(tmp_path / "cache", 30 + 14)
        page.get_by_role("heading", name="Different people").wait_for()


def wait_until_gone(folder, seconds, others=frozenset()):
    def there():
        # The mark by which the folder of a killed process is known is no visitor's.
        return [file for file in files_in(folder) if file not in others and file.name != ".xfv-demo"]

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and there():
        time.sleep(0.2)
    assert there() == []


def test_on_a_space_visitors_agree_before_their_photos_are_looked_at(browser, tmp_path):
    with running_demo(tmp_path, SPACE_ID="somebody/faces") as url, visit(browser, url) as page:
        page.get_by_text("Your photos are sent to a server of Hugging Face").wait_for()
        choose(page, EXAMPLES / "obama.jpg", EXAMPLES / "obama2.jpg")
        page.get_by_text("tick the box above the photos first").first.wait_for()
        page.get_by_role("button", name="Compare").click()
        page.get_by_text("nothing was compared").first.wait_for()
        assert faces_found(page, "A").count() == 0
        page.get_by_label("I may use these photos").check()
        page.get_by_role("button", name="Compare").click()
        page.get_by_role("heading", name="Same person").wait_for(timeout=30_000)
        assert faces_found(page, "A").count() == 1


def test_a_model_that_is_none_ends_in_one_line():
    done = subprocess.run(
        [sys.executable, str(ROOT / "demo" / "app.py"), "--model", "no-such-model"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no-such-model" in done.stderr


def test_a_taken_port_ends_in_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, str(ROOT / "demo" / "app.py"), "--model", "mobilefacenet",
             "--port", str(taken.getsockname()[1])],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 2
    assert "choose another --port" in done.stderr
    assert "Traceback" not in done.stderr
