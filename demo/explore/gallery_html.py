"""The explorer's words and pictures but for the histograms, as pieces of HTML (pure).

What comes from a store is escaped: names, keys and cautions are whatever the data set says. Nothing says what
stands in the form's fields, which are the visitor's.
"""

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo.compare.maps_html import legend_html, regions_html, short_name
from demo.compare.session import LETTERS, DisplayOptions
from demo.explore.charts_html import FORM
from demo.explore.link import STORE, Asked, link
from demo.shared_html import as_sentence, dataset_name
from xfv_demo.explainers.explanation import MapPair, View
from xfv_demo.explore.browse import ORDERS, Evidence, Neighbours, Overview
from xfv_demo.explore.schema import OUTCOMES, Manifest, MethodEntry, evidence_column
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.faces.region_words import summary, weight_summary
from xfv_demo.faces.regions import REGION_GROUPS, region_evidence, signed_percent
from xfv_demo.plots.colours import WEIGHTS, enlarge, map_on_photo, png_data_uri, shared_scale
from xfv_demo.types import FloatArray

PAGE = 25
"""So many pairs stand on a page of the list."""

# Sides of the pictures of maps, in pixels.
_SIZE = 336

# What a decision came to, and whether that is right.
_IN_WORDS = {
    "true match": ("labelled as one person, and taken for one", True),
    "true non-match": ("labelled as two people, and taken for two", True),
    "false match": ("labelled as two people, but taken for one", False),
    "false non-match": ("labelled as one person, but taken for two", False),
    "failed": ("nothing was decided", None),
}
# As one looks for them.
_OUTCOME_ORDER = sorted(OUTCOMES, key=lambda outcome: _IN_WORDS[outcome][1] is not False)

# The list's columns but for the pair itself: the column to sort by, and its heading.
_COLUMNS = (
    ("genuine", "label"),
    ("outcome", "decision"),
    ("distance", "distance"),
    ("confidence", "confidence"),
    ("size", "smaller face"),
    ("evidence", "evidence"),
)


def filters_html(
    titles: Mapping[str, str],
    manifest: Manifest,
    shown: Overview,
    cautions: Sequence[str],
    everything: Overview,
) -> str:
    """What pairs can be filtered by but for ranges, and how many there are of each kind.

    Args:
        titles: By key, what people call each store.
        manifest: The store's.
        shown: What the filter leaves.
        cautions: The kinds of cautions.
        everything: The same without a filter.
    """
    total = everything.pairs
    outcomes = "".join(
        f'<label><input type="checkbox" name="outcome" value="{one}"><span>{_sign(one)} {one}</span>'
        f"<output>{shown.by_outcome[one]:,}</output></label>"
        for one in _OUTCOME_ORDER
        if one != "failed" or everything.by_outcome[one]
    )
    labels = (("", "both", sum(shown.by_label.values())), ("one", "one person", shown.by_label[True]))
    radios = "".join(
        '<label><input type="radio" name="label" '
        f'value="{value}"{"" if value else " checked"}><span>{words}</span>'
        f"<output>{count:,}</output></label>"
        for value, words, count in (*labels, ("two", "two people", shown.by_label[False]))
    )
    kinds = "".join(f'<option value="{html.escape(kind)}">{html.escape(kind)}</option>' for kind in cautions)
    stores = "".join(f'<option value="{key}">{html.escape(title)}</option>' for key, title in titles.items())
    orders = "".join(
        f'<option value="{key}">{words}</option>'
        for key, (words, _) in ORDERS.items()
        if manifest.methods or key.removeprefix("-") != "evidence"
    )
    hidden = "".join(f'<input type="hidden" name="{name}">' for name in ("page", "pair", "shared"))
    return (
        f'<form id="{FORM}" class="filters" autocomplete="off">{hidden}'
        f'<label class="field"><span>Data set and model</span><select name="{STORE}">'
        f"{stores}</select></label>"
        f'<p class="about">{_about(manifest, total)}</p>'
        f'<p class="count" role="status"><b>{shown.pairs:,}</b> of {total:,} pairs</p>'
        f"<fieldset><legend>What became of them</legend>{outcomes}</fieldset>"
        f"<fieldset><legend>Label</legend>{radios}</fieldset>"
        '<label class="field"><span>A person&#x27;s name</span><input type="search" '
        'name="person" maxlength="100" '
        'placeholder="any part of it"></label>'
        '<label class="field"><span>Cautions: a face is &hellip;</span><select '
        'name="caution"><option value="">'
        'whatever it is</option><option value="none">without a caution</option><option value="any">'
        f"with some caution</option>{kinds}</select></label>"
        f'<label class="field"><span>Order</span><select name="sort">{orders}</select></label>'
        '<p><button type="button" class="text" '
        f'data-set="{html.escape(_NO_FILTER)}">Show all pairs again</button></p></form>'
    )


