"""The xCos module: a similarity made of local cosines and of how much each of them counts.

Lin, Liu, Lin, Tsai, Chen and Hsu, "xCos: An Explainable Cosine Metric for Face Verification Task" (ACM TOMM
2021, arXiv 2003.05383), section 3. It sits on an embedder's last feature grid, whatever that embedder is.

This module defines Keras layers, so it imports Keras when it is imported; the rest of the package imports it
only when a head is needed.
"""

import functools
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import ArrayLike

from xfv_demo.errors import ModelError
from xfv_demo.models.base import GridEmbedder
from xfv_demo.models.feature_grid import XCOS_CHANNELS
from xfv_demo.runtime.files import json_text, write_all
from xfv_demo.runtime.paths import assets_folder, cache_folder
from xfv_demo.runtime.processes import check_process
from xfv_demo.types import FloatArray

# Within the attention; the paper's.
ATTENTION_CHANNELS = 16

_SETTINGS_FILE = "head.json"
_WEIGHTS_FILE = "head.npz"
_PEOPLE_FILE = "people.txt"
_FORMAT = "xfv-demo xcos head"
_FORMAT_VERSION = 1


class GridProjection(layers.Layer):
    """A 1 x 1 convolution: what of a cell's features is compared.

    (N, h, w, C) -> (N, h, w, channels).

    As published, all cells share its weights. The cells of an aligned face show different parts of it,
    though, and networks that flatten their last grid, or convolve it whole, treat each cell in its own way;
    so here each cell may have weights of its own.

    Args:
        channels: How many numbers a cell has afterwards.
        by_cell: Whether each cell has its own weights.
        **options: As for any Keras layer.
    """

    def __init__(self, channels: int, *, by_cell: bool, **options: Any) -> None:
        super().__init__(**options)
        self._channels = channels
        self._by_cell = by_cell

    def build(self, shape: tuple[Any, ...]) -> None:
        """Makes the weights for grids of a shape."""
        _, height, width, depth = shape
        cells = height * width if self._by_cell else 1
        self.kernel = self.add_weight(shape=(cells, depth, self._channels), name="kernel")
        self.bias = self.add_weight(shape=(cells, self._channels), initializer="zeros", name="bias")

    def call(self, grids: Any) -> Any:
        """Projects grids."""
        _, height, width, depth = grids.shape
        # Cells first, for one product of matrices a cell, or a single one.
        cells = ops.transpose(ops.reshape(grids, (-1, height * width, depth)), (1, 0, 2))
        projected = ops.matmul(cells, self.kernel) + self.bias[:, None]
        return ops.reshape(ops.transpose(projected, (1, 0, 2)), (-1, height, width, self._channels))


class GridCosine(layers.Layer):
    """The grid cosine map: the cosine of the two photos' vectors in each cell.

    Two of (N, h, w, channels) -> (N, h, w), in [-1, 1].
    """

    def call(self, first: Any, second: Any) -> Any:
        """Compares grids cell by cell."""
        return ops.sum(ops.normalize(first, axis=-1) * ops.normalize(second, axis=-1), axis=-1)


class ConvolutionBlock(layers.Layer):
    """3 x 3 convolution, batch norm, PReLU: (N, h, w, C) -> (N, h, w, channels).

    Args:
        channels: How many numbers a cell has afterwards.
        **options: As for any Keras layer.
    """

    def __init__(self, channels: int, **options: Any) -> None:
        super().__init__(**options)
        self.convolution = layers.Conv2D(channels, 3, padding="same", use_bias=False, name="convolution")
        self.norm = layers.BatchNormalization(name="norm")
        self.activation = layers.PReLU(shared_axes=[1, 2], name="activation")

    def build(self, shape: tuple[Any, ...]) -> None:
        """Makes the weights for grids of a shape."""
        self.convolution.build(shape)
        inner = self.convolution.compute_output_shape(shape)
        self.norm.build(inner)
        self.activation.build(inner)

    def call(self, grids: Any, training: bool | None = None) -> Any:
        """Convolves grids."""
        return self.activation(self.norm(self.convolution(grids), training=training))


