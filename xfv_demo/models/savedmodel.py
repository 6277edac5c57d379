"""From aligned faces to embeddings: what an embedder is, and the one that runs a TensorFlow SavedModel."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.errors import ModelError
from xfv_demo.models.base import INPUT_SHAPE, checked_images
from xfv_demo.models.feature_grid import AffineHead, find_affine_head, last_grid
from xfv_demo.models.frozen_graph import FrozenGraph, as_function, load_frozen, trial_images
from xfv_demo.models.incremental import Box
from xfv_demo.models.openvino import OpenVinoNetwork, Precision, check_agreement
from xfv_demo.models.registry import folder_sha256
from xfv_demo.models.similarity import unit_length
from xfv_demo.runtime.processes import check_process
from xfv_demo.types import FloatArray

Engine = Literal["auto", "openvino", "tensorflow"]


class SavedModelEmbedder:
    """Runs any SavedModel that takes aligned faces and gives embeddings.

    The model's serving signature is loaded as a graph and its variables are frozen into constants. That
    needs no Keras of any version, loads exports that carry optimizer slots (which `tf.saved_model.load`
    refuses without tf_keras; it is asked only where the graph does not load), lets TensorFlow fold constants,
    and shows the inner tensors of foreign models.

    Embeddings come from OpenVINO, which runs the same graph several times as fast, once two images have
    shown that it gives what TensorFlow gives. Gradients and feature grids come from TensorFlow.

    Safe to call from several threads. Pickled, it is loaded again from its folder in the other process. A
    process that was forked from one which has used a model gets an `XfvError`.

    Attributes:
        name: The model's name, for messages and reports.
        folder: Where the SavedModel lies.
        dimensions: D, the embedding's length.
        engine: What computes the embeddings, its version and precision, for reports.
        notice: A line that the user should see, such as why this model runs and not another; or None.

    Args:
        folder: A SavedModel with one input (N, 112, 112, 3) float32, RGB in [0, 1], and an output (N, D).
        name: The model's name; the folder's where None.
        batch_size: How many images at most go through TensorFlow at once. Bounds the memory.
        engine: "openvino", "tensorflow", or "auto": OpenVINO where it is installed and can run this model,
            else TensorFlow, and `notice` says why.
        precision: "bfloat16" is faster still on CPUs that compute in it, and moves embeddings by up to 1e-3
            in cosine distance. OpenVINO only.
        notice: See above.

    Raises:
        ModelError: The folder is no such SavedModel, or the engine that was asked for cannot run it; says
            what is wrong.
        ValueError: A setting is out of its range.

    Example:
        >>> from xfv_demo import SavedModelEmbedder
        >>> embedder = SavedModelEmbedder("assets/models/mobilefacenet", engine="tensorflow")
        >>> embedder.name, embedder.dimensions
        ('mobilefacenet', 192)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str | None = None,
        batch_size: int = 64,
        engine: Engine = "auto",
        precision: Precision = "float32",
        notice: str | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        if engine not in get_args(Engine):
            raise ValueError(f'engine must be one of {", ".join(get_args(Engine))}, not "{engine}"')
        if engine == "tensorflow" and precision != "float32":
            raise ValueError(f"TensorFlow runs models in float32, not {precision}")
        self.folder = Path(folder)
        self.name = name or self.folder.resolve().name.removesuffix(".tf")
        self.notice = notice
        self._options = {
            "name": self.name,
            "batch_size": batch_size,
            "engine": engine,
            "precision": precision,
            "notice": notice,
        }
        self._frozen, self._signature, expected = load_frozen(self.folder)
        self.dimensions = self._signature.dimensions
        # A model exported for a fixed number of images takes that number and no other.
        self._batch_size = self._signature.batch or batch_size
        self._forward, self.engine, trouble = self._choose_engine(expected, engine, precision)
        if trouble:
            self.notice = f"{notice}. {trouble}" if notice else trouble
        self._precision = precision

    def __repr__(self) -> str:
        """The call that makes this embedder."""
        return f"{type(self).__name__}({str(self.folder)!r}, name={self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """What a copy in another process is made of: the folder, the settings, and the weights' hash."""
        return _load_again, (type(self), str(self.folder.resolve()), self._options, self.sha256)

    @functools.cached_property
    def sha256(self) -> str:
        """A hash over all of the model's files, to know it again by."""
        return folder_sha256(self.folder)

    @property
    def fingerprint(self) -> str:
        """What the embeddings depend on beside the images, to keep them by: the weights and the precision."""
        return self.sha256 if self._precision == "float32" else f"{self.sha256}-{self._precision}"

    def embed(self, images: ArrayLike) -> FloatArray:
        """Embeds aligned faces.

        Args:
            images: (N, 112, 112, 3), RGB, in [0, 1]. N may be 0.

        Returns:
            (N, D) float32, each row of length 1.

        Raises:
            ValueError: The images are not of that kind.
            ModelError: The model gives numbers that are not finite.
        """
        return self._unit(self._forward(checked_images(images)))

    def patched(self, photo: ArrayLike) -> Callable[[FloatArray, Sequence[Box]], FloatArray]:
        """Makes ready to embed variants of a photo, each of which differs from it in a small box.

        With OpenVINO, what a box cannot reach in the network is computed once, for the photo.

        Args:
            photo: (112, 112, 3), RGB, in [0, 1].

        Returns:
            A function of (N, 112, 112, 3) variants and their N boxes, outside of which they equal the photo,
            that returns what `embed` does for the variants, and raises what it raises.

        Raises:
            ValueError: The photo is not of that kind.
        """
        (image,) = checked_images(np.asarray(photo)[None])
        if not isinstance(self._forward, OpenVinoNetwork):
            return lambda images, _boxes: self.embed(images)
        forward = self._forward.patched(image)
        return lambda images, boxes: self._unit(forward(checked_images(images), boxes))

    def embedding_gradients(self, images: ArrayLike, weights: ArrayLike) -> FloatArray:
        """Gradients of weighted sums of the unit-length embedding with respect to the image.

        One forward pass serves all K weightings; each takes one backward pass.

        Args:
            images: (N, 112, 112, 3), RGB, in [0, 1].
            weights: (K, N, D): K weightings of each image's embedding. They count as constants.

        Returns:
            (K, N, 112, 112, 3) float32: d(sum_d weights[k, n, d] ê_d(x)) / dx at x = images[n].

        Raises:
            ValueError: The images or weights are not of that kind.
        """
        import tensorflow as tf

        images = checked_images(images)
        weights = np.asarray(weights, dtype=np.float32)
        if weights.ndim != 3 or weights.shape[1:] != (len(images), self.dimensions):
            raise ValueError(
                f"weights must be (K, {len(images)}, {self.dimensions}), not {weights.shape}: "
                "one row for each image, one column for each dimension"
            )
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

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the last feature grid.

        Raises:
            ModelError: The network has none, such as a vision transformer.
        """
        return self._grid[1]

    def feature_grid(self, images: ArrayLike) -> FloatArray:
        """The last activations that still have a place in the image.

        Args:
            images: (N, 112, 112, 3), RGB, in [0, 1].

        Returns:
            (N, height, width, channels) float32, as `grid_shape` says.

        Raises:
            ModelError: The network has no such grid.
            ValueError: The images are not of that kind.
        """
        function, shape = self._grid
        return self._run(function, checked_images(images), shape)

    @functools.cached_property
    def affine_head(self) -> AffineHead:
        """What turns the feature grid into the embedding, before it is normalised.

        Raises:
            ModelError: The network has no such grid, or what follows it is not affine.
        """
        grids = self.feature_grid(trial_images())
        _, grid, output = self._tensors
        head = find_affine_head(self._graph, grid, output, grids)
        if head is None:
            raise ModelError(
                f'model "{self.name}" is not affine after its last feature grid, so its cosine is no sum '
                "over the grid's cells"
            )
        return head

    @property
    def frozen_graph(self) -> FrozenGraph:
        """The model's graph, for those who make another network of it; not to be changed.

        Raises:
            ModelError: The network has no feature grid.
        """
        image, grid, output = (tensor.name for tensor in self._tensors)
        return FrozenGraph(self._frozen, image, grid, output, self._signature.batch)

    @functools.cached_property
    def _tensors(self) -> tuple[Any, Any, Any]:
        """The image's, the last grid's and the embedding's."""
        graph = self._graph.graph
        image, output = (
            graph.get_tensor_by_name(name) for name in (self._signature.input, self._signature.output)
        )
        grid = last_grid(image, output)
        if grid is None or not grid.shape[1:].is_fully_defined():
            raise ModelError(
                f'model "{self.name}" has no feature grid: no layer keeps places in the image apart'
            )
        return image, grid, output

    @functools.cached_property
    def _grid(self) -> tuple[Any, tuple[int, int, int]]:
        image, grid, _ = self._tensors
        height, width, channels = (int(side) for side in grid.shape[1:])
        return self._graph.prune(image, [grid]), (height, width, channels)

    def _unit(self, embeddings: FloatArray) -> FloatArray:
        if not np.isfinite(embeddings).all():
            raise ModelError(
                f'model "{self.name}" gives embeddings that are not finite; its weights are broken'
            )
        return unit_length(embeddings)

    @functools.cached_property
    def _graph(self) -> Any:
        """TensorFlow's function, made when it is first needed: it takes half a gigabyte for a large model."""
        check_process()
        return as_function(self._frozen)

    @functools.cached_property
    def _function(self) -> Any:
        graph = self._graph.graph
        return self._graph.prune(
            graph.get_tensor_by_name(self._signature.input),
            [graph.get_tensor_by_name(self._signature.output)],
        )

    def _choose_engine(
        self, expected: FloatArray, engine: Engine, precision: Precision
    ) -> tuple[Callable[[FloatArray], FloatArray], str, str | None]:
        """What computes raw embeddings, its description, and why it is not the faster one."""
        import tensorflow as tf

        def tensorflow(images: FloatArray) -> FloatArray:
            return self._run(self._function, images, (self.dimensions,))

        own = f"TensorFlow {tf.__version__}, float32"
        if engine == "tensorflow":
            return tensorflow, own, None
        try:
            network = OpenVinoNetwork(
                self._frozen,
                self._signature.input,
                self._signature.output,
                INPUT_SHAPE,
                batch=self._signature.batch,
                precision=precision,
            )
            check_agreement(network(trial_images()), expected, precision)
        except (ImportError, ModelError) as error:
            reason = "OpenVINO is not installed" if isinstance(error, ImportError) else str(error)
            if engine == "openvino" or precision != "float32":
                raise ModelError(
                    f'model "{self.name}" cannot run in {precision} in OpenVINO: {reason}'
                ) from error
            slower = f'TensorFlow runs "{self.name}", which takes several times as long for occlusion maps'
            return tensorflow, own, f"{slower}: {reason}"
        return network, network.description, None

    def _run(self, function: Any, images: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        import tensorflow as tf

        results = np.zeros((len(images), *shape), np.float32)
        for rows, padded in self._batches(images):
            results[rows] = function(tf.constant(padded))[0][: rows.stop - rows.start]
        return results

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


def _load_again(
    kind: type[SavedModelEmbedder], folder: str, options: dict[str, Any], sha256: str
) -> SavedModelEmbedder:
    """Makes the embedder that was pickled."""
    embedder = kind(folder, **options)
    if embedder.sha256 != sha256:
        raise ModelError(
            f'the model in "{folder}" is no longer the one that was pickled: its files have changed; load it '
            "anew"
        )
    return embedder
