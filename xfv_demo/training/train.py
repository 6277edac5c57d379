"""Trains an xCos head for an embedder, on the photos of any set of people.

Lin et al., "xCos" (ACM TOMM 2021, arXiv 2003.05383), section 3.3: the head's similarity is to follow the
plain embedder's cosine, the teacher, and what it compares is to tell people apart by itself, which an
identification loss sees to. The embedder itself stays as it is, or is trained too, as published, while the
teacher remains the embedder as it was. As in `head`, Keras is imported with this module.
"""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from xfv_demo.errors import XfvError
from xfv_demo.models.registry import folder_sha256
from xfv_demo.models.savedmodel import SavedModelEmbedder
from xfv_demo.models.trainable import TrainableBackbone
from xfv_demo.models.xcos_head import TrainedHead, XcosHead
from xfv_demo.runtime.files import json_text, write_whole
from xfv_demo.runtime.provenance import library_versions
from xfv_demo.training.batches import PairBatches, split_people
from xfv_demo.training.grid_cache import GridSet
from xfv_demo.training.initial import initialise
from xfv_demo.training.losses import XcosTrainer, learning_rate_schedule, trained_model
from xfv_demo.training.settings import TrainingSettings
from xfv_demo.training.validation import Validation

Progress = Callable[[int, int], None]

_SETTINGS_FILE = "training.json"
_LOG_FILE = "log.csv"
_BEST_FOLDER = "best"
_BACKUP_FOLDER = "backup"
_BACKUP_STATE = "training_metadata.json"
_BACKBONE_FOLDER = "backbone"


def train_head(
    grids: GridSet,
    embedder: SavedModelEmbedder,
    folder: Path,
    settings: TrainingSettings,
    *,
    people: frozenset[str],
    dataset: str,
    held_out: str = "",
    progress: Progress | None = None,
) -> TrainedHead:
    """Trains a head, or goes on where an earlier run with the same settings was ended.

    Beside the head, `folder` gets "log.csv" with a line for each epoch, and with fine-tuning "backbone": the
    SavedModel whose grids the head takes.

    Args:
        grids: What to train on, of `compute_grids`, with as many variants as `settings.kept_variants` says,
            and with the faces for fine-tuning.
        embedder: The model that they are from: the teacher.
        folder: Where the training keeps its state and in the end the head.
        settings: How.
        people: Whom to train on, and to validate on; all others are not looked at.
        dataset: What the set is called.
        held_out: In words, who is not among `people`; to be noted.
        progress: Called with the number of steps done and of all.

    Returns:
        The head of the epoch that was best in validation.

    Raises:
        DatasetError: There are too few people with two photos.
        XfvError: The folder holds another training, or cannot be written to.
        ModelError: The settings ask for an affine head where there is none, or for fine-tuning a model that
            cannot be.
        ValueError: The faces for fine-tuning are missing.
    """
    if settings.fine_tune and grids.faces is None:
        raise ValueError("fine-tuning needs the faces: give keep_faces=True to compute_grids")
    keras.utils.set_random_seed(settings.seed)
    split = split_people(grids, people, settings)
    note = {"settings": asdict(settings), "model": embedder.fingerprint, "people": sorted(people)}
    _claim(folder, note)
    batches = PairBatches(grids, split.training, settings)
    head = XcosHead(embedder.grid_shape, settings.channels, by_cell=settings.by_cell)
    initialise(head, embedder, grids, split.training, settings)
    backbone = TrainableBackbone(embedder, name="backbone") if settings.fine_tune else None
    trainer = XcosTrainer(head, batches.classes, settings, backbone)
    trainer.compile(
        optimizer=keras.optimizers.Adam(
            learning_rate_schedule(settings.learning_rate, settings), amsgrad=True
        )
    )
    trainer.optimizer.build(trainer.head_variables)
    state = folder / _BACKUP_FOLDER / _BACKUP_STATE
    begun = int(json.loads(state.read_bytes())["epoch"]) if state.is_file() else 0
    batches.first = begun * settings.steps
    validation = Validation(grids, split.validation, settings, folder / _BEST_FOLDER)
    # The log comes after what adds to it; the state is kept last, so that a kill in between repeats an epoch
    # and loses none.
    callbacks: list[Any] = [validation, keras.callbacks.CSVLogger(folder / _LOG_FILE, append=begun > 0)]
    if progress is not None:
        callbacks.append(_ShowProgress(progress, settings, begun))
    callbacks.append(keras.callbacks.BackupAndRestore(folder / _BACKUP_FOLDER, delete_checkpoint=False))
    if begun < settings.epochs:
        trainer.fit(
            batches,
            epochs=settings.epochs,
            initial_epoch=begun,
            steps_per_epoch=settings.steps,
            # In the order of their numbers, so that a run that goes on sees what it would have seen.
            shuffle=False,
            verbose=0,
            callbacks=callbacks,
        )
    trained_model(trainer).load_weights(validation.weights)
    best = json.loads(validation.note.read_bytes())
    sha256 = embedder.sha256
    if backbone is not None:
        # What is there is an earlier call's, for the folder is this training's own.
        shutil.rmtree(folder / _BACKBONE_FOLDER, ignore_errors=True)
        backbone.save(folder / _BACKBONE_FOLDER)
        sha256 = folder_sha256(folder / _BACKBONE_FOLDER)
    return TrainedHead(
        head,
        model=embedder.name,
        model_sha256=sha256,
        people=frozenset(grids.people[person] for person in np.unique(grids.person[split.all_rows])),
        about={
            "dataset": dataset,
            "held_out": held_out,
            "fine_tuned_from": embedder.sha256 if settings.fine_tune else None,
            "settings": asdict(settings),
            "training_people": int(np.unique(grids.person[split.training]).size),
            "training_images": int(split.training.size),
            "validation_people": int(np.unique(grids.person[split.validation]).size),
            "validation_images": int(split.validation.size),
            "best": best,
            "seconds": round(_seconds(folder / _LOG_FILE), 1),
            "versions": {**library_versions(), "keras": keras.__version__},
        },
    )


def _claim(folder: Path, note: dict[str, Any]) -> None:
    """Makes a folder this training's own, unless it is another's."""
    path, text = folder / _SETTINGS_FILE, f"{json_text(note, indent=2)}\n".encode()
    if path.is_file() and path.read_bytes() != text:
        raise XfvError(
            f'"{folder}" holds a training with other settings, people or model; give another folder, or '
            "delete this one"
        )
    write_whole(path, text)


def _seconds(log: Path) -> float:
    """How long all epochs took, in whatever runs they were."""
    with log.open(newline="") as lines:
        return sum(float(row["seconds"]) for row in csv.DictReader(lines))


class _ShowProgress(keras.callbacks.Callback):
    """Tells how many steps are done."""

    def __init__(self, progress: Progress, settings: TrainingSettings, begun: int) -> None:
        super().__init__()
        self._progress = progress
        self._total = settings.epochs * settings.steps
        self._done = begun * settings.steps

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._done += 1
        self._progress(self._done, self._total)
