"""What the confidence is worth on small faces: reports of `evaluate sizes` as HTML."""

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.shared_html import dataset_name, percent

# As `SizeReport.to_dict` writes it.
_FORMAT = ("xfv-demo confidence by size of the face", 1)
_WORSE = {"none": "", "one": ", one photo", "both": ", both photos"}


def sizes_html(folder: Path) -> str:
    """The reports that lie in a folder, each with its figure.

    Args:
        folder: Which; its files that end in "-sizes.json" are read, and the PNG beside each.

    Returns:
        The sections; empty where there is no report. Of one that cannot be shown, a line says so.
    """
    return "".join(_report_or_problem(path) for path in sorted(folder.glob("*-sizes.json")))


def _report_or_problem(path: Path) -> str:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        figure = base64.b64encode(path.with_suffix(".png").read_bytes()).decode()
        return _section(report, figure)
    except (OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError):
        name = html.escape(path.name)
        return (
            f'<article class="benchmark"><p class="problem">{name} is not shown: it or its figure lacks '
            "something, or holds something that cannot be.</p></article>"
        )


def _section(report: Mapping[str, Any], figure: str) -> str:
    if (report["format"], report["version"]) != _FORMAT:
        raise ValueError("the report is of another format")
    dataset = html.escape(dataset_name(report["dataset"]))
    model = html.escape(report["model"])
    smallest, largest = report["size_range"]
    rows = "".join(
        f'<tr><th scope="row">{html.escape(row["title"])}{_WORSE[row["worse"]]}</th>'
        + "".join(
            f"<td>{percent(one['confidence'])}</td><td>{percent(one['accuracy'])}</td><td>{one['ece']:.3f}</td>"
            for one in (row["before"], row["after"])
        )
        + "</tr>"
        for row in report["rows"]
    )
    heads = "<th>stated</th><th>right</th><th>error</th>" * 2
    return f"""<article class="benchmark"><h2>Is the confidence right on small faces?</h2>
<section class="report"><p>{model} on {dataset}, its photos shrunk or made worse otherwise. Without the size
of the faces, more is stated of small ones than is true. So from {largest:.0f} pixels between the eyes down to
{smallest:.0f}, threshold and confidence follow the sizes of both faces; below, no confidence is given. Each
decision is by a fit that did not see its people.</p>
<figure><img src="data:image/png;base64,{figure}" style="max-width:100%"
 alt="Mean confidence and share of right decisions by the size of the smaller face; the table has
 them by kind">
</figure>
<div class="sheet"><p>Mean confidence, share of right decisions, and expected calibration error</p>
<div class="scroll" role="region" tabindex="0" aria-label="Confidence on worse photos"><table>
<thead><tr><th scope="col" rowspan="2">photos</th><th colspan="3">without sizes</th>
<th colspan="3">sizes counted in</th></tr><tr>{heads}</tr></thead>
<tbody>{rows}</tbody></table></div></div></section></article>"""