_NO_FILTER = "&".join(
    f"{name}="
    for name in (
        *("outcome", "label", "person", "caution", "page", "pair"),
        *(f"{one}_{end}" for one in ("distance", "confidence", "size", "evidence") for end in ("from", "to")),
    )
)


def _about(manifest: Manifest, total: int) -> str:
    """What a store is of, and whether its confidences saw its pairs."""
    dataset = html.escape(dataset_name(manifest.dataset))
    told = f"{html.escape(manifest.model)} on {dataset}."
    if not manifest.complete:
        told += f" {total:,} of {manifest.pairs:,} pairs are done."
    fit = manifest.calibration.fit if manifest.calibration else None
    if fit == "foldwise":
        told += " Each pair is decided by a fit that has not seen it."
    elif fit == "elsewhere" and manifest.calibration:
        told += (
            f" Threshold and confidence come from {html.escape(dataset_name(manifest.calibration.dataset))}."
        )
    elif fit == "none":
        told += " Without a confidence: no fit has not seen the pairs."
    return told


# The list ---------------------------------------------------------------------------------------------------


def list_html(
    query: str,
    asked: Asked,
    rows: Sequence[Mapping[str, Any]],
    total: int,
    pictures: Mapping[str, str],
    shared: str,
) -> str:
    """A page of the pairs.

    Args:
        query: The address that is asked for.
        asked: The same, read.
        rows: The page's pairs, as from `PairBrowser.rows`.
        total: How many pairs the filter leaves.
        pictures: By image, the address of a small picture of its face.
        shared: What these pairs have in common; empty where that is not asked for.
    """
    has_evidence = asked.filter.evidence is not None
    columns = [one for one in _COLUMNS if has_evidence or one[0] != "evidence"]
    heads = "".join(_head_html(key, words, asked.order) for key, words in columns)
    body = "".join(_row_html(query, row, pictures, evidence=has_evidence) for row in rows)
    first = (asked.page - 1) * PAGE
    pages = max(1, math.ceil(total / PAGE))
    if not rows:
        nothing = "No pair is left by these filters." if not total else "The list ends before this page."
        table = f'<p class="nothing">{nothing}</p>'
    else:
        table = (
            '<div class="scroll" role="region" tabindex="0" aria-label="Pairs"><table><thead><tr>'
            f'<th scope="col">pair</th>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
        )
    turn = (
        f'<nav aria-label="Pages of the list">{_step_html("previous", asked.page - 1, asked.page > 1)}'
        f"<span>{first + 1:,} to {first + len(rows):,} of {total:,}</span>"
        f"{_step_html('next', asked.page + 1, asked.page < pages)}</nav>"
        if rows
        else ""
    )
    share = f'<a class="share" href="?{html.escape(query)}">Link to this list</a>'
    opener = _shared_button(asked, total) if has_evidence else ""
    return (
        f'<section class="listing" aria-label="Pairs"><div class="bar">{opener}{turn}</div>{shared}{table}'
        f'<div class="bar end">{share}{turn}</div></section>'
    )


