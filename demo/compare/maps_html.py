"""The page's words and pictures, as pieces of HTML (pure).

Pictures stand in the page itself, as PNG: as files they would lie in Gradio's cache under addresses of their
own. Whatever comes from a visitor is escaped.
"""

import html
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from demo.compare.session import LETTERS, DisplayOptions
from demo.shared_html import as_sentence
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.explainers.explanation import View, enlarged_cells
from xfv_demo.explainers.reference import PERCENTILES, Rank, ViewReference
from xfv_demo.explainers.reference_words import rank_in_words
from xfv_demo.faces.regions import (
    FACE_REGIONS,
    REGION_GROUPS,
    Region,
    RegionEvidence,
    pair_evidence,
    region_at,
    region_evidence,
    signed_percent,
    whole_percent,
)
from xfv_demo.pipeline import DEFAULT_METHODS, MethodResult
from xfv_demo.plots.colours import (
    PALETTES,
    WEIGHT_ENDS,
    WEIGHTS,
    colour_map,
    enlarge,
    map_on_photo,
    png_data_uri,
)
from xfv_demo.types import FloatArray, Verification

# Sides of the pictures in pixels: of a map that is still growing, and of one that is there to stay.
_DRAFT, FINAL = 224, 336
# And of the face that answers a place of the other one.
_ANSWERING = 168
# Of all pairs of places, the percentile that has the strongest colour.
_ANSWERS_SHOWN = 99.0

# Opaque colours would hide eyes and mouth.
_MOST_OPAQUE = 0.8


def _about_html(methods: Iterable[str]) -> str:
    """What methods do, an item each."""
    items = []
    for explainer in (EXPLAINERS[method] for method in methods):
        name = short_name(explainer.title)
        about = html.escape(explainer.about or explainer.gist, quote=False)
        # The word in its own colour.
        about = about.replace("Purple", '<b class="weight">Purple</b>')
        items.append(f"<li><b>{name}</b>{explainer.title.removeprefix(name)}: {about}</li>")
    return "\n".join(items)


def how_to_read_html() -> str:
    """What the methods do, and what their maps do not tell."""
    others = [method for method in EXPLAINERS if method not in DEFAULT_METHODS]
    return f"""
<section class="reading"><h3>How to read this</h3><ul>
{_about_html(DEFAULT_METHODS)}
<li>Both photos of a method have one scale, so their colours compare; those of two methods do not.</li>
<li>A map tells what this model looked at. It does not tell who the people are, and methods may disagree.</li>
</ul><details><summary>The other methods</summary><ul>
{_about_html(others)}
</ul></details></section>"""


WHY = (
    '<h2>Why</h2><p class="hint">Which methods explain it is chosen '
    '<a href="#settings">in Settings, at the foot of the page</a>.</p>'
)


# The maps ---------------------------------------------------------------------------------------------------


def method_in_words(method: str, title: str) -> str:
    """A method to choose: its title, what it does, and how long it takes.

    Args:
        method: The method's key.
        title: What people call it.
    """
    explainer = EXPLAINERS.get(method)
    words = (explainer.gist, explainer.duration) if explainer else ()
    return ": ".join(filter(None, [title, ", ".join(filter(None, words))]))


def short_name(title: str) -> str:
    """A method's title without the name of its paper."""
    return title.partition(" (")[0]


def chosen_view(result: MethodResult, key: str | None) -> View:
    """The view that a visitor chose, else the method's first."""
    views = result.views
    return next((view for view in views if view.key == key), views[0])


