"""The verdict, its confidence and its scale, in HTML."""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from demo.compare.session import ComparisonRequest
from demo.shared_html import as_sentence, dataset_name
from xfv_demo.calibration.calibration import Calibration
from xfv_demo.findings import Prior, chance_in_words
from xfv_demo.metrics.decision import is_same
from xfv_demo.metrics.error_rates import largest_rate
from xfv_demo.metrics.intervals import wilson_interval
from xfv_demo.types import Verification

# Bins of the distances' histogram, over [0, 2].
_BINS = 100

# Where photos come from, and how likely one person is there before they are compared.
SITUATIONS = (
    ("even odds", Prior(1, 1), "as many pairs show one person as two"),
    ("document check", Prior(99, 1), "99 of 100 people who come show their own document"),
    ("line-up of six", Prior(1, 5), "the person is one of six, and each of them as likely as any other"),
    (
        "search in a million",
        Prior(1, 999_999),
        "the person is one of a million, and each of them as likely as any other",
    ),
)


# What was compared with what -------------------------------------------------------------------------------

# Said once what was compared is no longer what stands above it; which, the browser decides.
STALE = (
    '<p class="stale" role="status" data-photos="photos changed: compare again" '
    'data-settings="settings changed: compare again"></p>'
)


def result_html(piece: str, asked: ComparisonRequest | None = None) -> str:
    """A part of the result, labelled with what it is of.

    The page greys it while other photos, faces or settings stand above it, whenever and however late it came;
    see `events_js.MARK_STALE`.

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
    lines.append(evidence_html(verification))
    lines += [
        f'<p class="condition">{html.escape(as_sentence(notice))}</p>'
        for notice in verification.notices
        if notice not in verification.cautions
    ]
    kind = "same" if same else "different"
    return f'<section class="verdict {kind}" aria-live="polite">{"".join(lines)}</section>'


def evidence_html(verification: Verification) -> str:
    """What the photos say, and what follows from it in some situations; empty without a likelihood ratio.

    The browser shows the situation that is picked; all of them are there, so that nothing is asked for.
    """
    ratio = verification.log10_likelihood_ratio
    if ratio is None or verification.findings is None:
        return ""
    choices, answers = [], []
    for index, (name, prior, assumed) in enumerate(SITUATIONS):
        checked = "" if index else " checked"
        choices.append(f'<label><input type="radio" name="prior" value="{prior}"{checked}>{name}</label>')
        answers.append(
            f'<p class="chance"><b class="figure">{chance_in_words(prior.posterior(ratio))}</b> that the '
            f"photos show one person. This assumes that {assumed}: odds of {prior.same:,.0f} to "
            f"{prior.different:,.0f} beforehand.</p>"
        )
    return (
        f'<p class="findings">{html.escape(as_sentence(verification.findings))}</p>'
        '<fieldset class="prior"><legend>How likely one person is depends on where the photos come from:'
        f'</legend><div class="views">{"".join(choices)}</div>{"".join(answers)}</fieldset>'
    )


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
        edge = " left" if at > 60 else ""
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
