"""The page's words and pictures, as pieces of HTML (pure).

Pictures stand in the page itself, as PNG: as files they would lie in Gradio's cache under addresses of their
own. Whatever comes from a visitor is escaped.
"""

import functools
import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from demo.service import dataset_name
from demo.sessions import LETTERS, Asked, Letter, Look
from xfv_demo.assets import assets_folder
from xfv_demo.calibration import Calibration
from xfv_demo.evaluation.metrics import is_same, largest_rate, wilson_interval
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.explainers.base import View
from xfv_demo.explaining import DEFAULT_METHODS, MethodResult, view_summary
from xfv_demo.regions import (
    FACE_REGIONS,
    REGION_GROUPS,
    RegionEvidence,
    pair_evidence,
    region_at,
    region_evidence,
    signed_percent,
    whole_percent,
)
from xfv_demo.rendering import (
    PALETTES,
    WEIGHT_ENDS,
    WEIGHTS,
    colour_map,
    enlarge,
    map_on_photo,
    png_data_uri,
    shared_scale,
)
from xfv_demo.types import AlignedFace, FloatArray, Verification

# Sides of the pictures in pixels: of a map that is still growing, and of one that is there to stay.
_DRAFT, _FINAL = 224, 336

# Opaque colours would hide eyes and mouth.
_MOST_OPAQUE = 0.8

# Bins of the distances' histogram, over [0, 2].
_BINS = 100

EXAMPLES = assets_folder() / "examples"
EXAMPLE_PAIRS = (
    ("same person", "obama.jpg", "obama2.jpg"),
    ("same, another day", "obama2.jpg", "obama3.jpg"),
    ("different people", "obama.jpg", "biden.jpg"),
    ("hard: half a face", "obama_partial_face.jpg", "obama2.jpg"),
)
# Left, top, right and bottom of what to show of them, in pixels.
_EXAMPLE_FACES = {
    "obama.jpg": (296, 50, 696, 450),
    "obama2.jpg": (93, 200, 553, 660),
    "obama3.jpg": (556, 204, 996, 644),
    "biden.jpg": (343, 130, 803, 590),
    "obama_partial_face.jpg": (0, 50, 400, 450),
}


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
    '<h2>Why</h2><p class="hint">Which methods explain it is chosen in Settings, at the foot of the page.</p>'
)

FOOT = (
    "<p>For research and teaching. How well a model does on LFW says nothing on its fitness for decisions "
    "about people. Example photos: official White House photos by Pete Souza; no endorsement is meant.</p>"
)


def status_html(state: str, line: str) -> str:
    """The line on the model.

    Args:
        state: "loading", "ready" or "error".
        line: What to say.
    """
    return f'<p class="status {state}" role="status">{html.escape(line)}</p>'


def examples_html() -> str:
    """The example pairs, each a button with both faces."""
    buttons = []
    for index, (words, *names) in enumerate(EXAMPLE_PAIRS):
        pictures = "".join(
            f'<img src="{_example_face(name)}" alt="" width="56" height="56">' for name in names
        )
        buttons.append(f'<button type="button" data-index="{index}">{pictures}<span>{words}</span></button>')
    return f'<div class="examples" role="group" aria-label="Example pairs">{"".join(buttons)}</div>'


@functools.cache
def _example_face(name: str) -> str:
    with Image.open(EXAMPLES / name) as photo:
        left, top, right, bottom = _EXAMPLE_FACES[name]
        return png_data_uri(
            np.asarray(photo.convert("RGB").resize((112, 112), box=(left, top, right, bottom)))
        )


# What was compared with what -------------------------------------------------------------------------------

# Said once what was compared is no longer what stands above it; which, the browser decides.
STALE = (
    '<p class="stale" role="status" data-photos="photos changed: compare again" '
    'data-settings="settings changed: compare again"></p>'
)


def result_html(piece: str, asked: Asked | None = None) -> str:
    """A part of the result, labelled with what it is of.

    The page greys it while other photos, faces or settings stand above it, whenever and however late it came;
    see `scripts.MARK_STALE`.

    Args:
        piece: The part, as HTML.
        asked: What it was asked for with; None, or with no press of Compare, where it is of no photos.
    """
    label = ""
    if asked and asked.press:
        label = f' data-of="{asked.press}" data-picked="{" ".join(map(str, asked.picked))}"'
    return f'<div class="result"{label}>{piece}</div>'


