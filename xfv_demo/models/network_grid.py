"""The last feature grid of a network as OpenVINO has it, and what comes after it where that is affine.

The network is searched for the tensor nearest to the embedding that still has a place in the image. Where all
that follows it, up to the embedding's normalisation, is affine, an embedding is a sum over the grid's cells,
and so is a cosine.
"""

from collections import deque
from typing import Any

import numpy as np

from xfv_demo.models.feature_grid import AffineHead
from xfv_demo.models.network_gradients import GradientNetwork
from xfv_demo.models.openvino import OpenVinoNetwork
from xfv_demo.models.similarity import unit_length
from xfv_demo.runtime.openvino import import_openvino
from xfv_demo.types import FloatArray

# How far float32 rounding carries an affine head from its weights and bias, relative to the largest number.
# Measured: 1e-6 on MobileFaceNet, 2e-6 on a ResNet50 with 32,768 inputs to its last layer.
_TOLERANCE = 1e-4


class GridNetwork:
    """A network up to its last feature grid, and from there on.

    Safe to call from several threads.

    Attributes:
        shape: The grid's height, width and channels.

    Args:
        model: An `openvino.Model` of one input, (N, 112, 112, 3), and one output, (N, D), constants folded.

    Raises:
        LookupError: No tensor keeps places in the image apart.
        ModelError: OpenVINO cannot run the network cut so.
    """

    def __init__(self, model: Any) -> None:
        grid = _last_grid(model)
        if grid is None:
            raise LookupError("no layer keeps places in the image apart")
        self._model, self._grid = model, grid
        self._is_channels_first = _is_channels_first(grid)
        first, second, third = (int(side.get_length()) for side in list(grid.partial_shape)[1:])
        self.shape = (second, third, first) if self._is_channels_first else (first, second, third)
        self._up_to_grid = OpenVinoNetwork(_part(model, None, _name(grid)))

    def __call__(self, images: FloatArray) -> FloatArray:
        """The grids of some images.

        Args:
            images: (N, 112, 112, 3) float32, RGB, in [0, 1].

        Returns:
            (N, h, w, C) float32.
        """
        grids = self._up_to_grid(images)
        return np.ascontiguousarray(grids.transpose(0, 2, 3, 1)) if self._is_channels_first else grids

    def affine_head(self, grids: FloatArray) -> AffineHead | None:
        """What turns the grid into the embedding, where that is affine.

        The embedding may be normalised in the network or after it: what is found gives the same direction.

        Args:
            grids: (N, h, w, C) float32, grids to try what is found on.

        Returns:
            The head; None where what follows the grid is not affine.
        """
        # A normal distribution's values of both signs tell a PReLU from a linear layer.
        noise = np.random.default_rng(0).normal(size=grids.shape).astype(np.float32)
        trials = np.concatenate([grids, -grids, noise])
        directions = None
        for tensor in self._candidates():
            given = self._from_grid(tensor, trials)
            if given is None:
                return None
            if directions is None:
                directions = unit_length(given[: len(grids)])
            if np.abs(unit_length(given[: len(grids)]) - directions).max() > _TOLERANCE:
                continue
            head = self._tangent(tensor, noise[0])
            if head is None:
                continue
            expected = head.cells(trials).sum(axis=(1, 2)) + head.bias
            if np.abs(given - expected).max() <= _TOLERANCE * np.abs(given).max():
                return head
        return None

    def _tangent(self, tensor: Any, grid: FloatArray) -> AffineHead | None:
        """The affine function that a tensor is near one grid, (h, w, C); None where it has no gradients."""
        try:
            network = GradientNetwork(_part(self._model, _name(self._grid), _name(tensor)))
        except (LookupError, RuntimeError):
            return None
        at = np.moveaxis(grid, 2, 0) if self._is_channels_first else grid
        value, rows = network(at, np.eye(int(tensor.partial_shape[1].get_length()), dtype=np.float32))
        # From (D, C, h, w) or (D, h, w, C) to (h, w, C, D).
        weights = rows.transpose((2, 3, 1, 0) if self._is_channels_first else (1, 2, 3, 0))
        bias = value - np.tensordot(grid.astype(np.float64), weights.astype(np.float64), 3)
        return AffineHead(np.ascontiguousarray(weights), bias.astype(np.float32))

    def _candidates(self) -> list[Any]:
        """The tensors of the embedding's shape between grid and output, those nearest to the output first."""
        output = self._model.get_results()[0].input_value(0)
        queue, seen, found = deque([output]), {_name(output), _name(self._grid)}, []
        while queue:
            tensor = queue.popleft()
            shape = tensor.partial_shape
            if len(shape) == 2 and shape[1] == output.partial_shape[1] and shape[0].is_dynamic:
                found.append(tensor)
            for source in _sources(tensor):
                if _name(source) not in seen:
                    seen.add(_name(source))
                    queue.append(source)
        return found

    def _from_grid(self, tensor: Any, grids: FloatArray) -> FloatArray | None:
        """What a tensor is for some grids, (N, D); None where it depends on more than the grid."""
        try:
            network = OpenVinoNetwork(_part(self._model, _name(self._grid), _name(tensor)))
        except RuntimeError:
            return None
        return network(np.moveaxis(grids, 3, 1) if self._is_channels_first else grids)


