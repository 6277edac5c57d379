"""Trains an xCos head for an embedder, on the photos of any set of people.

Lin et al., "xCos" (ACM TOMM 2021, arXiv 2003.05383), section 3.3: the head's similarity is to follow the
plain embedder's cosine, the teacher, and what it compares is to tell people apart by itself, which an
identification loss sees to. The embedder itself stays as it is, or is trained too, as published, while the
teacher remains the embedder as it was. As in `head`, Keras is imported with this module.
"""

import csv
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from numpy.typing import NDArray

from xfv_demo.assets import folder_sha256
from xfv_demo.embedding import SavedModelEmbedder
from xfv_demo.errors import DatasetError, ModelError, XfvError
from xfv_demo.evaluation.metrics import fold_accuracy
from xfv_demo.explaining import library_versions
from xfv_demo.files import json_text, write_whole
from xfv_demo.types import FloatArray
from xfv_demo.xcos.backbone import TrainableBackbone
from xfv_demo.xcos.grids import GridSet, as_bytes, variant_of
from xfv_demo.xcos.head import TrainedHead, XcosHead
from xfv_demo.xcos.settings import Identification, TrainingSettings

Progress = Callable[[int, int], None]

# The published margins: CosFace (Wang et al., CVPR 2018, arXiv 1801.09414) and ArcFace (Deng et al., CVPR
# 2019, arXiv 1801.07698). The scale is half of theirs: here are a thousand people, not a hundred thousand.
_MARGINS = {"cosface": 0.35, "arcface": 0.5}
_SCALE = 32.0
# Keeps the arc cosine's gradient finite.
_NEARLY_ONE = 1 - 1e-6

# Of so many impostors drawn for a hard pair the most similar one is taken.
_CANDIDATES = 64
_VALIDATION_PAIRS = 2000
_VALIDATION_FOLDS = 10
_AT_ONCE = 256
# The share of the training over which the learning rate rises to its full size.
_WARMUP = 0.02
# The backbone's, as usual with SGD.
_MOMENTUM = 0.9

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
    split = _split(grids, people, settings)
    note = {"settings": asdict(settings), "model": embedder.fingerprint, "people": sorted(people)}
    _claim(folder, note)
    batches = PairBatches(grids, split.training, settings)
    head = XcosHead(embedder.grid_shape, settings.channels, by_cell=settings.by_cell)
    _initialise(head, embedder, grids, split.training, settings)
    backbone = TrainableBackbone(embedder, name="backbone") if settings.fine_tune else None
    trainer = XcosTrainer(head, batches.classes, settings, backbone)
    trainer.compile(
        optimizer=keras.optimizers.Adam(_schedule(settings.learning_rate, settings), amsgrad=True)
    )
    trainer.optimizer.build(trainer.head_variables)
    state = folder / _BACKUP_FOLDER / _BACKUP_STATE
    begun = int(json.loads(state.read_bytes())["epoch"]) if state.is_file() else 0
    batches.first = begun * settings.steps
    validation = _Validation(grids, split.validation, settings, folder / _BEST_FOLDER)
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
    _trained(trainer).load_weights(validation.weights)
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


def _schedule(highest: float, settings: TrainingSettings) -> Any:
    """A learning rate that rises in the beginning and falls to zero by a cosine."""
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        settings.epochs * settings.steps,
        warmup_target=highest,
        warmup_steps=max(1, round(_WARMUP * settings.epochs * settings.steps)),
    )


@dataclass(frozen=True, eq=False)
class _Split:
    """Rows of a `GridSet`: of people to train on, and of others to validate on."""

    training: NDArray[np.int64]
    validation: NDArray[np.int64]

    @property
    def all_rows(self) -> NDArray[np.int64]:
        return np.concatenate([self.training, self.validation])


def _split(grids: GridSet, people: frozenset[str], settings: TrainingSettings) -> _Split:
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


def _claim(folder: Path, note: dict[str, Any]) -> None:
    """Makes a folder this training's own, unless it is another's."""
    path, text = folder / _SETTINGS_FILE, f"{json_text(note, indent=2)}\n".encode()
    if path.is_file() and path.read_bytes() != text:
        raise XfvError(
            f'"{folder}" holds a training with other settings, people or model; give another folder, or '
            "delete this one"
        )
    write_whole(path, text)


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
            for face, kind in zip(_as_floats(faces), kinds.tolist(), strict=True)
        ]
    )


def _as_floats(faces: NDArray[np.uint8]) -> FloatArray:
    return faces.astype(np.float32) / np.float32(255)