# The verdict ------------------------------------------------------------------------------------------------


def empty_verdict_html() -> str:
    """The verdict's place before there is one."""
    return (
        '<section class="verdict empty" aria-live="polite"><h2>Same or different?</h2>'
        '<p class="numbers">The answer will stand here: same person or not, how confident, and the distance '
        "between the two faces against the threshold.</p></section>"
    )


def verdict_html(
    verification: Verification, calibration: Calibration | None, distance_threshold: float | None = None
) -> str:
    """The decision, how sure it is, and what a visitor must know of it.

    Args:
        verification: The comparison.
        calibration: What the error rates come from; None where the model has none.
        distance_threshold: Where the visitor moved the threshold to; None for the verdict's own.
    """
    moved = distance_threshold is not None and not math.isclose(
        distance_threshold, verification.threshold, abs_tol=5e-4
    )
    limit = distance_threshold if distance_threshold is not None and moved else verification.threshold
    same = is_same(verification.distance, limit)
    decision = "Same person" if same else "Different people"
    side = "below" if same else "not below"
    which = "the threshold that you moved to" if moved else "the threshold"
    lines = [
        f'<h2><span class="sign" aria-hidden="true">{"=" if same else "≠"}</span> {decision}'
        f"{_confidence_html(verification, moved=moved)}</h2>",
        f'<p class="numbers">Distance <b>{verification.distance:.3f}</b>, {side} {which}, '
        f"<b>{limit:.3f}</b></p>",
    ]
    if calibration is not None:
        lines.append(f'<p class="rates">{rates_in_words(calibration, limit)}</p>')
    lines += [
        f'<p class="caution"><b>Caution:</b> {html.escape(caution)}.</p>' for caution in verification.cautions
    ]
    if calibration is not None and verification.confidence is not None:
        dataset = html.escape(dataset_name(calibration.dataset))
        lines.append(
            f'<p class="condition">By {html.escape(verification.model)}. Confidence holds for photos like '
            f"those of {dataset}, if the same person and different people were equally likely beforehand.</p>"
        )
    lines += [
        f'<p class="condition">{html.escape(_sentence(notice))}</p>'
        for notice in verification.notices
        if notice not in verification.cautions
    ]
    kind = "same" if same else "different"
    return f'<section class="verdict {kind}" aria-live="polite">{"".join(lines)}</section>'


def _confidence_html(verification: Verification, *, moved: bool) -> str:
    if verification.confidence_withheld:
        return " <small>no confidence can be given</small>"
    if verification.shown_confidence is None:
        return " <small>no confidence: this model is not calibrated</small>"
    if moved:
        return f" <small>confidence is stated at {verification.threshold:.3f} only</small>"
    return f' <small><b class="figure">{verification.shown_confidence}</b> confident</small>'


def rates_in_words(calibration: Calibration, distance_threshold: float) -> str:
    """How often a threshold errs, on the pairs of the calibration.

    Args:
        calibration: Which tells.
        distance_threshold: At which they are asked for.

    Returns:
        A sentence, as HTML.
    """
    rates = calibration.error_rates_at(distance_threshold)
    strangers = _one_in(rates.fmr, calibration.impostor_pairs, "strangers pass")
    real = _one_in(rates.fnmr, calibration.genuine_pairs, "real pairs fail")
    dataset = html.escape(dataset_name(calibration.dataset))
    return f"At this threshold, on {dataset}: {strangers}; {real}."


def _one_in(rate: float, pairs: int, what: str) -> str:
    """Such as "1 in 380 strangers pass (95 %: 1 in 190 to 740)"; of no error, the bound that pairs carry."""
    # Whole pairs: between two thresholds of the calibration, a rate is interpolated.
    errors = math.ceil(rate * pairs - 1e-6)
    # Nearly all are told by the rest, lest 99.97 in 100 be read as all.
    turned = errors > 0.9 * pairs
    count, few, but = (pairs - errors, "at most", "all but ") if turned else (errors, "fewer than", "")
    level = "95\N{NO-BREAK SPACE}%"
    if not count:
        most = largest_rate(0, pairs)
        words = (
            f"{math.ceil(100 * most)} in 100" if most >= 0.1 else f"1 in {_two_digits(1 / most, math.floor)}"
        )
        seen = f"{'all' if turned else 'none'} of {pairs:,} did"
        return f"<b>{but}{few} {words}</b> {what} ({level}: {seen})"
    share, interval = count / pairs, wilson_interval(count, pairs)
    if share >= 0.1:
        ends = f"{math.floor(100 * interval.low)} to {math.ceil(100 * interval.high)}"
        return f"<b>{but}{100 * share:.0f} in 100</b> {what} ({level}: {ends})"
    ends = f"{_two_digits(1 / interval.high, math.floor)} to {_two_digits(1 / interval.low, math.ceil)}"
    return f"<b>{but}1 in {_two_digits(1 / share, round)}</b> {what} ({level}: 1 in {ends})"