class GridAttention(layers.Layer):
    """The attention map: how much each cell counts for this pair; positive, and in sum 1.

    Two of (N, h, w, channels) -> (N, h, w).

    A block that both photos share, one on both results side by side, one to a single number for each cell,
    and the softmax over all cells. As published, this depends on which photo comes first. Here the numbers of
    both orders are averaged before the softmax, so that the similarity of two photos is one number.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.shared = ConvolutionBlock(ATTENTION_CHANNELS, name="shared")
        self.joint = ConvolutionBlock(ATTENTION_CHANNELS, name="joint")
        self.last = ConvolutionBlock(1, name="last")

    def build(self, shape: tuple[Any, ...]) -> None:
        """Makes the weights for projected grids of a shape."""
        self.shared.build(shape)
        self.joint.build((*shape[:-1], 2 * ATTENTION_CHANNELS))
        self.last.build((*shape[:-1], ATTENTION_CHANNELS))

    def call(self, first: Any, second: Any, training: bool | None = None) -> Any:
        """Weighs the cells of a pair."""
        count = ops.shape(first)[0]
        # Both photos in one batch, so that batch norm sees both alike.
        shared = self.shared(ops.concatenate([first, second]), training=training)
        one, other = shared[:count], shared[count:]
        there, back = ops.concatenate([one, other], axis=-1), ops.concatenate([other, one], axis=-1)
        joint = self.joint(ops.concatenate([there, back]), training=training)
        last = self.last(joint, training=training)
        height, width = first.shape[1:3]
        logits = ops.reshape(last[:count] + last[count:], (-1, height * width)) / 2
        return ops.reshape(ops.softmax(logits, axis=-1), (-1, height, width))


class WeightedSum(layers.Layer):
    """xCos itself: the grid cosines, each times its attention, summed. Two of (N, h, w) -> (N,)."""

    def call(self, cosines: Any, attention: Any) -> Any:
        """Sums over the cells."""
        return ops.sum(cosines * attention, axis=(1, 2))


class XcosHead(keras.Model):
    """xCos on pairs of feature grids.

    Attributes:
        grid_shape: Height, width and channels of the grids that it takes.
        channels: How many of the latter are left after the projection.
        by_cell: Whether each cell has a projection of its own.

    Args:
        grid_shape: See above.
        channels: See above.
        by_cell: See above; the published head has one projection for all cells.
        **options: As for any Keras model.
    """

    def __init__(
        self,
        grid_shape: tuple[int, int, int],
        channels: int = XCOS_CHANNELS,
        *,
        by_cell: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(name="xcos", **options)
        self.grid_shape = tuple(grid_shape)
        self.channels = channels
        self.by_cell = by_cell
        self.projection = GridProjection(channels, by_cell=by_cell, name="projection")
        self.grid_cosine = GridCosine(name="grid_cosine")
        self.attention = GridAttention(name="attention")
        self.weighted_sum = WeightedSum(name="weighted_sum")
        self.projection.build((None, *self.grid_shape))
        self.attention.build((None, *self.grid_shape[:2], channels))
        self.built = True

    def compare(self, first: Any, second: Any, training: bool | None = None) -> dict[str, Any]:
        """Compares projected grids.

        Args:
            first: (N, h, w, channels), of `projection`.
            second: The same of the other photos.
            training: Whether batch norm goes by this batch.

        Returns:
            "grid_cosine" (N, h, w) in [-1, 1]; "attention" (N, h, w), positive, of sum 1; "similarity" (N,),
            the sum of their product, in [-1, 1].
        """
        cosines = self.grid_cosine(first, second)
        attention = self.attention(first, second, training=training)
        return {
            "grid_cosine": cosines,
            "attention": attention,
            "similarity": self.weighted_sum(cosines, attention),
        }

    def call(self, grids: tuple[Any, Any], training: bool | None = None) -> dict[str, Any]:
        """Compares two (N, h, w, C) feature grids; returns what `compare` does."""
        first, second = grids
        return self.compare(self.projection(first), self.projection(second), training=training)


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """An xCos head with what there is to know of it.

    Attributes:
        network: The head itself.
        model: The name of the embedder whose grids it takes.
        model_sha256: The hash of that embedder's files.
        people: The names of those on whose photos it was trained: those that it must not be measured on.
        about: How it was trained and what it reached, in plain values.
    """

    network: XcosHead
    model: str
    model_sha256: str | None
    people: frozenset[str] = frozenset()
    about: Mapping[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def sha256(self) -> str:
        """A hash over the weights, to know what was made with this head by."""
        digest = hashlib.sha256()
        for variable in self.network.variables:
            digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
        return digest.hexdigest()

    def project(self, grids: ArrayLike) -> FloatArray:
        """What of feature grids is compared.

        Args:
            grids: (N, h, w, C).

        Returns:
            (N, h, w, channels) float32.
        """
        return np.asarray(self.network.projection(np.asarray(grids, np.float32)))

    def compare(self, first: ArrayLike, second: ArrayLike) -> dict[str, FloatArray]:
        """Compares projected grids; arguments and results as for `XcosHead.compare`, in float32."""
        one, other = np.asarray(first, np.float32), np.asarray(second, np.float32)
        compared = self.network.compare(one, other, training=False)
        return {name: np.asarray(values) for name, values in compared.items()}

    def save(self, folder: Path) -> None:
        """Writes the head.

        Args:
            folder: Where to; made where it lacks.

        Raises:
            XfvError: It cannot be written.
        """
        settings = {
            "format": _FORMAT,
            "version": _FORMAT_VERSION,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "grid_shape": list(self.network.grid_shape),
            "channels": self.network.channels,
            "by_cell": self.network.by_cell,
            **self.about,
        }
        # In half precision: similarities move by 1e-4 at most, and the file is half as large.
        weights = {variable.path: variable.numpy().astype(np.float16) for variable in self.network.variables}
        archive = io.BytesIO()
        np.savez_compressed(archive, **weights)  # type: ignore[arg-type]
        written = {
            _SETTINGS_FILE: f"{json_text(settings, indent=2)}\n".encode(),
            _WEIGHTS_FILE: archive.getvalue(),
            _PEOPLE_FILE: "".join(f"{name}\n" for name in sorted(self.people)).encode(),
        }
        write_all(folder, written)


def head_folder(model: str) -> Path:
    """Where `train-xcos` writes a model's head unless told otherwise, and `load_head` looks first."""
    return cache_folder() / "xcos" / model