class MarginClassifier(layers.Layer):
    """The identification loss: people told apart by the angle to a vector of each, with a margin.

    Args:
        classes: How many people.
        kind: "cosface" takes the margin from the cosine, "arcface" adds it to the angle.
        **options: As for any Keras layer.
    """

    def __init__(self, classes: int, kind: Identification, **options: Any) -> None:
        super().__init__(**options)
        self._classes = classes
        self._kind = kind

    def build(self, shape: tuple[Any, ...]) -> None:
        """Makes a vector for each person, as long as the features."""
        self.kernel = self.add_weight(
            shape=(shape[-1], self._classes), initializer="glorot_normal", name="kernel"
        )

    def call(self, features: Any, identity: Any) -> Any:
        """The loss of each photo.

        Args:
            features: (N, F).
            identity: (N,) whom each shows.

        Returns:
            (N,) cross entropies.
        """
        cosines = ops.normalize(features, axis=-1) @ ops.normalize(self.kernel, axis=0)
        truth = ops.one_hot(identity, self._classes)
        margin = _MARGINS[self._kind]
        if self._kind == "cosface":
            shifted = cosines - margin
        else:
            angles = ops.arccos(ops.clip(cosines, -_NEARLY_ONE, _NEARLY_ONE))
            shifted = ops.cos(ops.minimum(angles + margin, np.pi))
        logits = _SCALE * ops.where(truth > 0, shifted, cosines)
        return ops.categorical_crossentropy(truth, logits, from_logits=True)


class XcosTrainer(keras.Model):
    """A head with its losses: the squared error to the teacher's cosine, and the identification loss.

    With a backbone there is a third: the squared error of its own cosine to the teacher's. It keeps the
    embeddings what they were while the grids move, and trains what stands between the two.

    Attributes:
        head: The head.
        backbone: The network that is trained with it, or None.
        backbone_optimizer: What trains that network.

    Args:
        head: The head to train.
        classes: How many people the identification loss tells apart.
        settings: How.
        backbone: The network to train with it; where None, batches are of grids.
    """

    def __init__(
        self,
        head: XcosHead,
        classes: int,
        settings: TrainingSettings,
        backbone: TrainableBackbone | None = None,
    ) -> None:
        super().__init__(name="xcos_training")
        self.head = head
        self.backbone = backbone
        self._weight = 0.0 if settings.identification == "none" else settings.identification_weight
        losses = ["loss", "teacher_loss", "identity_loss"]
        if backbone is not None:
            losses.append("cosine_loss")
            # Not `compile`'s: Keras keeps one optimizer for all of a model's variables. As an attribute, its
            # state is saved with the model.
            self.backbone_optimizer = keras.optimizers.SGD(
                _schedule(settings.backbone_learning_rate, settings), momentum=_MOMENTUM
            )
            self.backbone_optimizer.build(backbone.trainable_variables)
        self._means = {name: keras.metrics.Mean(name=name) for name in losses}
        if self._weight:
            self.classifier = MarginClassifier(classes, settings.identification, name="classifier")
            height, width = head.grid_shape[:2]
            self.classifier.build((None, height * width * head.channels))
        self.built = True

    @property
    def metrics(self) -> list[Any]:
        """The running means of an epoch."""
        return list(self._means.values())

    @property
    def head_variables(self) -> list[Any]:
        """What is trained of the head and the classifier."""
        tuned = set() if self.backbone is None else {id(one) for one in self.backbone.trainable_variables}
        return [variable for variable in self.trainable_variables if id(variable) not in tuned]

    def train_step(self, data: tuple[dict[str, Any]]) -> dict[str, Any]:
        """One batch of `PairBatches`."""
        (batch,) = data
        with tf.GradientTape() as tape:
            grids, cosine_loss = self._grids(batch)
            first, second = (self.head.projection(side) for side in grids)
            similarity = self.head.compare(first, second, training=True)["similarity"]
            teacher_loss = ops.mean(ops.square(similarity - batch["teacher"]))
            identity_loss = self._identity_loss(first, batch["identity"])
            loss = teacher_loss + self._weight * identity_loss + cosine_loss
        variables = self.head_variables
        tuned = [] if self.backbone is None else self.backbone.trainable_variables
        gradients, tuned_gradients = tape.gradient(loss, (variables, tuned))
        self.optimizer.apply(gradients, variables)
        if tuned:
            self.backbone_optimizer.apply(tuned_gradients, tuned)
            self._means["cosine_loss"].update_state(cosine_loss)
        for name, value in (("loss", loss), ("teacher_loss", teacher_loss), ("identity_loss", identity_loss)):
            self._means[name].update_state(value)
        return {name: mean.result() for name, mean in self._means.items()}

    def _grids(self, batch: dict[str, Any]) -> tuple[list[Any], Any]:
        """Both sides' grids, and how far the backbone's own cosine is from the teacher's."""
        sides = [tf.cast(batch[side], tf.float32) for side in ("first", "second")]
        if self.backbone is None:
            return sides, tf.constant(0.0)
        grids, embeddings = self.backbone.grids_and_embeddings(tf.concat(sides, axis=0) / 255)
        first, second = tf.split(embeddings, 2)
        cosines = tf.reduce_sum(first * second, axis=1)
        return tf.split(grids, 2), tf.reduce_mean(tf.square(cosines - batch["teacher"]))

    def _identity_loss(self, projected: Any, identity: Any) -> Any:
        if not self._weight:
            return tf.constant(0.0)
        known = identity >= 0
        # Only genuine pairs are sure to show someone who is told apart.
        features = tf.boolean_mask(tf.reshape(projected, (-1, self.classifier.kernel.shape[0])), known)
        losses = self.classifier(features, tf.boolean_mask(identity, known))
        return tf.math.divide_no_nan(tf.reduce_sum(losses), tf.cast(tf.size(losses), tf.float32))