def _two_digits(number: float, rounding: Callable[[float], int]) -> str:
    step = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return f"{step * rounding(number / step):,}"


def _sentence(notice: str) -> str:
    return f"{notice[:1].upper()}{notice[1:]}{'' if notice.endswith('.') else '.'}"


# The pair among the data set's distances --------------------------------------------------------------------


def scale_html(
    calibration: Calibration | None, verification: Verification | None = None, *, run: int = 0
) -> str:
    """Where a pair lies among the data set's distances, with the threshold to be moved.

    Args:
        calibration: Whose distances; None where there is none, or none yet.
        verification: The pair; None before there is one.
        run: The verdict's number: with a new one, the threshold goes back to the verdict's own.
    """
    if calibration is None and verification is None:
        words = "Here will stand how far apart pairs of the same and of different people are, and this pair."
        return f'<div class="scale empty"><div class="plot"><p>{words}</p></div></div>'
    own = verification.threshold if verification else calibration.threshold if calibration else 0.0
    axis = _Axis.of(calibration, [own, *([verification.distance] if verification else [])])
    parts = [_curves_svg(calibration, axis) if calibration else '<svg class="curves"></svg>']
    if calibration:
        parts.append(_curve_labels(calibration, axis))
    parts.append(f'<div class="limit" style="left:{axis.percent(own):.2f}%"></div>')
    if verification:
        at = axis.percent(verification.distance)
        edge = " left" if at > 75 else ""
        parts.append(
            f'<div class="pair-line{edge}" style="left:{at:.2f}%"><span>this pair '
            f"<b>{verification.distance:.3f}</b></span></div>"
        )
    ticks = "".join(
        f'<span style="left:{axis.percent(tick):.2f}%">{tick:.1f}</span>'
        for tick in np.arange(0, axis.end + 1e-9, 0.2)
    )
    disabled = "" if verification else " disabled"
    words = html.escape(_scale_in_words(calibration, verification))
    return f"""<div class="scale" role="group" aria-label="Distances">
<div class="plot" role="img" aria-label="{words}">{"".join(parts)}</div>
<input class="threshold" type="range" min="0" max="{axis.end:.1f}" step="0.001" value="{own:.3f}"
 data-run="{run}" aria-label="Threshold on the distance"{disabled}>
<div class="ticks" aria-hidden="true">{ticks}</div>
<p class="axis-name">distance between the faces; slide the threshold to decide anew
<button type="button" class="own-threshold"{disabled}>back to {own:.3f}</button></p>
</div>"""


@dataclass(frozen=True)
class _Axis:
    """From distance 0 to `end`, in percent of the plot's width."""

    end: float

    @classmethod
    def of(cls, calibration: Calibration | None, distances: Sequence[float]) -> "_Axis":
        farthest = max([1.2, *distances])
        if calibration:
            histogram = calibration.histogram(_BINS)
            farthest = max(farthest, float(histogram.edges[1:][histogram.impostor > 0].max()))
        return cls(min(2.0, math.ceil(farthest * 5) / 5))

    def percent(self, distance: float) -> float:
        return 100 * min(max(distance / self.end, 0.0), 1.0)


