"""The benchmark's result files, read."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfv_demo.runtime.paths import assets_folder

Report = Mapping[str, Any]


RESULTS = assets_folder() / "results"


# As `BenchmarkReport.to_dict` writes it.
_FORMAT = ("xfv-demo explanation benchmark", 1)


def read_reports(folder: Path) -> list[Report]:
    """Reads the reports that lie in a folder.

    Args:
        folder: Which; its files that end in "-explanations.json" are read.

    Returns:
        By the files' names, what each holds, with its name as "file"; of one that cannot be read the reason,
        as "problem".
    """
    reports: list[Report] = []
    for path in sorted(folder.glob("*-explanations.json")):
        read: Report
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            read = {"problem": f"it cannot be read ({error.strerror})"}
        except (ValueError, RecursionError):
            read = {"problem": "it is not JSON"}
        else:
            if not isinstance(read, dict) or (read.get("format"), read.get("version")) != _FORMAT:
                read = {"problem": "it is no benchmark of explanations, or one of another version"}
        reports.append({**read, "file": path.name})
    return reports


# What the report says ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ComparedMethod:
    """What several pieces show of a contender.

    Attributes:
        number: Its place in the table, from 1.
        key: A name for programs.
        title: A name for people.
        seconds: For a pair; None for a baseline.
        area: Of replacement.
        low: Where the area's interval begins.
        high: Where it ends.
        kept: All that the report has of it.
    """

    number: int
    key: str
    title: str
    seconds: float | None
    area: float
    low: float
    high: float
    kept: Mapping[str, Any]


def read_methods(report: Report) -> list[ComparedMethod]:
    """The contenders of a report, in the order of its table."""
    contenders = []
    for number, one in enumerate(report["contenders"], 1):
        area = one["common"]["replacement"]
        low, high = area["interval"]["low"], area["interval"]["high"]
        seconds = one["seconds"]
        if not 0 <= area["value"] <= 1 or (seconds is not None and not 0 < seconds < math.inf):
            raise ValueError("an area is from 0 to 1, and a map takes some time")
        contenders.append(
            ComparedMethod(number, one["key"], one["title"], seconds, area["value"], low, high, one)
        )
    return contenders


def told_apart(report: Report) -> set[tuple[str, str]]:
    """The keys of every two contenders of which the first is better by more than chance explains."""
    return {
        (one["one"], one["other"])
        for one in report["differences"]
        if one["replacement"]["interval"]["high"] < 0
    }


def most_pairs(report: Report) -> tuple[int, int]:
    """The genuine and the impostor pairs of the contender that was measured on most."""
    counts = [one["every"]["pairs"] for one in report["contenders"]]
    return max((one["genuine"], one["impostor"]) for one in counts)


def quickest_method(contenders: Iterable[ComparedMethod]) -> ComparedMethod | None:
    """The quickest of the methods that were timed."""
    timed = ((one.seconds, one) for one in contenders if one.seconds is not None)
    _, quickest = min(timed, key=lambda pair: pair[0], default=(None, None))
    return quickest
