"""What is done to a block of images, or of pairs, by one process of several; see `compute`."""

import functools
import hashlib
import io
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from xfv_demo.batch.align import NO_FACE, FaceChoice, choose_face
from xfv_demo.batch.cache import EmbeddingStore
from xfv_demo.datasets.sources import ImageSource
from xfv_demo.errors import FaceNotFoundError, ImageError, XfvError
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.explainers.base import Explainer
from xfv_demo.explainers.explanation import Explanation, View
from xfv_demo.explore.schema import (
    FACES_SCHEMA,
    MAPS_SCHEMA,
    MethodEntry,
    evidence_column,
    pack_map,
    pairs_schema,
)
from xfv_demo.explore.store import part_path, read_part, write_part
from xfv_demo.faces.alignment import align
from xfv_demo.faces.candidates import find_candidates
from xfv_demo.faces.detection import MtcnnDetector
from xfv_demo.faces.images import read_photo
from xfv_demo.faces.quality import cautions
from xfv_demo.faces.regions import REGION_GROUPS, pair_evidence, region_evidence
from xfv_demo.models.compiled import CompiledEmbedder
from xfv_demo.models.similarity import checked_embeddings
from xfv_demo.runtime.paths import cache_folder
from xfv_demo.types import AlignedFace, FloatArray

IMAGES_AT_ONCE = 32
"""Images of a block, and of a part of faces."""

DECIDED_AT_ONCE = 10_000
"""Pairs whose numbers are written, and read, at once."""

# How many parts of faces, 700 kB each, a worker keeps at hand for the next block's pairs.
_PARTS_AT_HAND = 64

WORK_FACES = pa.schema(
    [
        *FACES_SCHEMA,
        pa.field("embedding", pa.binary()),
        pa.field("cautions", pa.list_(pa.string())),
        pa.field("withholds", pa.list_(pa.bool_())),
    ]
)
"""Parts of faces: beside the table's columns what goes when the store is complete."""

PLACES = ("first_image", "second_image")


@dataclass(frozen=True)
class ImageBlock:
    """Images to be looked at.

    Attributes:
        number: Of the part that they make.
        keys: Their keys.
        people: Whom each shows; "" where that is not known.
    """

    number: int
    keys: tuple[str, ...]
    people: tuple[str, ...]


