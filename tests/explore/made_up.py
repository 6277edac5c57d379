"""Made-up stores, for tests that need no model."""

import numpy as np
import pyarrow as pa

from xfv_demo.explore.schema import (
    FACES_SCHEMA,
    MAPS_SCHEMA,
    OUTCOMES,
    Manifest,
    MethodEntry,
    evidence_column,
    pack_map,
    pairs_schema,
)
from xfv_demo.explore.store import StoreWriter, part_path, write_part
from xfv_demo.faces.regions import REGION_GROUPS


def manifest(**values):
    known = {
        "name": "made up",
        "model": "mean colour",
        "model_sha256": None,
        "engine": None,
        "dataset": "nobody",
        "calibration": None,
        "methods": (MethodEntry(key="mean-face", title="Mean face"),),
        "crops": True,
        "face": "central",
        "seed": 0,
        "pairs": 20,
        "complete": False,
        "command": None,
        "date": "2026-11-28",
        "seconds": None,
        "versions": {},
    }
    return Manifest(**{**known, **values})


def pair_rows(numbers):
    """Rows of pairs whose values all follow from their number."""
    return [
        {
            "pair": number,
            "first": f"a/{number}.png",
            "second": "b/0.png",
            "genuine": number % 2 == 0,
            "fold": number % 10,
            "distance": number / 100,
            "distance_threshold": 0.6,
            "same_person": number < 60,
            "confidence": 0.9,
            "log10_likelihood_ratio": 1.0,
            "outcome": OUTCOMES[number % len(OUTCOMES)],
            "cautions": ["blurred"] if number % 3 == 0 else [],
            **{evidence_column("mean-face", region.key): number / 100 for region in REGION_GROUPS},
        }
        for number in numbers
    ]


def map_rows(numbers):
    return [
        {
            "pair": number,
            "method": "mean-face",
            "probe": pack_map(np.full((112, 112), number)),
            "reference": pack_map(np.full((112, 112), -number)),
        }
        for number in numbers
    ]


def write_block(folder, block, size=5):
    """A part of maps and one of pairs, as a worker writes them."""
    numbers = range(block * size, (block + 1) * size)
    write_part(part_path(folder, "maps", block), pa.Table.from_pylist(map_rows(numbers), MAPS_SCHEMA))
    rows = pa.Table.from_pylist(pair_rows(numbers), pairs_schema(["mean-face"]))
    write_part(part_path(folder, "pairs", block), rows)


FACES = ({"key": "b/0.png", "size": 30.0, "crop": b"pixels", "embedding": b"numbers"},)


def write_faces(folder, rows=FACES):
    schema = pa.schema([*FACES_SCHEMA, pa.field("embedding", pa.binary())])
    write_part(part_path(folder, "faces", 0), pa.Table.from_pylist(list(rows), schema))


def made_store(folder, blocks=4, faces=FACES, **values):
    """A complete store."""
    writer = StoreWriter(folder, manifest(pairs=5 * blocks, **values))
    write_faces(folder, faces)
    for block in range(blocks):
        write_block(folder, block)
    writer.finish(1.0)
    return folder