def _last_grid(model: Any) -> Any | None:
    """The tensor nearest to the output that depends on the image and is of N rows of h w > 1 places."""
    (image,) = model.get_parameters()
    depends = {image.get_friendly_name()}
    for operation in model.get_ordered_ops():
        if any(_name(source) in depends for source in _sources(operation)):
            depends.add(operation.get_friendly_name())
    queue = deque([model.get_results()[0].input_value(0)])
    seen: set[str] = set()
    while queue:
        tensor = queue.popleft()
        # A change of axes before flattening is not the grid but the grid turned.
        if tensor.get_node().get_type_name() != "Transpose" and _places(tensor) > 1:
            return tensor
        for source in _sources(tensor):
            if _name(source) in depends - seen:
                seen.add(_name(source))
                queue.append(source)
    return None


def _part(model: Any, first: str | None, last: str) -> Any:
    """The network from an operation's output, or from its input where `first` is None, to another's.

    Raises:
        RuntimeError: The last one depends on more than the first.
    """
    openvino = import_openvino()
    clone = model.clone()
    operations = {operation.get_friendly_name(): operation for operation in clone.get_ordered_ops()}
    (parameter,) = clone.get_parameters()
    if first is not None:
        source = operations[first].output(0)
        parameter = openvino.op.Parameter(source.element_type, source.partial_shape)
        for target in source.get_target_inputs():
            target.replace_source_output(parameter.output(0))
    return openvino.Model([operations[last].output(0)], [parameter])


def _places(tensor: Any) -> int:
    """How many places in the image a tensor of rank 4 keeps apart; 0 where it is none or open."""
    shape = tensor.partial_shape
    if len(shape) != 4 or any(side.is_dynamic for side in list(shape)[1:]):
        return 0
    sides = [side.get_length() for side in list(shape)[1:]]
    return int(np.prod(sides[1:] if _is_channels_first(tensor) else sides[:2]))


def _is_channels_first(tensor: Any) -> bool:
    """Whether a tensor of rank 4 is (N, C, h, w), as OpenVINO's convolutions give it, or (N, h, w, C)."""
    seen = set()
    while _name(tensor) not in seen:
        seen.add(_name(tensor))
        node = tensor.get_node()
        if node.get_type_name() == "Transpose":
            return [int(axis) for axis in node.input_value(1).get_node().data] == [0, 3, 1, 2]
        if node.get_type_name() in ("Convolution", "GroupConvolution", "MaxPool", "AvgPool"):
            return True
        grids = [source for source in _sources(tensor) if len(source.partial_shape) == 4]
        varying = [one for one in grids if one.get_node().get_type_name() != "Constant"]
        if not varying:
            return False
        tensor = varying[0]
    return False


def _sources(tensor: Any) -> list[Any]:
    node = tensor.get_node() if hasattr(tensor, "get_node") else tensor
    return [node.input_value(number) for number in range(node.get_input_size())]


def _name(tensor: Any) -> str:
    return str(tensor.get_node().get_friendly_name())
