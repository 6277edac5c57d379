"""The tab that explores whole data sets: laid out, wired and answered."""

import html
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import gradio as gr

from demo.compare.event_data import number_of, told
from demo.compare.faces_html import EXAMPLES
from demo.explore import gallery_html
from demo.explore.charts_html import charts_html
from demo.explore.explore_js import EXPLORE, OPEN_COMPARE, OPEN_TAB
from demo.explore.link import STORE, Asked, link, read_link, store_of
from demo.explore.pictures import Pictures
from demo.explore.stores import SHIPPED, Stores
from demo.server import uploads
from xfv_demo.errors import XfvError
from xfv_demo.explore.browse import PairBrowser

_WAITING = '<p class="nothing" role="status">The pairs are being counted.</p>'


def explore_tab(stores: Stores, photos: list[Any], *, at_hand: bool) -> None:
    """Lays the tab out; nothing of a store is read before a visitor opens it.

    Args:
        stores: What can be looked at.
        photos: Where Compare takes its two photos from.
        at_hand: Whether data sets that were fetched to this machine may be shown, as for `Pictures`.
    """
    if not stores.keys:
        gr.HTML(gallery_html.nothing_html())
        return
    explorer = Explorer(stores, Pictures(at_hand=at_hand))
    with gr.Row(elem_classes="explore"):
        filters = gr.HTML(elem_classes="filters-place")
        with gr.Column(elem_classes="found-pairs", min_width=0):
            charts = gr.HTML(elem_classes="charts-place")
            listing = gr.HTML(_WAITING, js_on_load=EXPLORE, elem_classes="listing-place")
    at_once: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    listing.select(explorer.explored, None, [filters, charts, listing], trigger_mode="multiple", **at_once)
    listing.click(explorer.compared_live, None, photos, **at_once).success(
        None, None, None, js=OPEN_COMPARE, show_progress="hidden", queue=False
    )


def open_by_link(page: gr.Blocks) -> None:
    """Has the tab opened where the page's address is a link into it.

    Args:
        page: The page that is being laid out.
    """
    page.load(None, None, None, js=OPEN_TAB, show_progress="hidden", queue=False)


class Explorer:
    """Answers what is asked of stores. It keeps nothing of a visitor.

    Args:
        stores: What can be looked at.
        pictures: Where their faces come from.
    """

    def __init__(self, stores: Stores, pictures: Pictures) -> None:
        self._stores = stores
        self._pictures = pictures

    def explored(self, event: gr.EventData) -> tuple[Any, Any, Any]:
        """What an address asks for: the filters, the histograms, and the list or a pair."""
        query = told(event, "query")
        if not isinstance(query, str):
            raise gr.Error("this call needs a text as query", print_exception=False)
        try:
            filters, charts, listing = self.shown(query)
        except XfvError as error:
            # What cannot be asked for has no place in the fields either: all pairs stand beside the line.
            filters, charts = self._all_pairs()
            listing = gallery_html.problem_html(str(error))
        return filters, charts, gallery_html.answer_html(query, listing)

    def compared_live(self, event: gr.EventData) -> tuple[str, str]:
        """The two photos of a pair, to be compared by all methods."""
        key, number = told(event, "store"), number_of(event, "pair", 2**53)
        try:
            browser = self._stores.browser(str(key))
            row = browser.pair(int(number))
            paths = (self._paths(browser, row) if row else None) or ()
            copied = [path if isinstance(path, str) else _copied(*path) for path in paths]
        except XfvError as error:
            raise gr.Error(html.escape(str(error)), print_exception=False) from error
        if not copied:
            raise gr.Error("the photos of this pair are not on this machine", print_exception=False)
        return copied[0], copied[1]

    def _paths(self, browser: PairBrowser, row: Mapping[str, Any]) -> list[str | tuple[str, bytes]] | None:
        """Both photos of a pair: shipped ones' paths, or fetched ones' names and contents; None without."""
        keys = (row["first"], row["second"])
        if browser.store.path.parent == SHIPPED:
            shipped = [EXAMPLES / PurePosixPath(key).name for key in keys]
            if all(uploads.example_file(str(path)) for path in shipped):
                return [str(path) for path in shipped]
        photos = self._pictures.photos(browser, keys)
        if not all(key in photos for key in keys):
            return None
        return [(PurePosixPath(key).name, photos[key]) for key in keys]

    def shown(self, query: str) -> tuple[str, str, str]:
        """The same, of an address.

        Args:
            query: What stands behind its question mark.

        Raises:
            XfvError: It asks for what there is not, or the store is broken.
        """
        key = store_of(query) or self._stores.keys[0]
        browser = self._stores.browser(key)
        query = link(query, **{STORE: key})
        asked = read_link(query, browser.store.manifest)
        filters, charts, total = self._counted(browser, asked)
        if asked.pair is not None:
            return filters, charts, self._pair(query, browser, asked, asked.pair, total)
        return filters, charts, self._list(query, browser, asked, total)

    def _all_pairs(self) -> tuple[Any, Any]:
        try:
            browser = self._stores.browser(self._stores.keys[0])
            filters, charts, _ = self._counted(browser, read_link("", browser.store.manifest))
        except XfvError:
            return gr.skip(), gr.skip()
        return filters, charts

    def _counted(self, browser: PairBrowser, asked: Asked) -> tuple[str, str, int]:
        everything = browser.everything(asked.filter.evidence)
        shown = browser.overview(asked.filter)
        manifest = browser.store.manifest
        filters = gallery_html.filters_html(
            self._stores.titles(), manifest, shown, browser.caution_kinds(), everything
        )
        return filters, charts_html(shown, everything, asked.filter, manifest), shown.pairs

    def _list(self, query: str, browser: PairBrowser, asked: Asked, total: int) -> str:
        start = (asked.page - 1) * gallery_html.PAGE
        rows = browser.rows(asked.filter, asked.order, start, gallery_html.PAGE) if start < total else []
        pictures = self._pictures.small(browser, [row[side] for row in rows for side in ("first", "second")])
        shared = ""
        if asked.shared and total:
            methods = browser.store.manifest.methods
            means = {one.key: browser.mean_map(asked.filter, one.key) for one in methods}
            shared = gallery_html.shared_html(
                methods,
                browser.mean_evidence(asked.filter),
                browser.mean_evidence(None),
                {method: mean for method, mean in means.items() if mean is not None},
                total,
            )
        return gallery_html.list_html(query, asked, rows, total, pictures, shared)

    def _pair(self, query: str, browser: PairBrowser, asked: Asked, pair: int, total: int) -> str:
        row = browser.pair(pair)
        if row is None:
            raise XfvError(f"this store has no pair {pair}; go back to the list")
        stands = browser.neighbours(asked.filter, asked.order, pair)
        faces = self._pictures.faces(browser, (row["first"], row["second"]))
        live = store_of(query) if self._paths(browser, row) else None
        return gallery_html.pair_html(
            query, row, browser.store.manifest, faces, browser.maps(pair), stands, total, live
        )


def _copied(name: str, content: bytes) -> str:
    """A copy among the visitors' files, as if it had been uploaded; it is deleted as they are."""
    path = uploads.new_folder(len(content)) / name
    path.write_bytes(content)
    return str(path)