def method_html(
    method: str,
    title: str,
    waiting: str,
    verification: Verification | None = None,
    result: MethodResult | None = None,
    view: str | None = None,
    look: DisplayOptions | None = None,
    *,
    problem: str | None = None,
) -> str:
    """One method's maps of both photos, the switch between its views, and what they say in words.

    Args:
        method: The method's key.
        title: What people call it.
        waiting: What to say where there is no result yet.
        verification: The pair.
        result: What the method gives, so far or in the end.
        view: The key of the view that the visitor chose.
        look: How to draw.
        problem: Why the method cannot explain this model, in one line.
    """
    if problem is not None or verification is None or result is None:
        words = html.escape(waiting if problem is None else "not for this model")
        figures = "".join(
            f'<figure><div class="place"><span>{words}</span></div><figcaption>{letter}</figcaption></figure>'
            for letter in LETTERS
        )
        sentence = (
            '<p class="sentence empty">Which parts of the faces speak for or against a match.</p>'
            if problem is None
            else f'<p class="sentence problem" role="status">{html.escape(as_sentence(problem))}</p>'
        )
        coming = f'<p class="view-label">&nbsp;</p>{sentence}'
        empty_switch = '<p class="views-place">&nbsp;</p>'
        return _method_section(method, title, empty_switch, figures, coming, regions_html())
    shown = chosen_view(result, view)
    look = look or DisplayOptions()
    size = FINAL if result.progress >= 1 else _DRAFT
    figures = "".join(
        f'<figure><img src="{png_data_uri(picture)}" data-side="{letter}" '
        f'alt="{html.escape(_map_in_words(title, shown, letter))}"><figcaption>{letter}</figcaption></figure>'
        for letter, picture in zip(
            LETTERS, _drawn(verification, shown, look, size, result.scale(shown)), strict=True
        )
    )
    label = html.escape(shown.label) if shown.is_evidence else _weights_legend(look)
    # A number keeps its percent sign.
    told = html.escape(result.summary_of(shown)).replace(" %", "\N{NO-BREAK SPACE}%")
    sentence = f'<p class="view-label">{label}</p><p class="sentence">{told}</p>'
    regions = ""
    if shown.domain == "face":
        regions = regions_html(shown, result.references.get(shown.key), result.ranks(shown))
    return _method_section(method, title, _switch_html(method, result, shown), figures, sentence, regions)


def _method_section(method: str, title: str, switch: str, figures: str, sentence: str, regions: str) -> str:
    name, paper = short_name(title), title.partition(" (")[2].rstrip(")")
    heading = html.escape(name) + (f" <small>{html.escape(paper)}</small>" if paper else "")
    return (
        f'<section class="method" data-method="{method}" aria-label="{html.escape(title)}">'
        f'<h3>{heading}</h3>{switch}<div class="pair">{figures}</div>'
        f'<div class="words">{sentence}{regions}</div></section>'
    )


def _switch_html(method: str, result: MethodResult, shown: View) -> str:
    if len(result.views) == 1:
        return f'<p class="views-place">{html.escape(shown.label)}</p>'
    options = "".join(
        f'<label title="{html.escape(view.label)}"><input type="radio" name="view-{method}" '
        f'value="{html.escape(view.key)}"{" checked" if view.key == shown.key else ""}>'
        f"<span>{html.escape(view.key)}</span></label>"
        for view in result.views
    )
    return f'<fieldset class="views"><legend class="unseen">Which map</legend>{options}</fieldset>'


def _weights_legend(look: DisplayOptions) -> str:
    """What the colours mean of a view that is no evidence, for which the legend beside the maps is not."""
    little, much = WEIGHT_ENDS
    bar = png_data_uri(_bar(look, WEIGHTS))
    return f'<span class="weights"><span>{little}</span><img src="{bar}" alt=""><span>{much}</span></span>'


def _drawn(
    verification: Verification, view: View, look: DisplayOptions, size: int, scale: float
) -> list[FloatArray]:
    palette = look.palette if view.is_evidence else WEIGHTS
    pictures = []
    for face, values in zip((verification.probe, verification.reference), view.maps, strict=True):
        if look.shown == "raw" or view.domain != "face":
            pictures.append(colour_map(enlarge(values, size), scale=scale, palette=palette))
            continue
        strength = look.strength * (_MOST_OPAQUE if look.shown == "alpha" else 1)
        pictures.append(
            map_on_photo(
                face.aligned,
                values,
                scale=scale,
                palette=palette,
                blend=look.shown,
                strength=strength,
                size=size,
            )
        )
    return pictures


def _map_in_words(title: str, view: View, letter: str) -> str:
    values = view.maps.probe if letter == "A" else view.maps.reference
    if view.domain != "face":
        return f"{title}, {view.label}, photo {letter}"
    # By the numbers that are told.
    evidence = sorted(region_evidence(values, REGION_GROUPS), key=lambda one: -abs(one.net_share))
    if not values.any():
        return f"{title}, {view.label}, photo {letter}: the map is zero everywhere"
    first = ", ".join(f"{one.region.name} {_share(one, view)}" for one in evidence[:3])
    what = "evidence" if view.is_evidence else "weight"
    return f"{title}, {view.label}, photo {letter}. Most {what}: {first}"