def _head_html(key: str, words: str, order: str) -> str:
    """A heading that sorts by its column, and the other way round where the list is sorted by it."""
    descending, ascending = f"-{key}", key
    current = {ascending: "ascending", descending: "descending"}.get(order)
    # What is large is of more interest, but a small distance and a small face.
    first = ascending if key in ("distance", "size") else descending
    other = {ascending: descending, descending: ascending}.get(order, first)
    arrow = {"ascending": " \N{UPWARDS ARROW}", "descending": " \N{DOWNWARDS ARROW}"}.get(current or "", "")
    sort = f' aria-sort="{current}"' if current else ""
    return (
        f'<th scope="col"{sort} class="{key}"><button type="button" '
        f'data-set="sort={other}&amp;page=&amp;pair=">'
        f"{words}{arrow}</button></th>"
    )


def _step_html(words: str, page: int, there: bool) -> str:
    disabled = "" if there else " disabled"
    return (
        f'<button type="button" data-set="page={page}" data-focus=".listing .scroll"{disabled} '
        f'aria-label="{words} page">{words}</button>'
    )


def _row_html(query: str, row: Mapping[str, Any], pictures: Mapping[str, str], *, evidence: bool) -> str:
    opened = f'data-set="pair={row["pair"]}" data-focus=".listing .next"'
    faces = "".join(_thumb_html(pictures[row[side]]) for side in ("first", "second") if row[side] in pictures)
    names = "".join(f"<span>{html.escape(name)}</span>" for name in _names(row))
    caution = "; ".join(row["cautions"])
    mark = f' <span class="mark" title="A face is {html.escape(caution)}">caution</span>' if caution else ""
    shown = [
        ("genuine", "one person" if row["genuine"] else "two people"),
        ("outcome", _outcome_html(row["outcome"])),
        ("distance", _decimal(row["distance"])),
        ("confidence", _confidence(row)),
        ("size", _pixels(row["first_size"], row["second_size"])),
    ]
    if evidence:
        shown.append(("evidence", _share(row["evidence"])))
    cells = "".join(f'<td class="{key}">{words}</td>' for key, words in shown)
    address = html.escape(link(query, pair=row["pair"]))
    return (
        f'<tr {opened}><th scope="row"><a href="?{address}" {opened}><span class="thumbs">{faces}</span>'
        f"<span>{names}{mark}</span></a></th>{cells}</tr>"
    )


def _thumb_html(address: str) -> str:
    return f'<img src="{address}" alt="" width="44" height="44">'


def _names(row: Mapping[str, Any]) -> list[str]:
    """Whom a pair shows, a person once; its images' names where the data set does not tell."""
    first, second = (row[f"{side}_person"] or PurePosixPath(row[side]).name for side in ("first", "second"))
    return list(dict.fromkeys((first, second)))


def _outcome_html(outcome: str) -> str:
    wrong = " class=wrong" if _IN_WORDS[outcome][1] is False else ""
    # So that no line ends at its hyphen.
    words = outcome.replace("-", "\N{NON-BREAKING HYPHEN}")
    return f"<span{wrong}>{_sign(outcome)} {words}</span>"


def _sign(outcome: str) -> str:
    right = _IN_WORDS[outcome][1]
    sign = {True: "\N{CHECK MARK}", False: "\N{BALLOT X}", None: "\N{EN DASH}"}[right]
    return f'<span class="sign" aria-hidden="true">{sign}</span>'


def _decimal(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.3f}"


def _confidence(row: Mapping[str, Any]) -> str:
    """In percent, and never a whole one."""
    value = row["confidence"]
    if value is None:
        return "\N{EN DASH}" if row["distance"] is None else "withheld"
    return f"{'over ' * (value > 0.999)}{100 * min(value, 0.999):.1f}\N{NO-BREAK SPACE}%"


