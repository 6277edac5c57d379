"""The histograms that pairs are counted in and filtered by, in the page's own colours (pure)."""

import bisect
import html
import json
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from demo.explore.link import IN_PERCENT
from demo.shared_html import percent
from xfv_demo.explore.browse import Evidence, Histogram, Overview, PairFilter
from xfv_demo.explore.schema import Manifest, MethodEntry
from xfv_demo.faces.regions import REGION_GROUPS

FORM = "explore-form"
"""The id of the form whose fields say what is asked for."""

_TITLES = {"distance": "Distance", "confidence": "Confidence", "size": "Smaller face", "evidence": "Evidence"}
_UNITS = {"distance": "", "confidence": "%", "size": "px", "evidence": "%"}
# How bars of pairs by label are read, and those beside which truth stands.
_BY_LABEL = "up: one person, down: two people"
_BY_TRUTH = "bars: pairs; dots: share that is right"
# Of those, how many ticks have room in the narrowest chart.
_MOST_TICKS = 5


def charts_html(shown: Overview, everything: Overview, chosen: PairFilter, manifest: Manifest) -> str:
    """All histograms.

    Args:
        shown: What the filter leaves.
        everything: The same without a filter, whose outline stands behind.
        chosen: The filter.
        manifest: The store's.
    """
    threshold = manifest.calibration.threshold if manifest.calibration else None
    charts = [
        _chart_html(
            measure,
            histogram,
            everything.histograms[measure],
            chosen.ranges.get(measure, (None, None)),
            heading=_evidence_choice(manifest.methods) if measure == "evidence" else "",
            threshold=threshold if measure == "distance" else None,
            about=_evidence_name(chosen.evidence, manifest) if chosen.evidence else "",
        )
        for measure, histogram in shown.histograms.items()
    ]
    return f'<div class="charts">{"".join(charts)}</div>'


def _chart_html(
    measure: str,
    histogram: Histogram,
    everything: Histogram,
    ends: tuple[float | None, float | None],
    *,
    heading: str,
    threshold: float | None,
    about: str,
) -> str:
    by_label = measure in ("distance", "evidence")
    edges = [_displayed(measure, edge) for edge in histogram.edges]
    bars = _mirrored_svg(histogram, everything) if by_label else _plain_svg(histogram, everything)
    marks = "" if by_label else _truth_html(histogram, stated=measure == "confidence")
    if threshold is not None and histogram.edges[0] <= threshold <= histogram.edges[-1]:
        words = f"threshold {threshold:.2f}"
        marks += (
            f'<div class="limit" style="left:{_place(histogram.edges, threshold):.2f}%" '
            f'title="{words}"></div>'
        )
    if ends != (None, None):
        marks += _brush_html(histogram.edges, ends)
    name = about if measure == "evidence" else _TITLES[measure].lower()
    told = html.escape(_in_words(name, measure, histogram, by_label=by_label))
    low, high = edges[0], edges[-1]
    return (
        f'<section class="chart" data-measure="{measure}"><h3>{_TITLES[measure]} <small>'
        f"{_UNITS[measure]}</small>"
        f"{_clear_html(measure, ends)}</h3>{heading or _note(by_label=by_label)}"
        f'<div class="plot" data-edges="{html.escape(json.dumps(edges))}">'
        f'<svg viewBox="0 0 {len(edges) - 1} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{told}">{bars}'
        f"{_titles_svg(measure, histogram, by_label=by_label)}</svg>{marks}</div>"
        f'<div class="ticks" aria-hidden="true">{_ticks_html(measure, histogram.edges)}</div>'
        f'<div class="ends">{_end_html(measure, "from", low)}{_end_html(measure, "to", high)}</div></section>'
    )


def _note(*, by_label: bool) -> str:
    return f'<p class="reading-note">{_BY_LABEL if by_label else _BY_TRUTH}</p>'


