"""An embedder on OpenVINO alone, of a file that many tools write: ONNX, TFLite or a frozen graph."""

import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.errors import ModelError
from xfv_demo.models.base import checked_images
from xfv_demo.models.feature_grid import AffineHead
from xfv_demo.models.frozen_graph import trial_images
from xfv_demo.models.incremental import Box
from xfv_demo.models.input_format import Channels, InputRange, find_input_format
from xfv_demo.models.network_file import NetworkFile, read_network_file
from xfv_demo.models.network_gradients import GradientNetwork, with_unit_length
from xfv_demo.models.network_grid import GridNetwork
from xfv_demo.models.openvino import OpenVinoNetwork, Precision, check_agreement
from xfv_demo.models.similarity import unit_length
from xfv_demo.types import FloatArray


class CompiledEmbedder:
    """Runs a network that takes aligned faces and gives embeddings, in OpenVINO. Imports no TensorFlow.

    Safe to call from several threads. Pickled, it is loaded again from its file in the other process. A
    process that was forked from one which has used a model gets an `XfvError`.

    Attributes:
        name: The model's name, for messages and reports.
        path: Where the model lies.
        dimensions: D, the embedding's length.
        engine: What computes the embeddings, its version and precision, for reports.
        notice: A line that the user should see, such as why this model runs and not another; or None.
        input_format: The range and order of the pixels that the network takes.
        format_source: Where that is known from.
        file_sha256: A hash of the file alone.

    Args:
        path: An .onnx, .tflite or frozen .pb file with one input (N, 112, 112, 3) or (N, 3, 112, 112) and an
            output (N, D).
        name: The model's name; that of a known file, else the file's, where None.
        input_range: The values that the network takes black and white for; where None, what is known of the
            file.
        channels: Which channel the network takes first, likewise.
        keep: Whether these two are kept for the file.
        precision: "bfloat16" is faster still on CPUs that compute in it, and moves embeddings by up to 1e-3
            in cosine distance.
        notice: See above.

    Raises:
        ModelError: The file is no such network, OpenVINO cannot run it, or it is not known what pixels it
            takes; says what was found.
        ValueError: A setting is out of its range.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        input_range: InputRange | None = None,
        channels: Channels | None = None,
        keep: bool = True,
        precision: Precision = "float32",
        notice: str | None = None,
    ) -> None:
        self.path = Path(path)
        file = read_network_file(self.path)
        self.file_sha256 = _file_sha256(self.path)
        found = find_input_format(
            self.path, self.file_sha256, file.signature, input_range, channels, keep=keep
        )
        self.input_format, self.format_source = found.input_format, found.source
        self._network: OpenVinoNetwork | None = OpenVinoNetwork(
            file.for_faces(self.input_format), precision=precision
        )
        self._check_company(self._network)
        self._describe(
            name=name or found.name or self.path.stem,
            dimensions=file.signature.dimensions,
            engine=self._network.description,
            precision=precision,
            notices=(notice, found.notice),
        )

    def _check_company(self, network: OpenVinoNetwork) -> None:
        """Refuses a network that gives an image other numbers beside others: no distance would be sure."""
        images = trial_images()
        alone = np.concatenate([network(images[row : row + 1]) for row in range(len(images))])
        try:
            check_agreement(network(images), alone, network.precision)
        except ModelError as error:
            raise ModelError(
                f'"{self.path}" gives an image other numbers when others are beside it: {error}; export it '
                "in inference mode, for one image at a time"
            ) from error

    def _describe(
        self,
        *,
        name: str,
        dimensions: int,
        engine: str,
        precision: Precision,
        notices: Sequence[str | None],
    ) -> None:
        self.name, self.dimensions, self.engine = name, dimensions, engine
        self.notice = ". ".join(notice for notice in notices if notice) or None
        self._precision = precision

    def __repr__(self) -> str:
        """The call that makes this embedder."""
        return f"{type(self).__name__}({str(self.path)!r}, name={self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """What a copy in another process is made of: the file, the settings, and what its numbers hang on."""
        return _load_again, (type(self), str(self.path.resolve()), self._settings(), self.sha256)

    def _settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "input_range": self.input_format.input_range,
            "channels": self.input_format.channels,
            "keep": False,
            "precision": self._precision,
            "notice": self.notice,
        }

    @functools.cached_property
    def sha256(self) -> str:
        """A hash over the file and the pixels it is given, to know the model again by.

        With other pixels the same file gives other embeddings, and no calibration holds for both.
        """
        told = f"{self.file_sha256} {self.input_format.input_range} {self.input_format.channels}"
        return hashlib.sha256(told.encode()).hexdigest()

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

        What a box cannot reach in the network is computed once, for the photo.

        Args:
            photo: (112, 112, 3), RGB, in [0, 1].

        Returns:
            A function of (N, 112, 112, 3) variants and their N boxes, outside of which they equal the photo,
            that returns what `embed` does for the variants, and raises what it raises.

        Raises:
            ValueError: The photo is not of that kind.
        """
        (image,) = checked_images(np.asarray(photo)[None])
        if self._network is None:
            return lambda images, _boxes: self.embed(images)
        forward = self._network.patched(image)
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
            ModelError: The network has an operation whose gradient is not known.
        """
        images = checked_images(images)
        weights = np.asarray(weights, dtype=np.float32)
        if weights.ndim != 3 or weights.shape[1:] != (len(images), self.dimensions):
            raise ValueError(
                f"weights must be (K, {len(images)}, {self.dimensions}), not {weights.shape}: "
                "one row for each image, one column for each dimension"
            )
        return self._gradients(images, weights)

    def _gradients(self, images: FloatArray, weights: FloatArray) -> FloatArray:
        """`embedding_gradients` of what is checked."""
        try:
            network = self._gradient_network
        except LookupError as error:
            raise ModelError(
                f'model "{self.name}" gives no gradients: the network {error}; take a method that asks the '
                "model alone, such as occlusion"
            ) from error
        gradients = np.empty((len(weights), *images.shape), np.float32)
        for number, image in enumerate(images):
            _, gradients[:, number] = network(image, weights[:, number])
        return gradients

    @functools.cached_property
    def _gradient_network(self) -> GradientNetwork:
        """The network from a face to its embedding of length 1.

        Raises:
            LookupError: It has no gradients; the message goes on from "the network".
        """
        network = GradientNetwork(with_unit_length(self.read_file().for_faces(self.input_format)))
        # Grey in the middle of the range, as a step is made to both sides.
        network.check(0.25 + trial_images()[0] / 2)
        return network

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the last feature grid.

        Raises:
            ModelError: The network has none, such as a vision transformer.
        """
        return self._grid.shape

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
        return self._grid(checked_images(images))

    @functools.cached_property
    def affine_head(self) -> AffineHead:
        """What turns the feature grid into the embedding, before it is normalised.

        Raises:
            ModelError: The network has no such grid, or what follows it is not affine.
        """
        head = self._grid.affine_head(self.feature_grid(trial_images()))
        if head is None:
            raise ModelError(
                f'model "{self.name}" is not affine after its last feature grid, so its cosine is no sum '
                "over the grid's cells"
            )
        return head

    @functools.cached_property
    def _grid(self) -> GridNetwork:
        # Read anew: what is compiled keeps no network to cut.
        try:
            return GridNetwork(self.read_file().for_faces(self.input_format))
        except LookupError as error:
            raise ModelError(f'model "{self.name}" has no feature grid: {error}') from error

    def read_file(self) -> NetworkFile:
        """Reads the network anew, as its file has it.

        Raises:
            ModelError: It cannot be read any more.
        """
        return read_network_file(self.path)

    def _forward(self, images: FloatArray) -> FloatArray:
        """Raw embeddings."""
        if self._network is None:
            raise RuntimeError("a file is run by OpenVINO alone")
        return self._network(images)

    def _unit(self, embeddings: FloatArray) -> FloatArray:
        if not np.isfinite(embeddings).all():
            raise ModelError(
                f'model "{self.name}" gives embeddings that are not finite; its weights are broken'
            )
        return unit_length(embeddings)


def _file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _load_again(
    kind: type[CompiledEmbedder], path: str, settings: dict[str, Any], sha256: str
) -> CompiledEmbedder:
    """Makes the embedder that was pickled."""
    embedder = kind(path, **settings)
    if embedder.sha256 != sha256:
        raise ModelError(
            f'the model in "{path}" is no longer the one that was pickled: its files have changed; load it '
            "anew"
        )
    return embedder