def load_head(embedder: GridEmbedder, folder: str | os.PathLike[str] | None = None) -> TrainedHead:
    """Loads an xCos head for an embedder.

    Args:
        embedder: The model whose grids it is to take.
        folder: Where the head is. Where None, the user's own for the embedder's name, else the one that
            comes with this program.

    Returns:
        The head.

    Raises:
        ModelError: There is none, it cannot be read, or it is for another model.
    """
    name = getattr(embedder, "name", None)
    if folder is not None:
        chosen = Path(folder)
    elif name is None:
        raise ModelError(
            "an embedder without a name has no xCos head to be found by it; give the head's folder"
        )
    else:
        places = head_folder(name), assets_folder() / "xcos" / name
        chosen = next((place for place in places if (place / _SETTINGS_FILE).is_file()), places[-1])
    if not (chosen / _SETTINGS_FILE).is_file():
        raise ModelError(
            f'there is no xCos head for model "{name}"; train one with `python -m xfv_demo train-xcos`'
            if folder is None
            else f'"{chosen}" holds no xCos head; give the folder that train-xcos wrote'
        )
    check_process()
    head = _read_head(chosen)
    sha256 = getattr(embedder, "sha256", None)
    if head.model_sha256 and sha256 and head.model_sha256 != sha256:
        raise ModelError(
            f'the xCos head in "{chosen}" was trained on other weights of "{head.model}" than "{name}" has; '
            "train one for this model with `python -m xfv_demo train-xcos`"
        )
    if embedder.grid_shape != head.network.grid_shape:
        raise ModelError(
            f'the xCos head in "{chosen}" takes grids {head.network.grid_shape}, and model "{name}" gives '
            f"{embedder.grid_shape}"
        )
    return head


def _read_head(folder: Path) -> TrainedHead:
    try:
        settings = json.loads((folder / _SETTINGS_FILE).read_bytes())
        if (settings["format"], settings["version"]) != (_FORMAT, _FORMAT_VERSION):
            raise ModelError(
                f'"{folder}" holds an xCos head of another version of this program; train it anew'
            )
        height, width, depth = (int(side) for side in settings["grid_shape"])
        network = XcosHead((height, width, depth), int(settings["channels"]), by_cell=settings["by_cell"])
        with np.load(folder / _WEIGHTS_FILE, allow_pickle=False) as weights:
            for variable in network.variables:
                variable.assign(weights[variable.path].astype(np.float32))
        people = (folder / _PEOPLE_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f'"{folder}" holds no whole xCos head; train it anew') from error
    known = ("format", "version", "model", "model_sha256", "grid_shape", "channels", "by_cell")
    return TrainedHead(
        network,
        model=str(settings["model"]),
        model_sha256=settings["model_sha256"],
        people=frozenset(people),
        about={name: value for name, value in settings.items() if name not in known},
    )
