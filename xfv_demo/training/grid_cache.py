"""What training needs of a set's images: feature grids and embeddings, of the images and of variants of them.

Computed once and kept in files that are read in place, so that a training looks at no image again, and one
that was killed goes on where it was.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfv_demo.batch.align import AlignedImage, FaceChoice, align_images
from xfv_demo.batch.cache import EmbeddingStore
from xfv_demo.datasets.labelled_images import LabelledImages
from xfv_demo.errors import DatasetError, XfvError
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.models.savedmodel import SavedModelEmbedder
from xfv_demo.runtime.files import write_whole
from xfv_demo.training.augmentation import augmented
from xfv_demo.types import FloatArray

_AT_ONCE = 32
_KEY_FILE = "set.json"
# To be raised with every change of what the files hold, augmentation included.
_REVISION = 1

# What is known of an image; 0 is nothing.
_DONE = 1
_FACELESS = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class GridSet:
    """Feature grids and embeddings of images by person.

    Attributes:
        grids: (V, N, h, w, C) float16; of V variants the first is the image as it is, the second its mirror
            image.
        embeddings: (V, N, D) float32, of length 1: what gives the teacher's cosine.
        person: (N,) the place in `people` of the person whom each image shows; -1 where no face was found.
        people: Their names.
        faces: (N, 112, 112, 3) uint8, the aligned faces themselves; None where they were not to be kept.
    """

    grids: NDArray[np.float16]
    embeddings: FloatArray
    person: NDArray[np.int64]
    people: tuple[str, ...]
    faces: NDArray[np.uint8] | None = None

    @property
    def failures(self) -> int:
        """How many images gave no face."""
        return int(np.count_nonzero(self.person < 0))

    def of(self, people: Container[str]) -> NDArray[np.int64]:
        """The rows of the images of some of the people, as far as they have a face."""
        kept = [place for place, name in enumerate(self.people) if name in people]
        return np.flatnonzero(np.isin(self.person, kept))


def compute_grids(
    images: LabelledImages,
    embedder: SavedModelEmbedder,
    store: EmbeddingStore,
    folder: Path,
    *,
    variants: int,
    seed: int,
    keep_faces: bool = False,
    already_aligned: bool = False,
    face: FaceChoice = "central",
    progress: Progress | None = None,
) -> GridSet:
    """Computes the grids of all images, or what is left to do of them.

    It starts processes, so a script that calls it needs `if __name__ == "__main__":` around the call.

    Args:
        images: The set.
        embedder: The model.
        store: Where the faces found are kept.
        folder: Where grids are kept, each set's in a folder of its own: 2 * h * w * C bytes for each variant
            of each image, which are 50 KB with the bundled model.
        variants: V, at least 1.
        seed: What the variants from the third on are drawn from.
        keep_faces: Whether to keep the aligned faces too, 38 KB each: what fine-tuning needs.
        already_aligned: Whether the images are aligned 112 x 112 crops.
        face: Which face of an image is its person's.
        progress: Called with the number of images done and of all images.

    Returns:
        The grids; they stay on disk and are read when they are needed.

    Raises:
        DatasetError: An image is missing, or none shows a face.
        XfvError: The folder cannot be written to, or has not enough room.
        ModelError: The embedder has no feature grid.
    """
    key = {
        "revision": _REVISION,
        "model": embedder.fingerprint,
        "images": hashlib.sha256("\n".join(images.images).encode()).hexdigest(),
        "variants": variants,
        "seed": seed,
        "aligned": already_aligned,
        "face": face,
        # Not where there are none, so that grids kept before there were any are found.
        **({"faces": True} if keep_faces else {}),
    }
    shape = (variants, len(images), *embedder.grid_shape)
    described = json.dumps(key, indent=2)
    folder = folder / f"{images.name}-{hashlib.sha256(described.encode()).hexdigest()[:12]}"
    try:
        files = _open_files(folder, described, shape, embedder.dimensions, keep_faces=keep_faces)
    except OSError as error:
        raise XfvError(
            f'the grids cannot be kept in "{folder}": {error.strerror}; give another folder'
        ) from error
    grids, embeddings, done = files["grids"], files["embeddings"], files["done"]
    kept_faces = files.get("faces")
    rows = {name: row for row, name in enumerate(images.images)}
    left = [name for name in images.images if not done[rows[name]]]

    def keep(batch: Sequence[AlignedImage]) -> None:
        faces = [(rows[one.key], one.face) for one in batch if one.face is not None]
        if faces:
            places = [row for row, _ in faces]
            for variant in range(variants):
                made = np.stack(
                    [
                        variant_of(face, variant, np.random.default_rng([seed, variant, row]))
                        for row, face in faces
                    ]
                )
                grids[variant, places] = embedder.feature_grid(made)
                embeddings[variant, places] = embedder.embed(made)
            if kept_faces is not None:
                kept_faces[places] = np.stack([as_bytes(face) for _, face in faces])
        # Marked as done only when the rest is on disk.
        for name in files.keys() - {"done"}:
            files[name].flush()
        for one in batch:
            done[rows[one.key]] = _DONE if one.face is not None else _FACELESS
        done.flush()
        if progress is not None:
            progress(int(np.count_nonzero(done)), len(images))

    batch: list[AlignedImage] = []
    for image in align_images(images.source, left, store, already_aligned=already_aligned, face=face):
        batch.append(image)
        if len(batch) == _AT_ONCE:
            keep(batch)
            batch = []
    keep(batch)
    usable = np.asarray(done) == _DONE
    if not usable.any():
        raise DatasetError(f'"{images.name}" shows no face that can be found')
    person = np.where(usable, images.person, -1)
    return GridSet(grids, np.asarray(embeddings), person, images.people, kept_faces)


def as_bytes(face: FloatArray) -> NDArray[np.uint8]:
    """A face in [0, 1] as it is kept, in whole numbers of [0, 255]."""
    return np.rint(face * 255).astype(np.uint8)


def variant_of(face: FloatArray, variant: int, rng: np.random.Generator) -> FloatArray:
    """A variant of a face.

    Args:
        face: (112, 112, 3) float32, RGB, in [0, 1].
        variant: 0 for the face as it is, 1 for its mirror image, more for one that is drawn.
        rng: Source of randomness.

    Returns:
        The same kind.
    """
    if variant == 0:
        return face
    if variant == 1:
        return np.ascontiguousarray(face[:, ::-1])
    return augmented(face, rng)


def _open_files(
    folder: Path, described: str, shape: tuple[int, ...], dimensions: int, *, keep_faces: bool
) -> dict[str, Any]:
    """The files by name, those of an earlier run where they are for the same set."""
    arrays: dict[str, tuple[type, tuple[int, ...]]] = {
        "grids": (np.float16, shape),
        "embeddings": (np.float32, (*shape[:2], dimensions)),
        "done": (np.uint8, shape[1:2]),
    }
    if keep_faces:
        arrays["faces"] = (np.uint8, (shape[1], ALIGNED_SIZE, ALIGNED_SIZE, 3))
    # Written when the files have their sizes.
    note = folder / _KEY_FILE
    mode = "r+" if note.is_file() else "w+"
    if mode == "w+":
        folder.mkdir(parents=True, exist_ok=True)
        needed = sum(int(np.prod(size)) * np.dtype(kind).itemsize for kind, size in arrays.values())
        _check_room(folder, needed)
    opened = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode=mode, dtype=kind, shape=size)
        for name, (kind, size) in arrays.items()
    }
    if mode == "w+":
        write_whole(note, f"{described}\n".encode())
    return opened


def _check_room(folder: Path, needed: int) -> None:
    """Refuses a disk that is too small: memory-mapped files would end the process when it is full."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise XfvError(
            f'the grids need {needed / 1e9:.1f} GB in "{folder}", and {free / 1e9:.1f} GB are free; give '
            "another folder or fewer variants"
        )