def _evidence_choice(methods: Sequence[MethodEntry]) -> str:
    """Which method's evidence, and in which region of the face; what is chosen, the page keeps."""
    of_methods = "".join(
        f'<option value="{html.escape(one.key)}">{html.escape(one.title.partition(" (")[0])}</option>'
        for one in methods
    )
    # The eyes are what is shown where nothing is chosen, so they stand first.
    regions = sorted(REGION_GROUPS, key=lambda region: region.key != "eyes")
    of_regions = "".join(
        f'<option value="{region.key}">{html.escape(region.name.removeprefix("the "))}</option>'
        for region in regions
    )
    return (
        f'<div class="of"><select name="method" form="{FORM}" aria-label="Evidence by which '
        f'method">{of_methods}'
        f'</select><select name="region" form="{FORM}" aria-label="Evidence in which region">{of_regions}'
        "</select></div>"
    )


def _evidence_name(evidence: Evidence, manifest: Manifest) -> str:
    title = next(one.title for one in manifest.methods if one.key == evidence.method)
    region = next(one.name for one in REGION_GROUPS if one.key == evidence.region)
    return f"net share of {title}'s evidence in {region}, %"


def _clear_html(measure: str, ends: tuple[float | None, float | None]) -> str:
    if ends == (None, None):
        return ""
    words = f"Show all again, whatever their {_TITLES[measure].lower()}"
    return (
        '<button type="button" class="text" '
        f'data-set="{measure}_from=&amp;{measure}_to=&amp;page=&amp;pair=" '
        f'aria-label="{words}">all</button>'
    )


def _end_html(measure: str, end: str, placeholder: float) -> str:
    label = f"{_TITLES[measure]}, {'at least' if end == 'from' else 'at most'}"
    return (
        f'<label><span>{end}</span><input type="number" step="any" name="{measure}_{end}" form="{FORM}" '
        f'placeholder="{_number(placeholder)}" aria-label="{label}"></label>'
    )


# Bars -------------------------------------------------------------------------------------------------------


def _mirrored_svg(histogram: Histogram, everything: Histogram) -> str:
    """Pairs of one person stand upwards, those of two hang down, to one scale."""
    behind = _heights(everything.one_person, everything.two_people)
    front = _heights(histogram.one_person, histogram.two_people)
    middle = f'<line x1="0" x2="{len(front[0])}" y1="50" y2="50" class="zero"/>'
    return (
        _outline_svg(50 - behind[0] / 2, 50)
        + _outline_svg(50 + behind[1] / 2, 50)
        + "".join(
            _bar_svg(place, 50 - height / 2, height / 2, "genuine") for place, height in enumerate(front[0])
        )
        + "".join(_bar_svg(place, 50, height / 2, "impostor") for place, height in enumerate(front[1]))
        + middle
    )


def _plain_svg(histogram: Histogram, everything: Histogram) -> str:
    (behind,), (front,) = _heights(everything.pairs), _heights(histogram.pairs)
    bars = "".join(_bar_svg(place, 100 - height, height, "pairs") for place, height in enumerate(front))
    return _outline_svg(100 - behind, 100) + bars