def regions_html(
    view: View | None = None,
    reference: ViewReference | None = None,
    ranks: Mapping[str, Rank] | None = None,
) -> str:
    """Where a view's evidence lies, by regions of the face: what speaks for, less what speaks against.

    Of weights, where they lie. Where it is known what is usual, a strip shows beside each region how strong
    its evidence is among pairs of one person and of two.

    Args:
        view: Of a method; None for the numbers' places.
        reference: What is usual, where that is known.
        ranks: Where this pair stands in it.
    """
    weights = view is not None and not view.is_evidence
    what = "weight" if weights else "evidence"
    meaning = "" if weights else ": plus speaks for the same person, minus against"
    photos = [region_evidence(values, REGION_GROUPS) for values in view.maps] if view else []
    # The sentence above the table speaks of both photos together.
    columns = [*photos, pair_evidence(*photos)] if photos else []
    strips = reference is not None and bool(ranks)

    def strip(region: Region) -> str:
        if reference is None or not ranks:
            return ""
        return f"<td>{_strip_svg(region, reference, ranks[region.key])}</td>"

    rows = "".join(
        f'<tr><th scope="row">{html.escape(region.name.removeprefix("the "))}</th>'
        + "".join(f"<td>{_share(column[index], view)}</td>" for column in columns)
        + ("" if columns else 3 * "<td>\N{EN DASH}</td>")
        + strip(region)
        + "</tr>"
        for index, region in enumerate(REGION_GROUPS)
    )
    usual = '<th scope="col">how usual</th>' if strips else ""
    kind = "regions usual" if strips else "regions"
    return (
        f'<table class="{kind}"><caption class="unseen">Share of the {what} by region{meaning}</caption>'
        f'<thead><tr><th scope="col">share of {what}</th>'
        f'<th scope="col">A</th><th scope="col">B</th><th scope="col">both</th>{usual}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


# In pixels.
_STRIP_WIDTH, _STRIP_HEIGHT = 96, 16

STRIP_LEGEND = (
    '<p class="strip-legend"><b>How usual</b>: where <span class="one">nine in ten pairs of one '
    'person</span> lie, and <span class="two">of strangers</span>; the line is this pair</p>'
)


def _strip_svg(region: Region, reference: ViewReference, rank: Rank) -> str:
    """One region's evidence as a line across the middle nine tenths of both kinds of pairs."""
    low, high = PERCENTILES.index(5), PERCENTILES.index(95)
    kinds = reference.genuine[region.key], reference.impostor[region.key]
    ends = [several[place] for several in kinds for place in (low, high)]
    left, right = min(ends), max(ends)
    room = 0.15 * (right - left) or 1.0
    left, right = left - room, right + room

    def x(value: float) -> float:
        return _STRIP_WIDTH * min(max((value - left) / (right - left), 0.01), 0.99)

    bars = "".join(
        f'<rect class="{kind}" x="{x(several[low]):.1f}" y="{top}" height="5" rx="1" '
        f'width="{max(x(several[high]) - x(several[low]), 1):.1f}"/>'
        for kind, several, top in zip(("one", "two"), kinds, (2, 9), strict=True)
    )
    words = rank_in_words(region, rank).replace(" %", "\N{NO-BREAK SPACE}%")
    at = x(rank.strength)
    return (
        f'<svg class="strip" role="img" viewBox="0 0 {_STRIP_WIDTH} {_STRIP_HEIGHT}" '
        f'width="{_STRIP_WIDTH}" height="{_STRIP_HEIGHT}"><title>{html.escape(words)}</title>{bars}'
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{_STRIP_HEIGHT}"/></svg>'
    )


def answer_html(letter: str, x: float, y: float, shown: Sequence[tuple[str, View]]) -> str:
    """What the maps say of a place that was clicked on.

    Args:
        letter: The photo's.
        x: From the picture's left edge, in [0, 1].
        y: From its top, in [0, 1].
        shown: Each method's title, and the view that is shown.
    """
    region = region_at(*(min(max(place, 0.0), 1.0) * 112 - 0.5 for place in (x, y)))
    index = FACE_REGIONS.index(region)
    told = []
    for title, view in shown:
        if view.domain != "face":
            continue
        values = view.maps.probe if letter == "A" else view.maps.reference
        one = region_evidence(values)[index]
        name, share = (
            html.escape(short_name(title).lower()),
            f"<b>{whole_percent(one.share)}\N{NO-BREAK SPACE}%</b>",
        )
        if not view.is_evidence:
            told.append(f"{name}, {html.escape(view.label)}: {share} of the weight")
            continue
        whole = whole_percent(one.net_share)
        word = "speaks for" if whole > 0 else "speaks against" if whole < 0 else "says nothing"
        told.append(f"{name}: {share} of the evidence; on balance it {word} ({_signed(one.net_share)})")
    place = f"{region.name[:1].upper()}{region.name[1:]} in photo {letter}"
    lines = "".join(f"<span>{line}</span>" for line in told) or "no map yet"
    return f'<p class="answer" role="status"><b>{html.escape(place)}</b> {lines}</p>'


def answering_html(
    verification: Verification,
    interactions: FloatArray,
    letter: str,
    x: float,
    y: float,
    look: DisplayOptions,
) -> str:
    """Where on the other face lies what answers a place of one face.

    Args:
        verification: The pair.
        interactions: As `Explanation.interactions`.
        letter: The photo with the place.
        x: From the picture's left edge, in [0, 1].
        y: From its top, in [0, 1].
        look: How to draw.
    """
    # From the asked photo's cells to the other's.
    asked_first = interactions if letter == "A" else interactions.transpose(2, 3, 0, 1)
    rows, columns = asked_first.shape[:2]
    row, column = (
        min(int(min(max(place, 0.0), 1.0) * cells), cells - 1) for place, cells in ((y, rows), (x, columns))
    )
    values = enlarged_cells(asked_first[row, column], smooth=True)
    # One scale for all places, so that a place that nothing answers looks like it; but for the few strongest,
    # beside which all others would be pale.
    scale = float(np.percentile(np.abs(interactions), _ANSWERS_SHOWN)) or 1.0
    other = "B" if letter == "A" else "A"
    face = verification.reference if other == "B" else verification.probe
    blend = "published" if look.shown == "raw" else look.shown
    picture = map_on_photo(
        face.aligned, values, scale=scale, palette=look.palette, blend=blend, size=_ANSWERING
    )
    evidence = sorted(region_evidence(values, REGION_GROUPS), key=lambda one: -abs(one.net_share))[0]
    total = float(asked_first[row, column].sum())
    words = (
        f"By the grid's cells, exactly: this place and photo {other} together add {total:+.3f} to the "
        f"similarity, most of it at {evidence.region.name}."
    ).replace("-", "\N{MINUS SIGN}")
    return (
        f'<figure class="answering"><img src="{png_data_uri(picture)}" width="{_ANSWERING}" '
        f'height="{_ANSWERING}" alt="Photo {other}, coloured where it answers that place">'
        f"<figcaption>{html.escape(words)}</figcaption></figure>"
    )


def empty_answer_html() -> str:
    """The answer's place before a face was clicked on."""
    return (
        '<p class="answer empty" role="status">Click a place on a face to ask what the maps say of it. '
        "The lists below the maps say the same in numbers.</p>"
    )


def legend_html(look: DisplayOptions) -> str:
    """What the colours mean, in words.

    Args:
        look: How maps are drawn.
    """
    palette = PALETTES[look.palette]
    bar = _bar(look, look.palette)
    against = f"<b>{palette.colour_against}</b> speaks against" if palette.colour_against else ""
    favour = f"<b>{palette.colour_for}</b> speaks for the same person" if palette.colour_for else ""
    return (
        f'<div class="legend"><span>{against}</span><img src="{png_data_uri(bar)}" alt="">'
        f"<span>{favour}</span></div>"
    )


def _bar(look: DisplayOptions, palette: str) -> FloatArray:
    """A palette's colours, as they are on the faces."""
    ramp = np.repeat(np.linspace(0 if palette == WEIGHTS else -1, 1, 256, dtype=np.float32)[None], 16, axis=0)
    if look.shown == "raw":
        return colour_map(ramp, scale=1, palette=palette)
    grey = np.full((*ramp.shape, 3), 0.6, np.float32)
    return map_on_photo(grey, ramp, scale=1, palette=palette, blend=look.shown)


def _share(one: RegionEvidence, view: View | None) -> str:
    """Of evidence what is left on balance, with its sign; of weights the share alone."""
    if view is None or view.is_evidence:
        return _signed(one.net_share)
    return f"{whole_percent(one.share)}\N{NO-BREAK SPACE}%"


def _signed(share: float) -> str:
    return signed_percent(share).replace(" ", "\N{NO-BREAK SPACE}")
