"""Measures what is usual: how strong each method's maps are on labelled pairs, by region of the face."""

import datetime
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np

from xfv_demo.batch.align import FaceChoice, Progress, align_images
from xfv_demo.batch.cache import EmbeddingStore
from xfv_demo.datasets.pairs import PairSet
from xfv_demo.errors import DatasetError
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.explainers.reference import EvidenceReference, ViewReference, region_strengths
from xfv_demo.runtime.paths import cache_folder
from xfv_demo.runtime.provenance import library_versions
from xfv_demo.types import FloatArray

# The fewest pairs of either kind of whom a share of 5 % can be told.
_FEWEST = 100
# Of the pixels, every so many along each side tell how large values are: they are smooth, or many.
_SAMPLED = 4


def measure_reference(
    pairs: PairSet,
    embedder: Any,
    methods: Sequence[str],
    similarity_threshold: float,
    *,
    face: FaceChoice = "central",
    command: str = "",
    progress: Progress | None = None,
) -> EvidenceReference:
    """Explains a set's pairs by each method and keeps how strong the evidence is.

    It starts processes, so a script that calls it needs `if __name__ == "__main__":` around the call.

    Args:
        pairs: The pairs, of both kinds.
        embedder: The model, with a name and a `sha256`.
        methods: Keys of `EXPLAINERS`.
        similarity_threshold: For methods that take one, on the cosine similarity.
        face: Which face of an image is its person's.
        command: What repeats it.
        progress: Called with the number of pairs done and of all.

    Returns:
        The reference.

    Raises:
        DatasetError: There are fewer than 100 pairs of either kind with a face in each image.
        ModelError: A method cannot explain the model.
    """
    faces = _faces(pairs, face)
    usable = [
        (faces[first], faces[second], bool(genuine))
        for first, second, genuine in zip(
            (pairs.images[place] for place in pairs.first),
            (pairs.images[place] for place in pairs.second),
            pairs.genuine,
            strict=True,
        )
        if first in faces and second in faces
    ]
    labels = [genuine for *_, genuine in usable]
    counts = sum(labels), len(labels) - sum(labels)
    if min(counts) < _FEWEST:
        raise DatasetError(
            f"{pairs.name} has {counts[0]} genuine and {counts[1]} impostor pairs with faces; what is usual "
            f"needs {_FEWEST} of each"
        )
    settings: dict[str, dict[str, Any]] = {}
    strengths: dict[tuple[str, str], list[dict[str, float]]] = {}
    sizes: dict[tuple[str, str], list[FloatArray]] = {}
    for done, (first, second, _) in enumerate(usable, 1):
        for method in methods:
            explainer = EXPLAINERS[method]
            known = {"threshold": similarity_threshold} if explainer.takes_threshold else {}
            steps = explainer.stream_all(embedder, _in_floats(first), _in_floats(second), **known)
            last = deque(steps, maxlen=1).pop()
            settings[method] = dict(next(iter(last.values())).parameters)
            for view in explainer.views(last):
                is_told = view.is_evidence and view.domain == "face"
                told = region_strengths(view.maps) if is_told else {}
                strengths.setdefault((method, view.key), []).append(told)
                sampled = np.abs(np.stack(view.maps))[:, ::_SAMPLED, ::_SAMPLED]
                sizes.setdefault((method, view.key), []).append(sampled)
        if progress is not None:
            progress(done, len(usable))
    views: dict[str, dict[str, ViewReference]] = {method: {} for method in methods}
    for (method, view_key), several in strengths.items():
        measured = np.concatenate(sizes[method, view_key])
        views[method][view_key] = ViewReference.of(several, labels, measured)
    return EvidenceReference(
        model=embedder.name,
        model_sha256=embedder.sha256,
        dataset=pairs.name,
        genuine_pairs=counts[0],
        impostor_pairs=counts[1],
        methods=settings,
        views=views,
        command=command,
        date=str(datetime.date.today()),
        versions=library_versions(),
    )


def _faces(pairs: PairSet, face: FaceChoice) -> dict[str, Any]:
    """By image the aligned face, in 8 bits: 38 KB each."""
    with closing(EmbeddingStore(cache_folder() / "embeddings.sqlite")) as store:
        aligned = align_images(pairs.source, pairs.images, store, already_aligned=pairs.aligned, face=face)
        return {one.key: np.rint(255 * one.face).astype(np.uint8) for one in aligned if one.face is not None}


def _in_floats(pixels: Any) -> FloatArray:
    return np.asarray(pixels, np.float32) / np.float32(255)