@dataclass(frozen=True)
class PairBlock:
    """Pairs to be explained: those of rows `start` to `stop` (without it), which make part `number`."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class BlockDone:
    """A block that is written.

    Attributes:
        rows: How many images or pairs it has.
        failures: How many of them failed.
        methods: What is kept of each method; empty where nothing was explained.
    """

    rows: int
    failures: int
    methods: tuple[MethodEntry, ...] = ()


def decided_schema() -> pa.Schema:
    """What is known of a pair before it is explained."""
    return pa.schema([*pairs_schema(()), *(pa.field(place, pa.int32(), nullable=False) for place in PLACES)])


def decided_path(store: Path) -> Path:
    """Where that lies, of all pairs."""
    return part_path(store, "decided", 0)


def make_explainers(
    embedder: CompiledEmbedder, methods: Sequence[str], eer_threshold: float
) -> dict[str, Explainer]:
    """The explainers by name.

    Args:
        embedder: The model.
        methods: Keys of `EXPLAINERS`.
        eer_threshold: The distance of equal error rate, for those that take it.

    Raises:
        ModelError: The model lacks what a method needs.
    """
    return {
        method: EXPLAINERS[method](
            embedder, **({"threshold": 1 - eer_threshold} if EXPLAINERS[method].takes_threshold else {})
        )
        for method in methods
    }


class FaceWorker:
    """Finds, aligns and embeds the faces of images, and writes a part of faces.

    Args:
        source: Where the images are.
        embedder: The model.
        store: The store's folder.
        face: Which face of an image is its person's.
        aligned: Whether the images are aligned faces.
        smallest_size: As for `faces.quality.cautions`.
    """

    def __init__(
        self,
        source: ImageSource,
        embedder: CompiledEmbedder,
        store: Path,
        *,
        face: FaceChoice,
        aligned: bool,
        smallest_size: float | None,
    ) -> None:
        self._source, self._embedder, self._store = source, embedder, store
        self._face: FaceChoice = face
        self._aligned, self._smallest_size = aligned, smallest_size
        self._detector = MtcnnDetector(threads=1)

    def __call__(self, block: ImageBlock) -> BlockDone:
        """Does a block."""
        # Opened anew for each, as it belongs to a thread, and Ray calls from another one than it starts in.
        with closing(EmbeddingStore(cache_folder() / "embeddings.sqlite")) as kept:
            return self._faces_of(block, kept)

    def _faces_of(self, block: ImageBlock, kept: EmbeddingStore) -> BlockDone:
        contents = dict(self._source.stream(block.keys))
        rows: list[dict[str, Any]] = []
        found: list[FloatArray] = []
        for key, person in zip(block.keys, block.people, strict=True):
            row: dict[str, Any] = {"key": key, "person": person or None}
            rows.append(row)
            try:
                face = self._aligned_face(key, contents[key], kept)
            except (ImageError, FaceNotFoundError) as error:
                row["problem"] = str(error)
                continue
            found.append(face.aligned)
            reasons = cautions(face, self._smallest_size)
            row |= {
                "size": face.face.eye_distance,
                "certainty": face.face.certainty,
                "crop": _png(face.aligned),
                # Without the numbers, which other columns have.
                "cautions": [one.words.partition(" (")[0] for one in reasons],
                "withholds": [one.withholds for one in reasons],
            }
        if found:
            vectors = checked_embeddings(self._embedder.embed(np.stack(found)), len(found))
            for row, vector in zip((row for row in rows if "problem" not in row), vectors, strict=True):
                row["embedding"] = vector.astype(np.float32).tobytes()
        table = pa.Table.from_pylist(rows, WORK_FACES)
        write_part(part_path(self._store, "faces", block.number), table)
        return BlockDone(len(rows), len(rows) - len(found))

    def _aligned_face(self, key: str, content: bytes, kept: EmbeddingStore) -> AlignedFace:
        name = key.rpartition("/")[2]
        photo = read_photo(content, name)
        if self._aligned:
            return find_candidates(self._detector, photo, name=name, aligned=True)[0]
        sha256 = hashlib.sha256(content).hexdigest()
        faces = kept.faces(sha256, self._detector.fingerprint)
        if faces is None:
            faces = tuple(self._detector.detect(photo))
            kept.keep_faces(sha256, self._detector.fingerprint, faces)
        if not faces:
            raise FaceNotFoundError(f'"{name}" {NO_FACE}')
        chosen = choose_face(faces, photo, self._face)
        return AlignedFace(name, align(photo, chosen.landmarks), chosen, faces, photo.shape[:2])


class PairWorker:
    """Explains pairs that were decided, and writes a part of maps, then one of pairs.

    In this order: where the part of pairs is there, that of maps is.

    Args:
        embedder: The model.
        store: The store's folder.
        methods: Keys of `EXPLAINERS`.
        eer_threshold: As for `make_explainers`.
        maps: Whether to keep the maps.
    """

    def __init__(
        self,
        embedder: CompiledEmbedder,
        store: Path,
        methods: Sequence[str],
        eer_threshold: float,
        *,
        maps: bool,
    ) -> None:
        self._store, self._maps = store, maps
        self._schema = pairs_schema(methods)
        self._explainers = make_explainers(embedder, methods, eer_threshold)
        self._decided = functools.lru_cache(2)(self._read_decided)
        self._faces = functools.lru_cache(_PARTS_AT_HAND)(self._read_faces)

    def __call__(self, block: PairBlock) -> BlockDone:
        """Does a block."""
        group, begin = divmod(block.start, DECIDED_AT_ONCE)
        rows = self._decided(group).slice(begin, block.stop - block.start).to_pylist()
        places = [tuple(row.pop(place) for place in PLACES) for row in rows]
        usable = [number for number, row in enumerate(rows) if row["problem"] is None]
        maps: list[dict[str, Any]] = []
        entries = []
        if usable and self._explainers:
            faces = [[self._face(place) for place in places[number]] for number in usable]
            photos, vectors = (
                np.stack([[face[part] for face in pair] for pair in faces], axis=1) for part in (0, 1)
            )
            for method, explainer in self._explainers.items():
                explained = _explain_all(explainer, photos, vectors)
                views = []
                for number, one in zip(usable, explained, strict=True):
                    try:
                        view = _first_view(explainer, one)
                        kept = {"pair": rows[number]["pair"], "method": method, **_packed(view)}
                        rows[number] |= _evidence(method, view)
                    except (XfvError, ValueError) as error:
                        rows[number]["problem"] = f"{method}: {error}"
                        continue
                    views.append(view)
                    maps.append(kept)
                entries += [_entry(explainer, view) for view in views[:1]]
        if self._maps:
            write_part(part_path(self._store, "maps", block.number), pa.Table.from_pylist(maps, MAPS_SCHEMA))
        write_part(part_path(self._store, "pairs", block.number), pa.Table.from_pylist(rows, self._schema))
        return BlockDone(len(rows), sum(row["problem"] is not None for row in rows), tuple(entries))

    def _read_decided(self, group: int) -> pa.Table:
        with pq.ParquetFile(decided_path(self._store)) as file:
            return file.read_row_group(group)

    def _face(self, place: int) -> tuple[FloatArray, FloatArray]:
        """An image's aligned face, as its crop shows it, and the face's embedding."""
        part, row = divmod(place, IMAGES_AT_ONCE)
        crop, embedding = self._faces(part)[row]
        pixels = np.asarray(Image.open(io.BytesIO(crop)), np.float32)
        return pixels / np.float32(255), np.frombuffer(embedding, np.float32)

    def _read_faces(self, part: int) -> list[tuple[bytes, bytes]]:
        table = read_part(part_path(self._store, "faces", part), ("crop", "embedding"))
        return list(zip(*(table[name].to_pylist() for name in ("crop", "embedding")), strict=True))


def _png(aligned: FloatArray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.rint(aligned * 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _explain_all(
    explainer: Explainer, photos: FloatArray, embeddings: FloatArray
) -> Sequence[Explanation | Exception]:
    """What a method says of (2, B, ...) photos; of a pair that it fails at, why."""
    try:
        return explainer.explain_batch(*photos, embeddings=embeddings)
    except (XfvError, ValueError):
        return [
            _explain_one(explainer, *pair)
            for pair in zip(np.moveaxis(photos, 1, 0), np.moveaxis(embeddings, 1, 0), strict=True)
        ]


def _explain_one(explainer: Explainer, photos: FloatArray, embeddings: FloatArray) -> Explanation | Exception:
    try:
        return explainer.explain(*photos, embeddings=embeddings)
    except (XfvError, ValueError) as error:
        return error


def _first_view(explainer: Explainer, explanation: Explanation | Exception) -> View:
    if isinstance(explanation, Exception):
        raise explanation
    # Occlusion's views go by comparison, those of the others by method.
    variant = getattr(explainer, "comparison", explainer.name)
    return explainer.views({variant: explanation})[0]


def _evidence(method: str, view: View) -> Mapping[str, float]:
    if view.domain != "face":
        return {}
    sides = (region_evidence(values, REGION_GROUPS) for values in view.maps)
    return {evidence_column(method, one.region.key): one.net_share for one in pair_evidence(*sides)}


def _packed(view: View) -> Mapping[str, bytes]:
    return {side: pack_map(values) for side, values in view.maps._asdict().items()}


def _entry(explainer: Explainer, view: View) -> MethodEntry:
    return MethodEntry(
        key=explainer.name,
        title=explainer.title,
        view=view.key,
        parameters=explainer.parameters,
        percentile=view.percentile,
        is_evidence=view.is_evidence,
        domain=view.domain,
    )
