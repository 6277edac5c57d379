"""What a store holds: its tables' columns with types and units, and its manifest.

A store is a folder: `manifest.json`, and the Parquet files of three tables in the folders `pairs`, `faces`
and `maps`, which anybody can read with pyarrow, DuckDB or pandas.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xfv_demo.errors import XfvError
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.faces.regions import REGION_GROUPS
from xfv_demo.types import FloatArray

FORMAT: Literal["xfv-demo explore store"] = "xfv-demo explore store"
VERSION: Literal[1] = 1
MANIFEST = "manifest.json"

OUTCOMES = ("true match", "true non-match", "false match", "false non-match", "failed")
"""What becomes of a pair: decided rightly or wrongly to show one person or two, or not at all."""

MAP_CELLS = 28
"""Maps are kept as means over blocks of 4 x 4 pixels: 28 x 28 of them."""

_BLOCK = ALIGNED_SIZE // MAP_CELLS
_CELL = np.dtype("<f2")


class MethodEntry(BaseModel):
    """A method of explanation whose maps a store holds.

    Attributes:
        key: Its key in `EXPLAINERS`.
        title: What people call it.
        view: Which of its maps, by `View.key`: the first of its views. None until the first pair was
            explained; what follows says nothing before, either.
        parameters: Its settings.
        percentile: Of a map's absolute values, the one that is to have the strongest colour, as for `View`.
        is_evidence: As for `View`.
        domain: As for `View`; evidence by region there is of the face alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    title: str
    view: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    percentile: float = Field(default=100.0, gt=0, le=100)
    is_evidence: bool = True
    domain: Literal["face", "frequency"] = "face"


class CalibrationEntry(BaseModel):
    """Where a store's thresholds and confidences come from.

    Attributes:
        fit: "foldwise": each pair is decided by a fit to the set's other folds. "elsewhere": by the model's
            calibration on another set. "none": no fit has not seen the pairs, so there is no confidence.
        method: The calibrator's key in `CALIBRATORS`; None without a confidence.
        dataset: The set that was fitted to; None without a calibration.
        threshold: The distance threshold over all pairs of that set.
        eer_threshold: The distance of equal error rate, which xSSAB and FGGB take; None without one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fit: Literal["foldwise", "elsewhere", "none"]
    method: str | None
    dataset: str | None
    threshold: float = Field(ge=0, le=2)
    eer_threshold: float | None = Field(ge=0, le=2)


class Manifest(BaseModel):
    """What a store is of, and how it came about.

    Attributes:
        format: Always `FORMAT`.
        version: Of the format, `VERSION`.
        name: What to call the store.
        model: The model's name.
        model_sha256: Digest of its files, if known.
        engine: What runs it, if known.
        dataset: The data set's name.
        calibration: Where thresholds and confidences come from; None until the first pair is decided.
        methods: Those whose evidence, and maps if `crops`, the store holds.
        crops: Whether the aligned faces and the maps are kept; else the store is of numbers alone.
        face: Which face of an image is its person's; None where the images are aligned crops.
        seed: Of what was drawn at random.
        pairs: How many pairs there are.
        complete: Whether all of them are done.
        command: What makes the store again; None where it was made by a program.
        date: When it was begun, ISO 8601.
        seconds: How long the run took that completed it; None until then.
        versions: Of the libraries that decide on the numbers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["xfv-demo explore store"] = FORMAT
    version: Literal[1] = VERSION
    name: str
    model: str
    model_sha256: str | None
    engine: str | None
    dataset: str
    calibration: CalibrationEntry | None
    methods: tuple[MethodEntry, ...]
    crops: bool
    face: Literal["central", "largest"] | None
    seed: int
    pairs: int = Field(ge=1)
    complete: bool
    command: str | None
    date: str
    seconds: float | None
    versions: dict[str, str]