def _curves_svg(calibration: Calibration, axis: _Axis) -> str:
    """Both classes' shares of pairs by distance; outlines differ in their stroke as well as in their tone."""
    histogram = calibration.histogram(_BINS)
    shares = [counts / counts.sum() for counts in (histogram.genuine, histogram.impostor)]
    tallest = max(float(share.max()) for share in shares)
    centres = (histogram.edges[:-1] + histogram.edges[1:]) / 2
    inside = centres <= axis.end
    paths = []
    for name, share in zip(("genuine", "impostor"), shares, strict=True):
        points = " ".join(
            f"{axis.percent(x):.2f},{100 - 88 * y / tallest:.2f}"
            for x, y in zip(centres[inside], share[inside], strict=True)
        )
        paths.append(f'<polygon class="{name}" points="0,100 {points} 100,100"/>')
    return (
        '<svg class="curves" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(paths)}</svg>"
    )


def _curve_labels(calibration: Calibration, axis: _Axis) -> str:
    """The curves' names, on their right flanks, where there is room."""
    histogram = calibration.histogram(_BINS)
    reached = np.cumsum(histogram.genuine) / histogram.genuine.sum()
    flank = histogram.edges[1:][np.searchsorted(reached, 0.75)]
    return (
        f'<span class="curve-name" style="left:{axis.percent(flank):.1f}%">same person</span>'
        '<span class="curve-name" style="right:0">different people</span>'
    )


def _scale_in_words(calibration: Calibration | None, verification: Verification | None) -> str:
    words = []
    if calibration:
        histogram = calibration.histogram(_BINS)
        centres = (histogram.edges[:-1] + histogram.edges[1:]) / 2
        means = [float(np.average(centres, weights=one)) for one in (histogram.genuine, histogram.impostor)]
        words.append(
            f"On {dataset_name(calibration.dataset)}, pairs of the same person lie around {means[0]:.2f}, "
            f"pairs of different people around {means[1]:.2f}."
        )
    if verification:
        words.append(f"This pair lies at {verification.distance:.3f}.")
    return " ".join(words)


# The faces --------------------------------------------------------------------------------------------------


def found_html(letter: Letter, faces: Sequence[AlignedFace] = (), picked: int = 0, *, search: int = 0) -> str:
    """The faces found in a photo, of which one can be picked.

    Args:
        letter: The photo's.
        faces: Those found, largest first; none before a photo was looked at.
        picked: Which of them counts.
        search: The number of the search that found them.
    """
    if not faces:
        return f'<div class="found empty">Faces found in photo {letter} will stand here.</div>'
    if len(faces) == 1:
        words = "<legend>One face found</legend>"
    else:
        words = f"<legend>{len(faces[0].faces)} faces found: pick one</legend>"
    options = []
    for index, face in enumerate(faces):
        picture = png_data_uri(face.aligned)
        checked = " checked" if index == picked else ""
        single = " disabled" if len(faces) == 1 else ""
        options.append(
            f'<label><input type="radio" name="face-{letter}" value="{index}"{checked}{single}>'
            f'<img src="{picture}" alt="Face {index + 1} in photo {letter}" width="56" height="56">'
            f"{'' if single else f'<span>{index + 1}</span>'}</label>"
        )
    return f'<fieldset class="found" data-search="{search}">{words}{"".join(options)}</fieldset>'


def unusable_html(problem: str) -> str:
    """What is wrong with a photo, in the place of its faces.

    Args:
        problem: One line.
    """
    return f'<p class="found unusable" role="alert">{html.escape(_sentence(problem))}</p>'


def aligned_html(verification: Verification | None = None) -> str:
    """The two faces as the model sees them, or the places where they will stand.

    Args:
        verification: The pair.
    """
    faces = (verification.probe, verification.reference) if verification else (None, None)
    figures = []
    for letter, face in zip(LETTERS, faces, strict=True):
        if face is None:
            picture = f'<div class="place"><span>face {letter}</span></div>'
        else:
            source = png_data_uri(enlarge(face.aligned, _FINAL))
            picture = f'<img src="{source}" alt="The aligned face of photo {letter}" data-side="{letter}">'
        figures.append(f"<figure>{picture}<figcaption>{letter}</figcaption></figure>")
    return (
        '<section class="method faces"><h3>Aligned face</h3><p class="views-place">as the model sees it</p>'
        f'<div class="pair">{"".join(figures)}</div></section>'
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
    look: Look | None = None,
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
            else f'<p class="sentence problem" role="status">{html.escape(_sentence(problem))}</p>'
        )
        coming = f'<p class="view-label">&nbsp;</p>{sentence}'
        empty_switch = '<p class="views-place">&nbsp;</p>'
        return _method_section(method, title, empty_switch, figures, coming, regions_html())
    shown = chosen_view(result, view)
    look = look or Look()
    size = _FINAL if result.progress >= 1 else _DRAFT
    figures = "".join(
        f'<figure><img src="{png_data_uri(picture)}" data-side="{letter}" '
        f'alt="{html.escape(_map_in_words(title, shown, letter))}"><figcaption>{letter}</figcaption></figure>'
        for letter, picture in zip(LETTERS, _drawn(verification, shown, look, size), strict=True)
    )
    label = html.escape(shown.label) if shown.is_evidence else _weights_legend(look)
    # A number keeps its percent sign.
    told = html.escape(view_summary(shown)).replace(" %", "\N{NO-BREAK SPACE}%")
    sentence = f'<p class="view-label">{label}</p><p class="sentence">{told}</p>'
    return _method_section(
        method, title, _switch_html(method, result, shown), figures, sentence, regions_html(shown)
    )


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


