"""The pairs that say whether training still helps."""

import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from xfv_demo.metrics.accuracy import fold_accuracy
from xfv_demo.runtime.files import json_text, write_whole
from xfv_demo.training.batches import as_floats
from xfv_demo.training.grid_cache import GridSet
from xfv_demo.training.losses import XcosTrainer, trained_model
from xfv_demo.training.settings import TrainingSettings
from xfv_demo.types import FloatArray

_VALIDATION_PAIRS = 2000

_VALIDATION_FOLDS = 10

_AT_ONCE = 256


class Validation(keras.callbacks.Callback):
    """After each epoch: how well the head follows the teacher on others' photos; keeps the best head."""

    def __init__(
        self, grids: GridSet, rows: NDArray[np.int64], settings: TrainingSettings, folder: Path
    ) -> None:
        super().__init__()
        self.weights = folder / "head.weights.h5"
        self.note = folder / "best.json"
        self._grids = grids
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([settings.seed, 3])
        self._pairs, self._genuine = _validation_pairs(grids, rows, rng)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins to count the epoch's seconds."""
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measures, writes the log and keeps the best."""
        given, teacher, own = self._similarities(self.model)
        error = float(np.mean((given - teacher) ** 2))
        found = {
            "val_teacher_loss": error,
            "val_correlation": float(np.corrcoef(given, teacher)[0, 1]),
            "val_accuracy": fold_accuracy(1 - given, self._genuine, _VALIDATION_FOLDS).mean,
            "val_teacher_accuracy": fold_accuracy(1 - teacher, self._genuine, _VALIDATION_FOLDS).mean,
        }
        if self.model.backbone is not None:
            found["val_cosine_loss"] = float(np.mean((own - teacher) ** 2))
            found["val_backbone_accuracy"] = fold_accuracy(1 - own, self._genuine, _VALIDATION_FOLDS).mean
        if logs is not None:
            logs.update(found, seconds=time.monotonic() - self._start)
        least = json.loads(self.note.read_bytes())["val_teacher_loss"] if self.note.is_file() else np.inf
        if error < least:
            trained_model(self.model).save_weights(self.weights)
            rounded = {name: round(value, 6) for name, value in found.items()}
            write_whole(self.note, f"{json_text({'epoch': epoch + 1, **rounded})}\n".encode())

    def _similarities(self, trainer: XcosTrainer) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Of each pair: the head's similarity, the teacher's cosine, the present backbone's cosine."""
        head = trainer.head
        rows, places = np.unique(self._pairs, return_inverse=True)
        parts = [
            self._projected(trainer, rows[start : start + _AT_ONCE])
            for start in range(0, len(rows), _AT_ONCE)
        ]
        projected, vectors = (np.concatenate(part) for part in zip(*parts, strict=True))
        first, second = places.reshape(self._pairs.shape).T
        given = np.concatenate(
            [
                np.asarray(
                    head.compare(projected[first[part]], projected[second[part]], training=False)[
                        "similarity"
                    ]
                )
                for part in np.array_split(np.arange(len(first)), max(1, len(first) // _AT_ONCE))
            ]
        )
        embeddings = self._grids.embeddings[0]
        teacher = np.einsum("nd,nd->n", embeddings[self._pairs[:, 0]], embeddings[self._pairs[:, 1]])
        return given, teacher, np.einsum("nd,nd->n", vectors[first], vectors[second])

    def _projected(self, trainer: XcosTrainer, rows: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
        """What the head compares of some photos, and their embeddings."""
        if trainer.backbone is None or self._grids.faces is None:
            grids, embeddings = self._grids.grids[0, rows].astype(np.float32), self._grids.embeddings[0, rows]
        else:
            grids, embeddings = trainer.backbone.grids_and_embeddings(as_floats(self._grids.faces[rows]))
        return np.asarray(trainer.head.projection(grids)), np.asarray(embeddings)


def _validation_pairs(
    grids: GridSet, rows: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """As many genuine as impostor pairs of rows, mixed; of each person nearly as many as of each other."""
    person = grids.person[rows]
    albums = [rows[person == one] for one in np.unique(person)]
    repeated = [album for album in albums if album.size > 1]
    genuine: set[tuple[int, ...]] = set()
    impostor: set[tuple[int, ...]] = set()
    # Small sets have fewer pairs than are wanted; drawing more often finds no more.
    for attempt in range(_VALIDATION_PAIRS * 2):
        if len(genuine) < _VALIDATION_PAIRS // 2:
            album = repeated[attempt % len(repeated)]
            genuine.add(tuple(sorted(rng.choice(album, 2, replace=False).tolist())))
        if len(impostor) < _VALIDATION_PAIRS // 2:
            one, other = rng.choice(len(albums), 2, replace=False)
            impostor.add((int(rng.choice(albums[one])), int(rng.choice(albums[other]))))
    count = min(len(genuine), len(impostor))
    chosen = sorted(genuine)[:count] + sorted(impostor)[:count]
    order = rng.permutation(2 * count)
    return np.array(chosen)[order], (order < count)