def _trained(trainer: XcosTrainer) -> keras.Model:
    """What holds the result of the training: the head, or the whole trainer with its backbone."""
    # No property of the trainer: Keras looks for weights in all of them, and would not come to an end.
    return trainer.head if trainer.backbone is None else trainer


class _Validation(keras.callbacks.Callback):
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
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
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
            _trained(self.model).save_weights(self.weights)
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
            grids, embeddings = trainer.backbone.grids_and_embeddings(_as_floats(self._grids.faces[rows]))
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


def _initialise(
    head: XcosHead,
    embedder: SavedModelEmbedder,
    grids: GridSet,
    rows: NDArray[np.int64],
    settings: TrainingSettings,
) -> None:
    """Starts the projection from the embedder's own head, where it is affine."""
    if settings.initial == "random":
        return
    try:
        weights = embedder.affine_head.weights
    except ModelError:
        if settings.initial == "affine":
            raise
        return
    sample = np.random.default_rng([settings.seed, 4]).choice(rows, min(len(rows), 3000), replace=False)
    features = grids.grids[0, np.sort(sample)].astype(np.float64)
    kernel, bias = initial_projection(weights, features, settings.channels, by_cell=settings.by_cell)
    head.projection.kernel.assign(kernel)
    head.projection.bias.assign(bias)


def initial_projection(
    weights: FloatArray, features: NDArray[np.float64], channels: int, *, by_cell: bool
) -> tuple[FloatArray, FloatArray]:
    """The projection that keeps most of what an affine head makes of its cells.

    With H the sum of the head's matrices' squares W W' over the cells, and C the features' covariance, the
    directions kept are the main axes of C^1/2 H C^1/2: those along which cells move the embedding most.
    Features are centred, so that the first cosines are taken from the mean face.

    Args:
        weights: (h, w, C, D), of the affine head.
        features: (M, h, w, C) feature grids.
        channels: How many directions to keep, at most C.
        by_cell: Whether to find a projection for each cell, or one for all.

    Returns:
        (h * w or 1, C, channels) and (h * w or 1, channels), float32: kernel and bias. The projected features
        have mean 0 and, over all channels together, standard deviation 1.
    """
    depth = weights.shape[2]
    matrices = weights.reshape(-1, depth, weights.shape[3]).astype(np.float64)
    cells = features.reshape(len(features), -1, depth)
    if by_cell:
        parts = [_main_axes(matrices[[cell]], cells[:, cell], channels) for cell in range(len(matrices))]
    else:
        parts = [_main_axes(matrices, cells.reshape(-1, depth), channels)]
    kernels, biases = zip(*parts, strict=True)
    return np.stack(kernels).astype(np.float32), np.stack(biases).astype(np.float32)


def _main_axes(
    matrices: NDArray[np.float64], features: NDArray[np.float64], channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Kernel and bias of `initial_projection` for the cells that share one."""
    mean = features.mean(axis=0)
    centred = features - mean
    values, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    # Channels that never move have no direction of their own.
    root = np.sqrt(np.maximum(values, 1e-9 * values.max()))
    moved = np.einsum("ca,pcd->pad", axes * root, matrices)
    strengths, directions = np.linalg.eigh(np.einsum("pad,pbd->ab", moved, moved))
    kept = directions[:, ::-1][:, :channels] * np.sqrt(np.maximum(strengths[::-1][:channels], 0))
    kernel = (axes / root) @ kept
    kernel /= (centred @ kernel).std()
    return kernel, -mean @ kernel
