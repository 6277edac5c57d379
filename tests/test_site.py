"""The site of docs/: built strictly, and nothing in it asks another server for anything."""

import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory, module_monkeypatch):
    """The built site: a link or an anchor that leads nowhere would end the build."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    module_monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    return folder


@pytest.fixture(scope="module")
def module_monkeypatch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


class Fetched(HTMLParser):
    """What a browser fetches for a page by itself."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        if tag != "a":
            self.addresses += [told[name] for name in ("src", "href", "srcset", "poster") if told.get(name)]


def test_every_page_is_there(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= {path.relative_to(site) for path in site.rglob("*.html")}
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in pages:
        assert str(page.with_suffix(".md")) in navigation


def test_pages_fetch_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        page = Fetched()
        page.feed(path.read_text())
        assert page.addresses
        for address in page.addresses:
            assert not re.match(r"(\w+:)?//", address), f"{path.name} fetches {address}"
    for path in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(\w+:)?//|@import", path.read_text())


def test_pictures_and_files_beside_docs_come_along(site):
    for path in site.rglob("*.html"):
        if path.name == "404.html":
            continue
        for source in re.findall(r'<img [^>]*src="([^"]+)"', path.read_text()):
            assert (path.parent / source).is_file(), source
    assert (site / "project" / "assets" / "results" / "speed.json").is_file()


def test_formulas_need_no_script(site):
    page = (site / "methods.html").read_text()
    assert page.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block"') >= 6
    assert "arithmatex" not in page


def test_the_extra_is_what_the_tests_install():
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["docs"]
    lines = (ROOT / "tests" / "requirements.txt").read_text().splitlines()
    assert set(extra) <= {line.partition("#")[0].strip() for line in lines}