def _weights_legend(look: Look) -> str:
    """What the colours mean of a view that is no evidence, for which the legend beside the maps is not."""
    little, much = WEIGHT_ENDS
    bar = png_data_uri(_bar(look, WEIGHTS))
    return f'<span class="weights"><span>{little}</span><img src="{bar}" alt=""><span>{much}</span></span>'


def _drawn(verification: Verification, view: View, look: Look, size: int) -> list[FloatArray]:
    scale = shared_scale(*view.maps, percentile=view.percentile)
    palette = look.palette if view.is_evidence else WEIGHTS
    pictures = []
    for face, values in zip((verification.probe, verification.reference), view.maps, strict=True):
        if look.shown == "raw":
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
    # By the numbers that are told.
    evidence = sorted(region_evidence(values, REGION_GROUPS), key=lambda one: -abs(one.net_share))
    if not values.any():
        return f"{title}, {view.label}, photo {letter}: the map is zero everywhere"
    first = ", ".join(f"{one.region.name} {_share(one, view)}" for one in evidence[:3])
    what = "evidence" if view.is_evidence else "weight"
    return f"{title}, {view.label}, photo {letter}. Most {what}: {first}"


def regions_html(view: View | None = None) -> str:
    """Where a view's evidence lies, by regions of the face: what speaks for, less what speaks against.

    Of weights, where they lie.

    Args:
        view: Of a method; None for the numbers' places.
    """
    weights = view is not None and not view.is_evidence
    what = "weight" if weights else "evidence"
    meaning = "" if weights else ": plus speaks for the same person, minus against"
    photos = [region_evidence(values, REGION_GROUPS) for values in view.maps] if view else []
    # The sentence above the table speaks of both photos together.
    columns = [*photos, pair_evidence(*photos)] if photos else []
    rows = "".join(
        f'<tr><th scope="row">{html.escape(region.name.removeprefix("the "))}</th>'
        + "".join(f"<td>{_share(column[index], view)}</td>" for column in columns)
        + ("" if columns else 3 * "<td>\N{EN DASH}</td>")
        + "</tr>"
        for index, region in enumerate(REGION_GROUPS)
    )
    return (
        f'<table class="regions"><caption class="unseen">Share of the {what} by region{meaning}</caption>'
        f'<thead><tr><th scope="col">share of {what}</th>'
        '<th scope="col">A</th><th scope="col">B</th><th scope="col">both</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
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


def empty_answer_html() -> str:
    """The answer's place before a face was clicked on."""
    return (
        '<p class="answer empty" role="status">Click a place on a face to ask what the maps say of it. '
        "The lists below the maps say the same in numbers.</p>"
    )


def legend_html(look: Look) -> str:
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


def _bar(look: Look, palette: str) -> FloatArray:
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


# Waiting ----------------------------------------------------------------------------------------------------


def progress_html(line: str = "", share: float | None = None) -> str:
    """What is being done, and how far it is.

    Args:
        line: In words; nothing is being done where empty.
        share: In [0, 1]; None where nobody knows.
    """
    if not line:
        return '<div class="progress"></div>'
    value = "" if share is None else f' value="{share:.3f}"'
    bar = f'<progress max="1"{value} aria-label="Progress"></progress>' if share != 1 else ""
    return f'<div class="progress">{bar}<span>{html.escape(line)}</span></div>'
