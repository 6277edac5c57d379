"""A SavedModel in TensorFlow: the reference that OpenVINO is held to, and what runs where it cannot."""

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xfv_demo.errors import ModelError
from xfv_demo.models.base import INPUT_SHAPE
from xfv_demo.models.feature_grid import last_grid
from xfv_demo.models.frozen_graph import FrozenGraph, as_function, load_frozen
from xfv_demo.runtime.processes import check_process
from xfv_demo.types import FloatArray


class TensorFlowModel:
    """A SavedModel's serving signature as a graph whose variables are frozen into constants.

    That needs no Keras of any version, loads exports that carry optimizer slots (which `tf.saved_model.load`
    refuses without tf_keras; it is asked only where the graph does not load), lets TensorFlow fold constants,
    and shows the inner tensors of foreign models.

    Safe to call from several threads.

    Attributes:
        description: TensorFlow's version and the precision, for reports.
        dimensions: D, the embedding's length.
        expected: (2, D) float32, what the model, not yet frozen, gives for `trial_images`.
        graph_def: The frozen `GraphDef`, flat.

    Args:
        folder: A SavedModel with one input (N, 112, 112, 3) float32, RGB in [0, 1], and an output (N, D).
        batch_size: How many images at most go through TensorFlow at once. Bounds the memory.

    Raises:
        ModelError: The folder is no such SavedModel; says what is wrong.
    """

    def __init__(self, folder: str | os.PathLike[str], *, batch_size: int = 64) -> None:
        import tensorflow as tf

        self._folder = Path(folder)
        self.graph_def, self._signature, self.expected = load_frozen(self._folder)
        self.description = f"TensorFlow {tf.__version__}, float32"
        self.dimensions = self._signature.dimensions
        # A model exported for a fixed number of images takes that number and no other.
        self._batch_size = self._signature.batch or batch_size

    def __call__(self, images: FloatArray) -> FloatArray:
        """Embeds aligned faces.

        Args:
            images: (N, 112, 112, 3) float32, RGB, in [0, 1].

        Returns:
            (N, D) float32, of any length.
        """
        import tensorflow as tf

        results = np.zeros((len(images), self.dimensions), np.float32)
        for rows, padded in self._batches(images):
            results[rows] = self._function(tf.constant(padded))[0][: rows.stop - rows.start]
        return results

    def gradients(self, images: FloatArray, weights: FloatArray) -> FloatArray:
        """As `GradientEmbedder.embedding_gradients`, of inputs that are checked."""
        import tensorflow as tf

        gradients = np.zeros((len(weights), *images.shape), np.float32)
        for rows, padded in self._batches(images):
            x = tf.constant(padded)
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(x)
                unit = tf.math.l2_normalize(self._function(x)[0], axis=1)
            count = rows.stop - rows.start
            for k, weighting in enumerate(weights[:, rows]):
                upstream = np.zeros((len(padded), self.dimensions), np.float32)
                upstream[:count] = weighting
                gradients[k, rows] = tape.gradient(unit, x, output_gradients=tf.constant(upstream))[:count]
        return gradients

    @functools.cached_property
    def frozen_graph(self) -> FrozenGraph:
        """The model's graph, for those who make another network of it; not to be changed.

        Raises:
            ModelError: The network has no feature grid.
        """
        graph = self._graph.graph
        image, output = (
            graph.get_tensor_by_name(name) for name in (self._signature.input, self._signature.output)
        )
        grid = last_grid(image, output)
        if grid is None or not grid.shape[1:].is_fully_defined():
            raise ModelError(
                f'"{self._folder}" has no feature grid: no layer keeps places in the image apart'
            )
        return FrozenGraph(self.graph_def, image.name, grid.name, output.name, self._signature.batch)

    @functools.cached_property
    def _graph(self) -> Any:
        """TensorFlow's function, made when it is first needed: it takes half a gigabyte for a large model."""
        check_process()
        return as_function(self.graph_def)

    @functools.cached_property
    def _function(self) -> Any:
        graph = self._graph.graph
        return self._graph.prune(
            graph.get_tensor_by_name(self._signature.input),
            [graph.get_tensor_by_name(self._signature.output)],
        )

    def _batches(self, images: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
        """Slices of the images, padded with black where the model takes only full batches."""
        for start in range(0, len(images), self._batch_size):
            part = images[start : start + self._batch_size]
            rows = slice(start, start + len(part))
            if self._signature.batch is not None and len(part) < self._batch_size:
                part = np.concatenate(
                    [part, np.zeros((self._batch_size - len(part), *INPUT_SHAPE), np.float32)]
                )
            yield rows, part