def read_manifest(folder: Path) -> Manifest:
    """Reads a store's manifest.

    Args:
        folder: The store.

    Raises:
        XfvError: There is no store, or one that this version cannot read; says which.
    """
    try:
        document = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise XfvError(
            f'"{folder}" is no store: it has no {MANIFEST}; make one with python -m xfv_demo explore build'
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON"
        raise XfvError(
            f'"{folder}": its {MANIFEST} cannot be read: {reason}; build the store again'
        ) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise XfvError(f'"{folder}": its {MANIFEST} is not that of an {FORMAT}; give the folder of one')
    if document.get("version") != VERSION:
        raise XfvError(
            f'"{folder}" is a store of version {document.get("version")!r}, and this program reads version '
            f"{VERSION}; build it again"
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise XfvError(
            f'"{folder}": its {MANIFEST} is broken: {where}: {first["msg"]}; build the store again'
        ) from error


def evidence_column(method: str, region: str) -> str:
    """The column of `pairs` with a region's net share of a method's evidence.

    Args:
        method: A key of `EXPLAINERS`.
        region: The key of one of `REGION_GROUPS`.
    """
    return f"evidence_{method.replace('-', '_')}_{region}"


def pairs_schema(methods: Iterable[str]) -> pa.Schema:
    """The columns of `pairs`: a row for each pair of the data set.

    Args:
        methods: Keys of `EXPLAINERS`.
    """
    evidence = [
        _field(
            evidence_column(method, region.key),
            pa.float32(),
            f"net share of {method}'s evidence in {region.name}, both photos together; positive speaks for "
            "one person; null where its maps are not of the face",
            "share in [-1, 1]",
        )
        for method in methods
        for region in REGION_GROUPS
    ]
    return pa.schema([*_PAIR_FIELDS, *evidence])


def _field(name: str, kind: pa.DataType, about: str, unit: str = "", *, null: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=null, metadata={"about": about, "unit": unit})


_PAIR_FIELDS = (
    _field("pair", pa.int64(), "the pair's row in the data set, from 0", null=False),
    _field("first", pa.string(), "key of the first image", null=False),
    _field("second", pa.string(), "key of the second image", null=False),
    _field("first_person", pa.string(), "whom it shows, where the set tells"),
    _field("second_person", pa.string(), "likewise"),
    _field("genuine", pa.bool_(), "whether both images are labelled with one person", null=False),
    _field("fold", pa.int32(), "the pair's fold, from 0", null=False),
    _field("distance", pa.float64(), "cosine distance of the embeddings", "in [0, 2]"),
    _field("distance_threshold", pa.float64(), "below it the pair counts as one person", "in [0, 2]"),
    _field("same_person", pa.bool_(), "the decision"),
    _field(
        "confidence",
        pa.float64(),
        "share of such decisions that are right, if as many pairs show one person as two; null where a "
        "caution withholds it",
        "in [0.5, 1)",
    ),
    _field(
        "log10_likelihood_ratio",
        pa.float64(),
        "how many times as likely such a distance is of one person as of two; null likewise",
        "decimal logarithm",
    ),
    _field("outcome", pa.dictionary(pa.int8(), pa.string()), f"one of: {', '.join(OUTCOMES)}", null=False),
    _field("first_size", pa.float32(), "between the eyes of the first face, in its image", "pixels"),
    _field("second_size", pa.float32(), "likewise of the second", "pixels"),
    _field(
        "cautions",
        pa.list_(pa.string()),
        "why the verdict deserves less trust, each once; what they say goes on from: a face is",
        null=False,
    ),
    _field("problem", pa.string(), "why the pair failed, or why its maps did; null where nothing did"),
)

FACES_SCHEMA = pa.schema(
    [
        _field("key", pa.string(), "key of the image", null=False),
        _field("person", pa.string(), "whom it shows, where the set tells"),
        _field("size", pa.float32(), "between the eyes, in the image", "pixels"),
        _field("certainty", pa.float32(), "the detector's certainty that this is a face", "natural log odds"),
        _field(
            "crop", pa.binary(), "the aligned face of 112 x 112 pixels, as PNG; null in a store of numbers"
        ),
        _field("problem", pa.string(), "why there is no face; null where there is one"),
    ]
)
"""The columns of `faces`: a row for each image."""

MAPS_SCHEMA = pa.schema(
    [
        _field("pair", pa.int64(), "as in pairs", null=False),
        _field("method", pa.string(), "key of the method", null=False),
        _field("probe", pa.binary(), "map of the first image, by pack_map", "the method's own", null=False),
        _field("reference", pa.binary(), "map of the second image", "the method's own", null=False),
    ]
)
"""The columns of `maps`: a row for each pair and method."""


def pack_map(values: FloatArray) -> bytes:
    """A map as it is kept: means over blocks of 4 x 4 pixels.

    Args:
        values: (112, 112) finite, in the method's own unit.

    Returns:
        28 x 28 float16, little-endian, in C order: 1,568 bytes.

    Raises:
        XfvError: The values are too large for float16.
    """
    cells = np.asarray(values, np.float64).reshape(MAP_CELLS, _BLOCK, MAP_CELLS, _BLOCK).mean(axis=(1, 3))
    if not np.abs(cells).max() <= np.finfo(_CELL).max:
        raise XfvError(f"a map's values reach {np.abs(cells).max():.3g}, which a store cannot keep")
    return bytes(cells.astype(_CELL).tobytes())


def unpack_map(content: bytes) -> NDArray[np.float32]:
    """A map that `pack_map` made.

    Args:
        content: Its bytes.

    Returns:
        (28, 28) float32, in the method's own unit.

    Raises:
        XfvError: It is none.
    """
    if len(content) != MAP_CELLS**2 * _CELL.itemsize:
        raise XfvError(
            f"a map of {len(content)} bytes is none of {MAP_CELLS} x {MAP_CELLS}; build the store again"
        )
    values = np.frombuffer(content, _CELL).reshape(MAP_CELLS, MAP_CELLS).astype(np.float32)
    if not np.isfinite(values).all():
        raise XfvError("a map holds what is no number; build the store again")
    return values
