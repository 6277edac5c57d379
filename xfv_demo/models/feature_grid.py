"""The last feature grid of a network, and what comes after it where that is affine.

A graph is searched for the tensor nearest to the embedding that still has a place in the image. Where all
that follows it, up to the embedding's normalisation, is affine, an embedding is a sum over the grid's cells,
and so is a cosine.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.models.similarity import unit_length
from xfv_demo.types import FloatArray

# The paper's: 512 channels of the grid become 32.
XCOS_CHANNELS = 32

# How far float32 rounding carries an affine head from its weights and bias, relative to the largest number.
# Measured: 1e-6 on MobileFaceNet, 2e-6 on a ResNet50 with 32,768 inputs to its last layer.
_TOLERANCE = 1e-4

# How many gradients of the head are computed at once; each is as large as a grid.
_GRADIENTS_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class AffineHead:
    """What turns a feature grid into an embedding: e = bias + sum over cells and channels of weights * grid.

    Attributes:
        weights: (h, w, C, D) float32.
        bias: (D,) float32.
    """

    weights: FloatArray
    bias: FloatArray

    def cells(self, grids: ArrayLike) -> FloatArray:
        """What each cell adds to the embedding.

        Args:
            grids: (N, h, w, C) feature grids.

        Returns:
            (N, h, w, D) float32. Their sum over the cells, and the bias, is the embedding before it is
            normalised.
        """
        return np.asarray(np.einsum("nhwc,hwcd->nhwd", np.asarray(grids, np.float32), self.weights))


def last_grid(image: Any, output: Any) -> Any | None:
    """The tensor nearest to the output that depends on the image and is (N, h, w, c) with h w > 1."""
    depends = {image.op.name}
    stack = [image.op]
    while stack:
        for tensor in stack.pop().outputs:
            new = [consumer for consumer in tensor.consumers() if consumer.name not in depends]
            depends.update(consumer.name for consumer in new)
            stack.extend(new)
    queue, seen = deque([output]), {output.op.name}
    while queue:
        tensor = queue.popleft()
        places = tensor.shape[1:3].num_elements() if tensor.shape.rank == 4 else None
        # A change of axes before flattening, (N, c, h, w), is not the grid but the grid turned.
        if places and places > 1 and tensor.op.type != "Transpose":
            return tensor
        sources = [source for source in tensor.op.inputs if source.op.name in depends - seen]
        seen.update(source.op.name for source in sources)
        queue.extend(sources)
    return None


def find_affine_head(function: Any, grid: Any, output: Any, grids: FloatArray) -> AffineHead | None:
    """Finds what turns a network's feature grid into its embedding, where that is affine.

    The embedding may be normalised in the network or after it: what is found gives the same direction.

    Args:
        function: A wrapped function of TensorFlow's with the network's graph.
        grid: The grid's tensor in that graph.
        output: The embedding's tensor, (N, D).
        grids: (N, h, w, C) float32, grids to try what is found on.

    Returns:
        The head; None where what follows the grid is not affine.
    """
    directions = unit_length(_run(function, grid, output, grids))
    for tensor in _candidates(grid, output):
        head = _linearised(function, grid, tensor)
        # A normal distribution's values of both signs tell a PReLU from a linear layer.
        trials = np.concatenate([grids, -grids, np.random.default_rng(0).normal(size=grids.shape)])
        expected = head.cells(trials).sum(axis=(1, 2)) + head.bias
        given = _run(function, grid, tensor, trials.astype(np.float32))
        off = np.abs(given - expected).max()
        if off > _TOLERANCE * np.abs(given).max():
            continue
        if np.abs(unit_length(given[: len(grids)]) - directions).max() < _TOLERANCE:
            return head
    return None


def _candidates(grid: Any, output: Any) -> list[Any]:
    """The tensors of the embedding's shape between grid and output, those nearest to the output first."""
    queue, seen, found = deque([output]), {output.op.name, grid.op.name}, []
    while queue:
        tensor = queue.popleft()
        if tensor.shape.rank == 2 and tensor.shape[1] == output.shape[1]:
            found.append(tensor)
        for source in tensor.op.inputs:
            if source.op.name not in seen:
                seen.add(source.op.name)
                queue.append(source)
    return found


def _linearised(function: Any, grid: Any, tensor: Any) -> AffineHead:
    """The tensor's value and its gradients where the grid is zero."""
    import tensorflow as tf

    shape, dimensions = tuple(grid.shape[1:]), int(tensor.shape[1])
    head, at_once = function.prune(grid, [tensor]), grid.shape[0] or _GRADIENTS_AT_ONCE
    zeros = tf.zeros((at_once, *shape))
    weights = np.zeros((dimensions, *shape), np.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(zeros)
        (values,) = head(zeros)
    for start in range(0, dimensions, at_once):
        rows = np.eye(at_once, dimensions, start, dtype=np.float32)
        gradients = tape.gradient(values, zeros, output_gradients=tf.constant(rows))
        count = min(at_once, dimensions - start)
        if gradients is not None:
            weights[start : start + count] = gradients[:count]
    return AffineHead(np.ascontiguousarray(np.moveaxis(weights, 0, -1)), np.array(values[0], np.float32))


def _run(function: Any, grid: Any, tensor: Any, grids: FloatArray) -> FloatArray:
    """What a tensor is for some grids; padded where the graph takes a fixed number."""
    import tensorflow as tf

    part, at_once = function.prune(grid, [tensor]), grid.shape[0] or len(grids)
    results = []
    for start in range(0, len(grids), at_once):
        given = grids[start : start + at_once]
        padded = np.resize(given, (at_once, *given.shape[1:]))
        results.append(np.asarray(part(tf.constant(padded))[0])[: len(given)])
    return np.concatenate(results)
