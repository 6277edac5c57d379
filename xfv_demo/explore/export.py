"""A store handed on: as CSV, or as what FiftyOne and Spotlight open."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from PIL import Image

from xfv_demo.errors import XfvError
from xfv_demo.explore.schema import OUTCOMES
from xfv_demo.explore.store import Store
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.runtime.files import check_folder, json_text, write_whole

ExportFormat = Literal["csv", "fiftyone", "spotlight"]

# Rows whose pictures are in memory at once, 40 kB a pair.
_AT_ONCE = 500

# CSV has no lists.
_PAIRS = "SELECT * REPLACE (array_to_string(cautions, '; ') AS cautions) FROM pairs ORDER BY pair"


def export_store(store: Store, folder: Path, kind: ExportFormat) -> str:
    """Writes a store for other programs.

    "csv" is pairs.csv and faces.csv, without pictures. "fiftyone" is a FiftyOneImageClassificationDataset: an
    image of both aligned faces for each pair, labelled with the outcome, its other columns as attributes.
    "spotlight" is pairs.csv with the paths of both aligned faces.

    Args:
        store: The store.
        folder: Where to; must not be there yet, or be empty.
        kind: Which.

    Returns:
        What opens it there, for people to read.

    Raises:
        XfvError: The folder holds anything or cannot be written, or the store has no faces where they are
            needed.
    """
    check_folder(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise XfvError(f'the folder "{folder}" holds other things; choose another one')
    if kind == "csv":
        _write_csv(folder / "pairs.csv", store.query(_PAIRS))
        _write_csv(folder / "faces.csv", store.query("SELECT * EXCLUDE (crop) FROM faces ORDER BY key"))
        return "any program that reads CSV"
    if not store.manifest.crops:
        raise XfvError(f'"{store.path}" is a store of numbers alone, and {kind} needs the faces; take csv')
    return _as_fiftyone(store, folder) if kind == "fiftyone" else _as_spotlight(store, folder)


def _as_fiftyone(store: Store, folder: Path) -> str:
    labels = {}
    for row in store.query(_PAIRS).to_pylist():
        known = {name: value for name, value in row.items() if value is not None}
        labels[_name(row["pair"])] = {
            "label": known.pop("outcome"),
            "confidence": known.pop("confidence", None),
            "attributes": known,
        }
    pictures = (
        "SELECT pair, a.crop AS probe, b.crop AS reference FROM pairs "
        "JOIN faces a ON first = a.key JOIN faces b ON second = b.key ORDER BY pair"
    )
    for row in _rows(store, pictures):
        both = Image.new("RGB", (2 * ALIGNED_SIZE, ALIGNED_SIZE), "grey")
        for place, side in enumerate(("probe", "reference")):
            if row[side] is not None:
                both.paste(Image.open(io.BytesIO(row[side])), (place * ALIGNED_SIZE, 0))
        content = io.BytesIO()
        both.save(content, "PNG")
        write_whole(folder / "data" / f"{_name(row['pair'])}.png", content.getvalue())
    document = {"classes": list(OUTCOMES), "labels": labels}
    write_whole(folder / "labels.json", json_text(document).encode())
    return (
        "fiftyone.Dataset.from_dir(FOLDER, dataset_type=fiftyone.types.FiftyOneImageClassificationDataset); "
        "FIFTYONE_DO_NOT_TRACK=true keeps it from reporting its use"
    )


def _as_spotlight(store: Store, folder: Path) -> str:
    paths = {}
    for number, row in enumerate(_rows(store, "SELECT key, crop FROM faces ORDER BY key")):
        if row["crop"] is not None:
            paths[row["key"]] = f"faces/{_name(number)}.png"
            write_whole(folder / paths[row["key"]], row["crop"])
    pairs = store.query(_PAIRS)
    for side in ("first", "second"):
        pairs = pairs.append_column(
            f"{side}_face", pa.array([paths.get(key) for key in pairs[side].to_pylist()], pa.string())
        )
    _write_csv(folder / "pairs.csv", pairs)
    return (
        "in that folder: spotlight pairs.csv --dtype first_face=Image --dtype second_face=Image; "
        "SPOTLIGHT_OPT_OUT=true keeps it from reporting its use"
    )


def _rows(store: Store, sql: str) -> Iterator[dict[str, Any]]:
    """The rows of a sorted question, some at a time."""
    for begin in range(0, np.iinfo(np.int64).max, _AT_ONCE):
        rows = store.query(f"{sql} LIMIT ? OFFSET ?", [_AT_ONCE, begin]).to_pylist()
        yield from rows
        if len(rows) < _AT_ONCE:
            return


def _name(number: int) -> str:
    return f"{number:07d}"


def _write_csv(path: Path, table: pa.Table) -> None:
    content = io.BytesIO()
    pa_csv.write_csv(table, content)
    write_whole(path, content.getvalue())
