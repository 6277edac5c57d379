"""What xCos's training makes smaller, and the model that it trains."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from xfv_demo.models.trainable import TrainableBackbone
from xfv_demo.models.xcos_head import XcosHead
from xfv_demo.training.settings import Identification, TrainingSettings

# The published margins: CosFace (Wang et al., CVPR 2018, arXiv 1801.09414) and ArcFace (Deng et al., CVPR
# 2019, arXiv 1801.07698). The scale is half of theirs: here are a thousand people, not a hundred thousand.
_MARGINS = {"cosface": 0.35, "arcface": 0.5}

_SCALE = 32.0

# Keeps the arc cosine's gradient finite.
_NEARLY_ONE = 1 - 1e-6

# The share of the training over which the learning rate rises to its full size.
_WARMUP = 0.02

# The backbone's, as usual with SGD.
_MOMENTUM = 0.9


def learning_rate_schedule(highest: float, settings: TrainingSettings) -> Any:
    """A learning rate that rises in the beginning and falls to zero by a cosine."""
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        settings.epochs * settings.steps,
        warmup_target=highest,
        warmup_steps=max(1, round(_WARMUP * settings.epochs * settings.steps)),
    )


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
                learning_rate_schedule(settings.backbone_learning_rate, settings), momentum=_MOMENTUM
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


def trained_model(trainer: XcosTrainer) -> keras.Model:
    """What holds the result of the training: the head, or the whole trainer with its backbone."""
    # No property of the trainer: Keras looks for weights in all of them, and would not come to an end.
    return trainer.head if trainer.backbone is None else trainer
