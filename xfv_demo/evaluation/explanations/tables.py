"""The benchmark's tables: for the terminal and in Markdown."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xfv_demo.evaluation.explanations.methods import COMPARED_METHODS, RANDOM
from xfv_demo.evaluation.explanations.report import BenchmarkReport, Difference
from xfv_demo.evaluation.markdown import markdown_table
from xfv_demo.metrics.faithfulness import Area
from xfv_demo.runtime.provenance import rounded

if TYPE_CHECKING:
    from rich.table import Table


def benchmark_table(report: BenchmarkReport) -> "Table":
    """The numbers as a person reads them."""
    from rich.table import Table

    counts = report.contenders[0].common.pairs
    table = Table(
        title=f"Explanations of {report.model} on {report.dataset}: {counts.genuine} genuine and "
        f"{counts.impostor} impostor pairs that all were measured on"
    )
    for column in TABLE_COLUMNS:
        table.add_column(column, justify="left" if column == TABLE_COLUMNS[0] else "right")
    for row in table_rows(report):
        table.add_row(*row)
    return table


TABLE_COLUMNS = (
    "map",
    "replacement, FMR ↓",
    "FNMR ↓",
    "mean ↓ (95 %)",
    "deletion ↓",
    "insertion ↑",
    "localisation AUC ↑",
    "s a pair",
)


def table_rows(report: BenchmarkReport) -> list[tuple[str, ...]]:
    """A row of words for each contender, for `TABLE_COLUMNS`."""
    rows: list[tuple[str, ...]] = []
    for one in report.contenders:
        areas = one.common
        rows.append(
            (
                one.title,
                _digits(areas.fmr.value),
                _digits(areas.fnmr.value),
                _with_interval(areas.replacement),
                _digits(areas.deletion.value),
                _digits(areas.insertion.value),
                _digits(areas.found.value),
                "" if one.seconds is None else f"{one.seconds:.2f}",
            )
        )
    return rows


def carried_differences(differences: Sequence[Difference]) -> list[str]:
    """Says in sentences which differences of replacement the intervals carry.

    Args:
        differences: Of every two contenders, the better first.

    Returns:
        Of each contender but the last, what it is better than, and what it cannot be told from.
    """
    sentences = []
    for key, several in itertools.groupby(differences, key=lambda one: one.one):
        one = COMPARED_METHODS[key]
        told: list[str] = []
        untold: list[str] = []
        for apart in several:
            other = COMPARED_METHODS[apart.other]
            (told if apart.replacement.interval.high < 0 else untold).append(other.title)
        parts = [f"is better than {_listed(told)}"] if told else []
        parts += [f"cannot be told from {_listed(untold)}"] if untold else []
        sentences.append(f"{one.title} {'. It '.join(parts)}.")
    return sentences


def markdown(report: BenchmarkReport) -> str:
    """What was measured, for docs/results: the rates, the tables, and what the intervals carry."""
    common, every = report.contenders[0].common.pairs, report.result(RANDOM).every.pairs
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    seen = report.result("xcos").unseen if any(one.key == "xcos" for one in report.contenders) else None
    paragraphs = [
        f"The patches raise FNMR from {_percent(report.clean.fnmr)} to {_percent(report.patched.fnmr)}, FMR "
        f"from {_percent(report.clean.fmr)} to {_percent(report.patched.fmr)}, on {every.total:,} pairs of "
        f"{report.dataset}, at an unchanged threshold of {report.threshold:.3f} on the cosine similarity. "
        "All maps on the "
        f"{common.total:,} pairs ({common.genuine} genuine) that the slow ones were measured on too:",
        markdown_table(TABLE_COLUMNS, table_rows(report)),
        "Which differences of the mean area their 95 % intervals carry (paired, bootstrap over pairs):",
        _sentences(report.differences),
    ]
    quick = sorted(
        (one for one in report.contenders if one.every.pairs.total > common.total),
        key=lambda one: one.every.replacement.value,
    )
    if quick:
        paragraphs += [
            f"The maps that are quick to make, on all {every.total:,} pairs:",
            markdown_table(
                ("quick map", "FMR area ↓", "FNMR area ↓", "mean ↓ (95 %)", "localisation AUC ↑ (95 %)"),
                [
                    (
                        one.title,
                        _digits(one.every.fmr.value),
                        _digits(one.every.fnmr.value),
                        _with_interval(one.every.replacement),
                        _with_interval(one.every.found),
                    )
                    for one in quick
                ],
            ),
            _sentences(report.quick_differences),
        ]
    if seen:
        paragraphs.append(
            f"On the {seen.pairs.total} of these that show nobody whom xCos's head was trained on, its mean "
            f"area is {_with_interval(seen.replacement)}."
        )
    checked = [(one.title, one.sanity) for one in report.contenders if one.sanity]
    if checked:
        paragraphs += [
            "What the maps of a face depend on: mean rank correlation of its map with that of a model whose "
            "weights are shuffled within each layer (should be near 0), with that against somebody else "
            "(well below 1), "
            f"with that of another run with another seed (1), and under noise of 2/255 (near 1), on "
            f"{report.sanity_pairs} genuine pairs:",
            markdown_table(
                ("map of a face", "weights shuffled", "another reference", "run again", "noise"),
                [
                    (
                        title,
                        *(
                            "" if value is None else f"{rounded(value):.2f}"
                            for value in (sanity.weights, sanity.reference, sanity.repeated, sanity.noise)
                        ),
                    )
                    for title, sanity in checked
                ],
            ),
        ]
    paragraphs.append(
        f"Measured on {report.date.isoformat()} by `{report.command}`, seed {report.seed}, "
        f"{report.engine}, {versions}. That run took {report.seconds:.0f} s; {report.kept:,} of its "
        "outcomes, each a pair by a method, were there from runs before it."
    )
    return "\n\n".join(paragraphs)


def _sentences(differences: Sequence[Difference]) -> str:
    return "\n".join(f"- {sentence}" for sentence in carried_differences(differences))


def _percent(rate: float) -> str:
    return f"{100 * rounded(rate):.1f} %"


def _with_interval(area: Area) -> str:
    low, high = _digits(area.interval.low), _digits(area.interval.high)
    return f"{_digits(area.value)} ({low} to {high})"


def _digits(value: float) -> str:
    # Rounded first as in the file, so that who reads it comes to the same digits.
    return f"{rounded(value):.3f}"


def _listed(words: Sequence[str]) -> str:
    # Names have commas of their own.
    *others, last = words
    return f"{'; '.join(others)}{';' if len(others) > 1 else ''} and {last}" if others else last
