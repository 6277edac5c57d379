"""A store of made-up numbers: what is asked of it can be counted by hand."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from xfv_demo.explore.schema import (
    FACES_SCHEMA,
    MAPS_SCHEMA,
    OUTCOMES,
    CalibrationEntry,
    Manifest,
    MethodEntry,
    evidence_column,
    pack_map,
    pairs_schema,
)
from xfv_demo.faces.regions import REGION_GROUPS

METHODS = (
    MethodEntry(key="mean-face", title="Mean face", view="combined", parameters={}),
    MethodEntry(key="xssab", title="xSSAB (Huber et al. 2024)", view="combined", parameters={}),
)
THRESHOLD = 0.6
CAUTIONS = ("blurred", "small (9 pixels between the eyes; the model looks at 35)", "dark")


def make_rows(pairs=200, seed=0):
    """The pairs' rows; one in 20 has failed, some have cautions, one in 10 of the decisions is wrong."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(pairs):
        genuine = bool(number % 2)
        wrong = bool(rng.random() < 0.1)
        same = genuine ^ wrong
        failed = number % 20 == 7
        distance = float(rng.uniform(0.1, 0.59) if same else rng.uniform(0.61, 1.3))
        outcome = f"{'false' if wrong else 'true'} {'match' if same else 'non-match'}"
        people = (number % 17, number % 17 if genuine else (number + 1) % 17)
        withheld = number % 20 == 3
        row = {
            "pair": number,
            "first": f"p{people[0]}/{number}-a.jpg",
            "second": f"p{people[1]}/{number}-b.jpg",
            "first_person": f"Person {people[0]:02}",
            "second_person": f"Person {people[1]:02}",
            "genuine": genuine,
            "fold": number % 10,
            "distance": None if failed else distance,
            "distance_threshold": None if failed else THRESHOLD,
            "same_person": None if failed else same,
            "confidence": None if failed or withheld else float(rng.uniform(0.5, 0.9995)),
            "log10_likelihood_ratio": None if failed or withheld else float(rng.uniform(-3, 3)),
            "outcome": "failed" if failed else outcome,
            "first_size": float(np.float32(rng.uniform(8, 60))),
            "second_size": float(np.float32(rng.uniform(8, 60))),
            "cautions": [one for place, one in enumerate(CAUTIONS) if number % (5 + place) == 0],
            "problem": "no face was found in the second photo" if failed else None,
        }
        for method in METHODS:
            for region in REGION_GROUPS:
                evidence = float(np.float32(np.clip(rng.normal(0, 0.2), -1, 1)))
                row[evidence_column(method.key, region.key)] = None if failed else evidence
        rows.append(row)
    assert {row["outcome"] for row in rows} == set(OUTCOMES)
    return rows


def make_store(folder, rows=None, *, crops=True, name="made"):
    """Writes a store of these rows, its pairs in two files and in no order."""
    rows = make_rows() if rows is None else rows
    shuffled = np.random.default_rng(1).permutation(len(rows))
    for table in ("pairs", "faces", "maps"):
        (folder / table).mkdir(parents=True)
    schema = pairs_schema([method.key for method in METHODS])
    for file, places in enumerate(np.array_split(shuffled, 2)):
        table = pa.Table.from_pylist([rows[place] for place in places], schema)
        pq.write_table(table, folder / "pairs" / f"{file}.parquet", row_group_size=50)
    images = {
        row[side]: (row[f"{side}_person"], row[f"{side}_size"])
        for row in rows
        for side in ("first", "second")
    }
    crop = png(np.random.default_rng(2).integers(0, 256, (112, 112, 3))) if crops else None
    faces = [
        {"key": key, "person": person, "size": size, "certainty": 7.0, "crop": crop, "problem": None}
        for key, (person, size) in images.items()
    ]
    pq.write_table(pa.Table.from_pylist(faces, FACES_SCHEMA), folder / "faces" / "0.parquet")
    if crops:
        maps = [
            {
                "pair": row["pair"], "method": method.key,
                "probe": pack_map(map_of(row)), "reference": pack_map(-map_of(row) / 2),
            }
            for row in rows
            if row["outcome"] != "failed"
            for method in METHODS
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(maps, MAPS_SCHEMA), folder / "maps" / "0.parquet")
    manifest = Manifest(
        name=name, model="mobilefacenet", model_sha256=None, engine="openvino", dataset=name,
        calibration=CalibrationEntry(
            fit="foldwise", method="spline", dataset=name, threshold=THRESHOLD, eer_threshold=0.62
        ),
        methods=METHODS, crops=crops, face="central", seed=0, pairs=len(rows), complete=True, command=None,
        date="2026-11-28", seconds=1.0, versions={},
    )  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest.model_dump(mode="json")))
    return folder


def map_of(row):
    """A map whose upper half speaks for the same person, more so in pairs of higher numbers."""
    values = np.zeros((112, 112), np.float32)
    values[:56] = 1 + row["pair"] % 3
    return values


def png(pixels):
    written = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(written, "PNG")
    return written.getvalue()
