"""The tab on which explanation is right and what it costs: reports of the benchmark as HTML.

Reports are what `python -m xfv_demo evaluate patch-lfw` writes. Anybody can put one into the folder, so that
all that comes from a file is escaped, and a file that is not as it should be costs a line, not the page.
"""

import html
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from demo.benchmark.reports import (
    ComparedMethod,
    Report,
    most_pairs,
    quickest_method,
    read_methods,
    told_apart,
)
from demo.benchmark.tradeoff_svg import gist, plot_svg
from demo.shared_html import dataset_name, interval_words, percent, two_digit_seconds

_COMMAND = "python -m xfv_demo evaluate patch-lfw --data LFW_FOLDER --out assets/results"

# The layouts of the plot, of which style.css shows the one that fits: width and height in pixels.
_SIZES = {"wide": (860, 400), "narrow": (320, 360)}

# By their names in the report: what is changed, and where the correlation should be.
_CHECKS = (
    ("weights", "shuffled weights", "near 0"),
    ("reference", "another reference", "well below 1"),
    ("repeated", "all repeated", "1"),
    ("noise", "slight noise", "near 1"),
)


def benchmark_html(reports: Sequence[Report]) -> str:
    """All that the tab shows.

    Args:
        reports: As from `read_reports`.
    """
    parts = [_report_or_problem_html(report, several=len(reports) > 1) for report in reports]
    if not parts:
        parts = [
            f'<p class="nothing">Nothing was measured yet. <code>{_COMMAND}</code> measures all methods on '
            "LFW, and this page shows the numbers when it is next started.</p>"
        ]
    return f'<article class="benchmark"><h2>Which explanation is right?</h2>{"".join(parts)}</article>'


def _report_or_problem_html(report: Report, *, several: bool) -> str:
    problem = report.get("problem")
    if problem is None:
        try:
            return _report_html(report, several=several)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, jinja2.UndefinedError):
            problem = "it lacks something, or holds something that cannot be"
    name = html.escape(str(report.get("file", "a report")))
    return f'<p class="problem">{name} is not shown: {html.escape(str(problem))}.</p>'


def _report_html(report: Report, *, several: bool) -> str:
    contenders = read_methods(report)
    genuine, impostor = most_pairs(report)
    return _TEMPLATES.get_template("benchmark.html").render(
        report=report,
        several=several,
        contenders=contenders,
        dataset=dataset_name(report["dataset"]),
        genuine=genuine,
        impostor=impostor,
        finding=_finding(report, contenders),
        gist=gist(contenders),
        plots={kind: plot_svg(contenders, *size) for kind, size in _SIZES.items()},
        checks=_CHECKS,
        reasons=dict.fromkeys(report["refused"].values()),
        differences=_carried(report["differences"], contenders),
        quick_differences=_carried(report["quick_differences"], contenders),
    )


def _finding(report: Report, contenders: Sequence[ComparedMethod]) -> Mapping[str, Any]:
    """Which is best, which might be as well, and how many know more than the baselines."""
    better = told_apart(report)
    best, *others = contenders
    alike = [one for one in others if (best.key, one.key) not in better]
    methods = [one for one in contenders if one.seconds is not None]
    return {
        "best": best,
        "alike": alike,
        # Of those that share a run, and so its time, the best.
        "quickest": quickest_method([best, *alike]),
        "beaten": [
            (_how_many([(one.key, baseline.key) in better for one in methods]), baseline)
            for baseline in contenders
            if baseline.seconds is None
        ],
    }


def _how_many(methods: Sequence[bool]) -> str:
    """Such as "3 of 11 methods are"."""
    count = sum(methods)
    if count in (0, len(methods)):
        return f"all {count} methods are" if count else "no method is"
    return f"{count} of {len(methods)} methods {'is' if count == 1 else 'are'}"


def _carried(
    differences: Iterable[Mapping[str, Any]], contenders: Sequence[ComparedMethod]
) -> list[tuple[ComparedMethod, list[ComparedMethod], list[ComparedMethod]]]:
    """Of every two contenders, the better first: by each first one, what it is told from and what not."""
    known = {one.key: one for one in contenders}
    carried = []
    for key, several in itertools.groupby(differences, key=lambda apart: apart["one"]):
        told: list[ComparedMethod] = []
        untold: list[ComparedMethod] = []
        for apart in several:
            is_carried = apart["replacement"]["interval"]["high"] < 0
            (told if is_carried else untold).append(known[apart["other"]])
        carried.append((known[key], told, untold))
    return carried


# Words and numbers ------------------------------------------------------------------------------------------


def _listed(several: Sequence[ComparedMethod]) -> str:
    """Their names in a sentence."""
    # Names have commas of their own.
    *others, last = (one.title for one in several)
    return f"{'; '.join(others)}{';' if len(others) > 1 else ''} and {last}" if others else last


def _with_interval(area: Mapping[str, Any]) -> str:
    return f"{area['value']:.3f} ({interval_words(area['interval']['low'], area['interval']['high'])})"


def _correlation(value: float | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    # Plus zero: what rounds to it loses its sign.
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def _share(value: float | None) -> str:
    """Of a cell's shade, from 0 to 1."""
    return f"{min(max(value or 0, 0), 1):.2f}"


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "between": lambda one: interval_words(one.low, one.high),
    "correlation": _correlation,
    "digits": "{:.3f}".format,
    "listed": _listed,
    "percent": percent,
    "seconds": two_digit_seconds,
    "share": _share,
    "thousands": "{:,}".format,
    "with_interval": _with_interval,
}
