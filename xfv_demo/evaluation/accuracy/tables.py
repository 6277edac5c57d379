"""The report on a model's accuracy, as tables for the terminal."""

import math
from typing import TYPE_CHECKING

SETS_COLUMNS = ("set", "pairs", "accuracy", "standard deviation of the folds", "EER", "AUC", "Cllr")

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from xfv_demo.evaluation.accuracy.report import VerificationReport
    from xfv_demo.metrics.intervals import Interval


def report_tables(report: "VerificationReport") -> "list[Table]":
    """The report's numbers as a person reads them."""
    from rich.table import Table

    accuracy, separation, point = report.accuracy, report.separation, report.operating_point
    numbers = Table(
        title=f"{report.model} on {report.dataset}, {report.pairs.total} pairs", show_header=False
    )
    numbers.add_row(
        f"{len(accuracy.folds)}-fold accuracy",
        f"{accuracy.mean:.2%} {interval_in_words(report.accuracy_interval)} ± {accuracy.standard_error:.2%} "
        f"(standard error; the folds deviate by {accuracy.standard_deviation:.2%})",
    )
    numbers.add_row("threshold", f"{point.threshold:.3f}")
    numbers.add_row("FMR there", f"{point.fmr:.2%} {interval_in_words(point.fmr_interval)}")
    numbers.add_row("FNMR there", f"{point.fnmr:.2%} {interval_in_words(point.fnmr_interval)}")
    numbers.add_row(
        "EER", f"{separation.eer:.2%} {separation.reason or interval_in_words(separation.eer_interval)}"
    )
    area = separation.auc_interval
    told = f"[{area.low:.5f}, {area.high:.5f}]" if area else separation.reason
    numbers.add_row("AUC", f"{separation.auc:.5f} {told}")
    summary, ratios = report.confidence.summary, report.likelihood_ratio
    numbers.add_row("Cllr", f"{summary.cllr:.4f} (at least {summary.min_cllr:.4f} by any calibration)")
    numbers.add_row(
        "log10 LR carried",
        f"{ratios.bounds.low:.2f} to {ratios.bounds.high:.2f}, misleading in "
        f"{ratios.misleading_genuine:.2%} of genuine and {ratios.misleading_impostor:.2%} of impostor pairs",
    )
    for answer in report.fnmr_at_fmr:
        told = f"{answer.at.fnmr:.2%} {interval_in_words(answer.interval)}" if answer.at else answer.reason
        numbers.add_row(f"FNMR at FMR {answer.target:g}", told)
    comparison = Table(title="Foldwise confidence, by calibration method; lower is better")
    for column in ("method", "log loss", "Brier", "ECE", "equal-mass ECE", "Cllr", "min Cllr"):
        comparison.add_column(column)
    for row in report.comparison:
        values = (row.log_loss, row.brier, row.ece, row.adaptive_ece, row.cllr, row.min_cllr)
        comparison.add_row(row.method, *(f"{value:.5f}" for value in values))
    return [numbers, comparison]


def sets_rows(reports: "Sequence[VerificationReport]") -> list[tuple[str, ...]]:
    """A row for each set, under `SETS_COLUMNS`."""
    return [
        (
            report.dataset,
            f"{report.pairs.total:,}",
            f"{report.accuracy.mean:.2%}",
            f"{report.accuracy.standard_deviation:.2%}",
            f"{report.separation.eer:.2%}",
            f"{report.separation.auc:.4f}",
            f"{report.confidence.summary.cllr:.3f}",
        )
        for report in reports
    ]


def sets_markdown(reports: "Sequence[VerificationReport]") -> str:
    """The table of several sets, in Markdown."""
    rows = [SETS_COLUMNS, ("---",) * len(SETS_COLUMNS), *sets_rows(reports)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def interval_in_words(interval: "Interval | None") -> str:
    """An interval of rates, to as many digits as tell its ends apart."""
    if interval is None:
        return ""
    width = 100 * (interval.high - interval.low)
    # Of very many pairs, two digits would show an interval without width.
    digits = max(2, 1 - math.floor(math.log10(width))) if width else 2
    return f"[{interval.low:.{digits}%}, {interval.high:.{digits}%}]"
