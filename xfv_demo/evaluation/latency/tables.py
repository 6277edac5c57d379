"""Times as tables: for a terminal and in Markdown."""

from typing import TYPE_CHECKING

from xfv_demo.evaluation.latency.report import SpeedReport
from xfv_demo.evaluation.markdown import markdown_table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def speed_table(report: SpeedReport) -> "Group":
    """The numbers as a person reads them, in three tables; fits a terminal of 80 columns."""
    from rich.console import Group

    return Group(_occlusion_table(report), _method_table(report), _start_table(report))


def markdown(report: SpeedReport) -> str:
    """The same three tables for docs/results, each row with its model."""
    occlusion = [
        (
            f"{model}, {timing.procedure}",
            *(f"{_seconds(one)} s" for one in (timing.first_map, timing.alike, timing.total)),
            f"{timings[0].total / timing.total:.1f}",
            f"{_megabytes(timing.peak_memory)} MB",
            f"{timing.agreement:.5f}",
        )
        for model, timings in report.models.items()
        for timing in timings
    ]
    methods = [
        (
            f"{model}, {timing.method}",
            f"{_seconds(timing.first_map)} s",
            f"{_seconds(timing.total)} s",
            f"{timing.total / timings[0].total:.2f}",
        )
        for model, timings in report.methods.items()
        for timing in timings
    ]
    starts = [
        (
            f"{model}, `{timing.command}`",
            f"{_seconds(timing.first_output)} s",
            f"{_seconds(timing.total)} s",
            f"{_megabytes(timing.peak_memory)} MB",
        )
        for model, timings in report.starts.items()
        for timing in timings
    ]
    columns = ("first map", "0.95 alike", "end", "times as fast", "peak memory", "lowest correlation")
    parts = [markdown_table(("model, procedure", *columns), occlusion)]
    parts.append(markdown_table(("model, method", "first map", "end", "of occlusion"), methods))
    if starts:
        parts.append(markdown_table(("model, command", "first output", "end", "peak memory"), starts))
    if report.left_out:
        parts.append("\n".join(f"- Left out: {reason}" for reason in report.left_out))
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return "\n\n".join([*parts, f"With {versions}."])


def _occlusion_table(report: SpeedReport) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = "Three occlusion methods, both photos of one pair\n(times in seconds, memory in megabytes)"
    table = Table(title=title, box=box.SIMPLE, pad_edge=False)
    table.add_column("procedure", overflow="fold")
    for column in ("first\nmap", "0.95\nalike", "end", "speed", "steps", "memory", "agrees"):
        table.add_column(column, justify="right", overflow="fold")
    for model, timings in report.models.items():
        # A folder's name is no markup.
        table.add_row(Text(model, style="bold"))
        for timing in timings:
            table.add_row(
                timing.procedure,
                *(_seconds(one) for one in (timing.first_map, timing.alike, timing.total)),
                f"{timings[0].total / timing.total:.1f} x",
                str(timing.steps),
                _megabytes(timing.peak_memory),
                f"{timing.agreement:.5f}",
            )
        table.add_section()
    return table


def _method_table(report: SpeedReport) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = "Each method of explanation, both photos of one pair\n(times in seconds)"
    table = Table(title=title, box=box.SIMPLE, pad_edge=False)
    table.add_column("method", overflow="fold")
    for column in ("first\nmap", "end", "of\nocclusion", "steps"):
        table.add_column(column, justify="right", overflow="fold")
    table.add_column("engine", overflow="fold")
    for model, timings in report.methods.items():
        table.add_row(Text(model, style="bold"))
        for timing in timings:
            table.add_row(
                timing.method,
                _seconds(timing.first_map),
                _seconds(timing.total),
                f"{timing.total / timings[0].total:.2f} x",
                str(timing.steps),
                timing.engine,
            )
        table.add_section()
    return table


def _start_table(report: SpeedReport) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = "Whole processes, from their start\n(times in seconds, memory in megabytes)"
    table = Table(title=title, box=box.SIMPLE, pad_edge=False)
    table.add_column("command", overflow="fold")
    for column in ("first\noutput", "end", "memory", "runs"):
        table.add_column(column, justify="right", overflow="fold")
    for model, timings in report.starts.items():
        table.add_row(Text(model, style="bold"))
        for timing in timings:
            table.add_row(
                timing.command,
                _seconds(timing.first_output),
                _seconds(timing.total),
                _megabytes(timing.peak_memory),
                str(timing.runs),
            )
        table.add_section()
    return table


def _megabytes(memory: float | None) -> str:
    return "-" if memory is None else f"{memory:.0f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 100 else f"{seconds:.0f}"
