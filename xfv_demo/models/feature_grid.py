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

from xfv_demo.types import FloatArray

# The paper's: 512 channels of the grid become 32.
XCOS_CHANNELS = 32


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