def _heights(*counts: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    """In percent of the highest of all bars."""
    most = max(float(one.max(initial=0)) for one in counts) or 1.0
    return [100 * one / most for one in counts]


def _bar_svg(place: int, top: float, height: float, kind: str) -> str:
    if height <= 0:
        return ""
    # One pair among thousands is to be seen.
    seen = max(height, 1.5)
    top = top if kind == "impostor" else top - (seen - height)
    return f'<rect class="{kind}" x="{place + 0.08:g}" y="{top:.2f}" width="0.84" height="{seen:.2f}"/>'


def _outline_svg(tops: NDArray[np.float64], base: float) -> str:
    """The bars of all pairs, to a scale of their own."""
    steps = "".join(f"V{top:.1f}h1" for top in tops)
    return f'<path class="all" d="M0 {base:g}{steps}V{base:g}z"/>'


def _titles_svg(measure: str, histogram: Histogram, *, by_label: bool) -> str:
    """What a bar says, where the pointer is."""
    return "".join(
        f'<rect class="hit" x="{place}" y="0" width="1" height="100"><title>'
        f"{_bar_in_words(measure, histogram, place, by_label=by_label)}</title></rect>"
        for place in range(len(histogram.pairs))
    )


def _bar_in_words(measure: str, histogram: Histogram, place: int, *, by_label: bool) -> str:
    low, high = (_number(_displayed(measure, edge)) for edge in histogram.edges[place : place + 2])
    one, two = histogram.one_person[place], histogram.two_people[place]
    if by_label:
        return f"{low} to {high}: {one:,} of one person, {two:,} of two"
    pairs = one + two
    right = f", {percent(histogram.right[place] / pairs)} of them right" if pairs else ""
    return f"{low} to {high}: {pairs:,} pairs{right}"


def _truth_html(histogram: Histogram, *, stated: bool) -> str:
    """Which share of each bar's pairs was decided rightly, and what was stated of them."""
    marks, bars = [], len(histogram.pairs)
    for place, pairs in enumerate(histogram.pairs):
        if stated and not math.isnan(histogram.confidence[place]):
            marks.append(
                f'<i class="stated" style="left:{100 * place / bars:.2f}%;width:{100 / bars:.2f}%;'
                f'bottom:{100 * histogram.confidence[place]:.1f}%"></i>'
            )
        if pairs:
            right = histogram.right[place] / pairs
            marks.append(
                '<i class="dot" '
                f'style="left:{100 * (place + 0.5) / bars:.2f}%;bottom:{100 * right:.1f}%"></i>'
            )
    return "".join(marks)


# Axes -------------------------------------------------------------------------------------------------------


def _place(edges: Sequence[float], value: float) -> float:
    """Where a number stands on the axis of bars of one width each, in percent of it."""
    index = min(max(bisect.bisect_right(edges, value) - 1, 0), len(edges) - 2)
    share = (value - edges[index]) / (edges[index + 1] - edges[index])
    return 100 * (index + min(max(share, 0.0), 1.0)) / (len(edges) - 1)


def _brush_html(edges: Sequence[float], ends: tuple[float | None, float | None]) -> str:
    left = 0.0 if ends[0] is None else _place(edges, ends[0])
    right = 100.0 if ends[1] is None else _place(edges, ends[1])
    return f'<div class="brush" style="left:{left:.2f}%;width:{max(right - left, 0):.2f}%"></div>'


def _ticks_html(measure: str, edges: Sequence[float]) -> str:
    last = len(edges) - 1
    every = next(step for step in (1, 2, 4, 5, 8, 10) if last // step < _MOST_TICKS + 1)
    # There is no room beside the last for 100.
    chosen = range(0, last, every)
    if measure != "confidence":
        # Rounder numbers where there are such.
        digits = [len(_number(_displayed(measure, edge)).lstrip("-0.")) for edge in edges]
        start = min(range(min(every, last)), key=lambda one: sum(digits[one::every]))
        chosen = range(start, last + 1, every)
    return "".join(
        f'<span style="left:{100 * place / last:.2f}%">{_number(_displayed(measure, edges[place]))}</span>'
        for place in chosen
    )


def _displayed(measure: str, value: float) -> float:
    return round(100 * value, 6) if measure in IN_PERCENT else value


def _number(value: float) -> str:
    return f"{value:.6g}"


def _in_words(name: str, measure: str, histogram: Histogram, *, by_label: bool) -> str:
    """What a histogram shows, for those who do not see it."""
    pairs = int(histogram.pairs.sum())
    if not pairs:
        return f"Pairs by {name}: none"
    most = int(histogram.pairs.argmax())
    told = (
        f"Pairs by {name}: {pairs:,}; most stand at "
        f"{_bar_in_words(measure, histogram, most, by_label=by_label)}"
    )
    return f"{told}. The fields below filter by it."