def _pixels(*sizes: float | None) -> str:
    known = [size for size in sizes if size is not None]
    return f"{min(known):.0f}\N{NO-BREAK SPACE}px" if known else "\N{EN DASH}"


def _share(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "\N{EN DASH}"
    return signed_percent(value).replace(" ", "\N{NO-BREAK SPACE}")


# What pairs have in common ----------------------------------------------------------------------------------


def _shared_button(asked: Asked, total: int) -> str:
    disabled = "" if total else " disabled"
    return (
        f'<button type="button" class="text" aria-expanded="{str(asked.shared).lower()}" '
        f'data-set="shared={"" if asked.shared else "1"}"{disabled}>What do these pairs share?</button>'
    )


def shared_html(
    methods: Sequence[MethodEntry],
    here: Mapping[Evidence, float],
    everywhere: Mapping[Evidence, float],
    maps: Mapping[str, tuple[NDArray[np.float64], int]],
    pairs: int,
) -> str:
    """Where the evidence of the pairs lies on average, beside that of all pairs.

    Args:
        methods: The store's.
        here: The pairs' mean evidence.
        everywhere: That of all pairs.
        maps: By method, the mean of the pairs' maps, and of how many pairs it is.
        pairs: How many pairs there are.
    """
    if not methods:
        return '<p class="nothing">This store holds no method&#x27;s evidence.</p>'
    sections = "".join(_shared_method(method, here, everywhere, maps.get(method.key)) for method in methods)
    return (
        '<div class="shared"><p class="reading-note">Mean net share of the evidence over '
        f"{pairs:,} pairs, and over all pairs of the "
        "store; plus speaks for the same person, minus against.</p>"
        f'<div class="maps">{sections}</div></div>'
    )


def _shared_method(
    method: MethodEntry,
    here: Mapping[Evidence, float],
    everywhere: Mapping[Evidence, float],
    mean: tuple[NDArray[np.float64], int] | None,
) -> str:
    picture = ""
    if mean is not None:
        values, count = mean
        large = enlarge(values, ALIGNED_SIZE)
        grey = np.full((ALIGNED_SIZE, ALIGNED_SIZE, 3), 0.6, np.float32)
        source = png_data_uri(_drawn(grey, large, shared_scale(large), method))
        words = f"mean of both maps of {count:,} pairs"
        picture = (
            f'<figure><img src="{source}" alt="{html.escape(short_name(method.title))}: '
            f"{words}. The table has it "
            f'by region."><figcaption>{words}</figcaption></figure>'
        )
    rows = "".join(
        f'<tr><th scope="row">{html.escape(region.name.removeprefix("the "))}</th>'
        f"<td>{_share(here.get(Evidence(method.key, region.key)))}</td>"
        f"<td>{_share(everywhere.get(Evidence(method.key, region.key)))}</td></tr>"
        for region in REGION_GROUPS
    )
    return (
        f'<section class="method"><h3>{html.escape(short_name(method.title))}</h3>{picture}'
        '<table class="regions"><thead><tr><th scope="col">mean evidence</th><th scope="col">these</th>'
        f'<th scope="col">all</th></tr></thead><tbody>{rows}</tbody></table></section>'
    )


# A pair -----------------------------------------------------------------------------------------------------


def pair_html(
    query: str,
    row: Mapping[str, Any],
    manifest: Manifest,
    faces: Sequence[FloatArray | None],
    maps: Mapping[str, MapPair],
    stands: Neighbours | None,
    total: int,
    live: str | None = None,
) -> str:
    """A pair that is open: its faces, its verdict, and its maps.

    Args:
        query: The address that is asked for.
        row: All columns of the pair.
        manifest: The store's.
        faces: Both aligned faces, (112, 112, 3) float32, RGB, in [0, 1]; None where there is no picture.
        maps: By method the pair's maps, (28, 28), as the store holds them.
        stands: Where the pair stands in the list; None where the filter does not leave it.
        total: How many pairs the filter leaves.
        live: The store's key, where both photos are on this machine.
    """
    words, _ = _IN_WORDS[row["outcome"]]
    cautions = "".join(
        f'<p class="caution">A face is {html.escape(caution)}.</p>' for caution in row["cautions"]
    )
    problem = f'<p class="caution">{html.escape(as_sentence(row["problem"]))}</p>' if row["problem"] else ""
    methods = manifest.methods if row["distance"] is not None else ()
    sections = "".join(_method_html(method, row, faces, maps.get(method.key)) for method in methods)
    share = f'<a class="share" href="?{html.escape(query)}">Link to this pair</a>'
    compare = (
        f'<button type="button" class="live" data-live="{live}" data-pair="{row["pair"]}">'
        "Compare these photos live"
        "</button>"
        if live
        else ""
    )
    legend = legend_html(DisplayOptions()) if maps else ""
    return (
        f'<section class="listing open" aria-label="A pair">{_steps_html(stands, total)}'
        f'<div class="decided"><h2>{_sign(row["outcome"])} {row["outcome"].capitalize()} '
        f"<small>{words}</small></h2>{_facts_html(row, manifest)}{problem}{cautions}</div>"
        f'<div class="maps">{_faces_html(row, faces)}{sections}</div>'
        f'<div class="bar end">{legend}{compare}{share}</div></section>'
    )


def _steps_html(stands: Neighbours | None, total: int) -> str:
    before, after = (stands.before, stands.after) if stands else (None, None)
    place = f"{stands.place + 1:,} of {total:,}" if stands else "not among the pairs that these filters leave"
    # The page of the list that the pair is on.
    page = (stands.place if stands else 0) // PAGE + 1
    back = (
        f'<button type="button" class="back" data-set="pair=&amp;page={"" if page == 1 else page}" '
        'data-focus=".listing .scroll">back to the list</button>'
    )

    def step(name: str, words: str, pair: int | None) -> str:
        to = "" if pair is None else f' data-set="pair={pair}" data-focus=".listing .{name}"'
        disabled = " disabled" if pair is None else ""
        return f'<button type="button" class="{name}"{to}{disabled}>{words}</button>'

    return (
        f'<div class="bar">{back}<nav aria-label="Pairs of the list">{step("previous", "previous", before)}'
        f'<span role="status">{place}</span>{step("next", "next", after)}</nav></div>'
    )


def _facts_html(row: Mapping[str, Any], manifest: Manifest) -> str:
    facts = [("pair", f"{row['pair']:,}, fold {row['fold']}")]
    if row["distance"] is not None:
        facts += [
            ("distance", f"{row['distance']:.3f}; threshold {row['distance_threshold']:.3f}"),
            ("confidence", _confidence(row)),
        ]
    if row["log10_likelihood_ratio"] is not None:
        facts.append(("log10 likelihood ratio", f"{row['log10_likelihood_ratio']:+.2f}"))
    for letter, side in zip(LETTERS, ("first", "second"), strict=True):
        person = f"{row[f'{side}_person']}, " if row[f"{side}_person"] else ""
        size = row[f"{side}_size"]
        apart = f"; {size:.0f} pixels between the eyes" if size is not None else ""
        facts.append((f"photo {letter}", f"{person}{row[side]}{apart}"))
    return (
        "<dl>"
        + "".join(f"<div><dt>{name}</dt><dd>{html.escape(told)}</dd></div>" for name, told in facts)
        + "</dl>"
    )


def _faces_html(row: Mapping[str, Any], faces: Sequence[FloatArray | None]) -> str:
    figures = []
    for letter, face in zip(LETTERS, faces, strict=True):
        if face is None:
            picture = '<div class="place"><span>no picture of it here</span></div>'
        else:
            picture = (
                f'<img src="{png_data_uri(enlarge(face, _SIZE))}" alt="The aligned face of photo {letter}">'
            )
        figures.append(f"<figure>{picture}<figcaption>{letter}</figcaption></figure>")
    return (
        '<section class="method faces"><h3>Aligned face</h3><p class="views-place">as the model sees it</p>'
        f'<div class="pair">{"".join(figures)}</div></section>'
    )


def _method_html(
    method: MethodEntry,
    row: Mapping[str, Any],
    faces: Sequence[FloatArray | None],
    maps: MapPair | None,
) -> str:
    name, _, paper = method.title.partition(" (")
    heading = html.escape(name) + (f" <small>{html.escape(paper.rstrip(')'))}</small>" if paper else "")
    if maps is None:
        return (
            f'<section class="method"><h3>{heading}</h3><p class="views-place">its maps are not kept here</p>'
            f"{_evidence_table(method, row)}</section>"
        )
    large = MapPair(*(enlarge(values, ALIGNED_SIZE) for values in maps))
    scale = shared_scale(*large, percentile=method.percentile)
    figures = ""
    for letter, face, values in zip(LETTERS, faces, large, strict=True):
        photo = np.full((ALIGNED_SIZE, ALIGNED_SIZE, 3), 0.6, np.float32) if face is None else face
        figures += (
            f'<figure><img src="{png_data_uri(_drawn(photo, values, scale, method))}" '
            f'alt="{html.escape(name)}, photo {letter}; the table below says the same in numbers">'
            f"<figcaption>{letter}</figcaption></figure>"
        )
    # Means over blocks of 4 x 4 pixels, and their words and numbers those of the blocks.
    blocks = MapPair(*(np.kron(values, np.ones((4, 4), np.float32)) for values in maps))
    view = View(method.view or "", method.view or "", blocks, method.percentile, method.is_evidence)
    sides = (region_evidence(values) for values in blocks)
    told = summary(*sides) if method.is_evidence else weight_summary(*sides)
    told = html.escape(told).replace(" %", "\N{NO-BREAK SPACE}%")
    return (
        f'<section class="method"><h3>{heading}</h3><p class="views-place">{html.escape(view.label)}</p>'
        f'<div class="pair">{figures}</div><p class="sentence">{told}</p>{regions_html(view)}</section>'
    )


def _drawn(photo: FloatArray, values: FloatArray, scale: float, method: MethodEntry) -> FloatArray:
    palette = DisplayOptions().palette if method.is_evidence else WEIGHTS
    return map_on_photo(photo, values, scale=scale, palette=palette, size=_SIZE)


def _evidence_table(method: MethodEntry, row: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html.escape(region.name.removeprefix("the "))}</th>'
        f"<td>{_share(row[evidence_column(method.key, region.key)])}</td></tr>"
        for region in REGION_GROUPS
    )
    return (
        '<table class="regions"><thead><tr><th scope="col">share of evidence</th><th '
        'scope="col">both</th></tr>'
        f"</thead><tbody>{rows}</tbody></table>"
    )


def answer_html(query: str, listing: str) -> str:
    """What stands in the list's place, marked with what it is the answer to.

    Args:
        query: As the page asked.
        listing: The list, a pair or a problem.
    """
    return f'<div data-of="{html.escape(query)}">{listing}</div>'


def problem_html(problem: str) -> str:
    """What is wrong with what was asked for, in the list's place.

    Args:
        problem: One line.
    """
    return (
        '<section class="listing"><p class="caution" role="alert">'
        f"{html.escape(as_sentence(problem))}</p></section>"
    )


def nothing_html() -> str:
    """The tab where there is no store."""
    return (
        '<p class="nothing">No store is here. <code>python -m xfv_demo explore build --data '
        "DATA --out STORE</code> "
        "makes one of a data set, and <code>python demo/app.py --store STORE</code> shows it.</p>"
    )
