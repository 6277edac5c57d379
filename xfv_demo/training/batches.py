"""The pairs that xCos's head is trained on, batch by batch."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from xfv_demo.errors import DatasetError
from xfv_demo.training.grid_cache import GridSet, as_bytes, variant_of
from xfv_demo.training.settings import TrainingSettings
from xfv_demo.types import FloatArray

# Of so many impostors drawn for a hard pair the most similar one is taken.
_CANDIDATES = 64


@dataclass(frozen=True, eq=False)
class _Split:
    """Rows of a `GridSet`: of people to train on, and of others to validate on."""

    training: NDArray[np.int64]
    validation: NDArray[np.int64]

    @property
    def all_rows(self) -> NDArray[np.int64]:
        return np.concatenate([self.training, self.validation])


def split_people(grids: GridSet, people: frozenset[str], settings: TrainingSettings) -> _Split:
    """Who is trained on, and who is kept to validate with."""
    rows = grids.of(people)
    persons, counts = np.unique(grids.person[rows], return_counts=True)
    repeated = int(np.count_nonzero(counts > 1))
    # At least two people with two photos each on either side.
    if repeated < 4:
        raise DatasetError(
            f"the set has {repeated} people with two photos or more that may be trained on; at least 4 are "
            "needed, 2 to train on and 2 to validate on"
        )
    rng = np.random.default_rng([settings.seed, 1])
    chosen = []
    # People with several photos are dealt by themselves, so that both sides have some.
    for group in (persons[counts > 1], persons[counts == 1]):
        least = 2 if group is not None and group.size >= 4 and (counts > 1).any() else 0
        count = max(least, round(settings.validation_share * group.size))
        chosen.append(rng.permutation(group)[: min(count, max(0, group.size - 2))])
    held_out = np.isin(grids.person[rows], np.concatenate(chosen))
    return _Split(rows[~held_out], rows[held_out])


class PairBatches(keras.utils.PyDataset):
    """Batches of pairs, as many genuine as impostor ones; each by its number, so that it can be drawn again.

    Genuine pairs are drawn by person, so that someone with hundreds of photos does not fill the batches. Of
    the impostor pairs a share is hard: the most similar of several candidates, by the teacher.

    Attributes:
        first: The number of the first batch that is still to be had.
        classes: How many people the identification loss tells apart: those with two photos or more.
    """

    def __init__(self, grids: GridSet, rows: NDArray[np.int64], settings: TrainingSettings) -> None:
        super().__init__()
        self.first = 0
        self._grids = grids
        self._rows = rows
        self._settings = settings
        person = grids.person[rows]
        persons, counts = np.unique(person, return_counts=True)
        self._albums = [rows[person == one] for one in persons[counts > 1]]
        self._class_of = {int(one): number for number, one in enumerate(persons[counts > 1])}
        self.classes = len(self._albums)

    def __len__(self) -> int:
        """How many batches are left."""
        return self._settings.epochs * self._settings.steps - self.first

    def __getitem__(self, index: int) -> tuple[dict[str, NDArray[Any]]]:
        """The batch of a number.

        Returns:
            "first" and "second" (N, h, w, C) float16 grids, or with fine-tuning (N, 112, 112, 3) uint8
            images; "teacher" (N,) float32 cosines; "identity" (N,) int32, whom the first photo shows, -1 for
            people with a single photo.
        """
        rng = np.random.default_rng([self._settings.seed, 2, self.first + index])
        genuine = self._settings.batch_pairs // 2
        pairs = np.concatenate(
            [self._genuine(genuine, rng), self._impostors(self._settings.batch_pairs - genuine, rng)]
        )
        variants = rng.integers(0, self._settings.variants, pairs.shape)
        first, second = ((variants[:, side], pairs[:, side]) for side in (0, 1))
        embeddings, faces = self._grids.embeddings, self._grids.faces
        if self._settings.fine_tune and faces is not None:
            inputs = [_drawn(faces[rows], kinds, rng) for kinds, rows in (first, second)]
            # No embeddings are kept of variants that are drawn anew: the photos' own stand for theirs.
            first, second = ((np.zeros_like(rows), rows) for _, rows in (first, second))
        else:
            inputs = [self._grids.grids[side] for side in (first, second)]
        return (
            {
                "first": inputs[0],
                "second": inputs[1],
                "teacher": np.einsum("nd,nd->n", embeddings[first], embeddings[second]),
                "identity": np.array(
                    [self._class_of.get(int(person), -1) for person in self._grids.person[pairs[:, 0]]],
                    np.int32,
                ),
            },
        )

    def _genuine(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        chosen = rng.integers(0, len(self._albums), count)
        return np.array([rng.choice(self._albums[album], 2, replace=False) for album in chosen])

    def _impostors(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        person, plain = self._grids.person, self._grids.embeddings[0]
        first = rng.choice(self._rows, count)
        candidates = rng.choice(self._rows, (count, _CANDIDATES))
        alike = np.einsum("nd,nkd->nk", plain[first], plain[candidates])
        # Those that are to be hard go by likeness, the others by chance; the same person never.
        hard = rng.random(count) < self._settings.hard_impostors
        rank = np.where(hard[:, None], alike, rng.random(alike.shape))
        rank[person[candidates] == person[first][:, None]] = -np.inf
        best = rank.argmax(axis=1)
        usable = np.isfinite(rank[np.arange(count), best])
        second = candidates[np.arange(count), best]
        return np.stack([first[usable], second[usable]], axis=1)


def _drawn(faces: NDArray[np.uint8], kinds: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A variant of each of (N, 112, 112, 3) faces, of the kinds given."""
    return np.stack(
        [
            as_bytes(variant_of(face, kind, rng))
            for face, kind in zip(as_floats(faces), kinds.tolist(), strict=True)
        ]
    )


def as_floats(faces: NDArray[np.uint8]) -> FloatArray:
    """Faces of bytes as floats in [0, 1]."""
    return faces.astype(np.float32) / np.float32(255)
