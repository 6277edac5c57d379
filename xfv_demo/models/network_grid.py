"""The last feature grid of a network as OpenVINO has it, and what comes after it where that is affine.

The network is searched for the tensor nearest to the embedding that still has a place in the image. Where all
that follows it, up to the embedding's normalisation, is affine, an embedding is a sum over the grid's cells,
and so is a cosine.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfv_demo.models.feature_grid import AffineHead
from xfv_demo.models.openvino import OpenVinoNetwork
from xfv_demo.models.similarity import unit_length
from xfv_demo.runtime.openvino import import_openvino
from xfv_demo.types import FloatArray

_Doubles = NDArray[np.float64]

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
            linear = _linearised(self._grid, tensor)
            if linear is None or np.abs(unit_length(given[: len(grids)]) - directions).max() > _TOLERANCE:
                continue
            # From (D, C, h, w) or (D, h, w, C) to (h, w, C, D).
            weights = linear.rows.transpose((2, 3, 1, 0) if self._is_channels_first else (1, 2, 3, 0))
            head = AffineHead(np.ascontiguousarray(weights, np.float32), linear.bias.astype(np.float32))
            expected = head.cells(trials).sum(axis=(1, 2)) + head.bias
            if np.abs(given - expected).max() <= _TOLERANCE * np.abs(given).max():
                return head
        return None

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


@dataclass(frozen=True, eq=False)
class _Affine:
    """The embedding as an affine function of some tensor: e = rows * tensor + bias.

    Attributes:
        rows: (D, *shape of the tensor without N).
        bias: (D,).
    """

    rows: _Doubles
    bias: _Doubles


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


def _linearised(grid: Any, tensor: Any) -> _Affine | None:
    """A tensor (N, D) as an affine function of the grid; None where an operation between is not affine.

    Walks from the tensor back to the grid and turns the function of what an operation gives into one of what
    it takes.
    """
    dimensions = int(tensor.partial_shape[1].get_length())
    affine = _Affine(np.eye(dimensions), np.zeros(dimensions))
    while _name(tensor) != _name(grid):
        node = tensor.get_node()
        step = _STEPS.get(node.get_type_name())
        varying = [one for one in _sources(tensor) if one.get_node().get_type_name() != "Constant"]
        if node.get_type_name() in _RESHAPING:
            # The new shape may be computed from the number of images.
            varying = varying[:1]
        if step is None or len(varying) != 1 or node.get_output_size() != 1:
            return None
        before = step(node, affine, varying[0])
        if before is None:
            return None
        affine, tensor = before, varying[0]
    return affine


def _constant(node: Any, number: int) -> _Doubles:
    return np.asarray(node.input_value(number).get_node().data, np.float64)


def _through_sum(node: Any, after: _Affine, source: Any) -> _Affine | None:
    """X + c, x - c, c - x."""
    is_first = node.input_value(0) == source
    constant = _constant(node, 1 if is_first else 0)
    signs = (1, 1)
    if node.get_type_name() == "Subtract":
        signs = (1, -1) if is_first else (-1, 1)
    summands = after.rows * np.broadcast_to(constant, (1, *after.rows.shape[1:]))
    bias = after.bias + signs[1] * summands.reshape(len(summands), -1).sum(axis=1)
    return _grown(_Affine(signs[0] * after.rows, bias), source)


def _through_product(node: Any, after: _Affine, source: Any) -> _Affine | None:
    """X * c, x / c."""
    is_first = node.input_value(0) == source
    constant = _constant(node, 1 if is_first else 0)
    if node.get_type_name() == "Divide":
        if not is_first:
            return None
        constant = 1 / constant
    return _grown(_Affine(after.rows * constant, after.bias), source)


def _through_batch_norm(node: Any, after: _Affine, _source: Any) -> _Affine:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, by channel, which is axis 1."""
    # Its inputs: the data, gamma, beta, mean, variance.
    gamma, beta, mean, variance = (_constant(node, number) for number in (1, 2, 3, 4))
    scale = gamma / np.sqrt(variance + node.get_attributes()["epsilon"])
    places = (1, -1, *[1] * (after.rows.ndim - 2))
    shifts = after.rows * (beta - mean * scale).reshape(places)
    return _Affine(
        after.rows * scale.reshape(places), after.bias + shifts.reshape(len(shifts), -1).sum(axis=1)
    )


def _through_matrix(node: Any, after: _Affine, source: Any) -> _Affine | None:
    """X M."""
    matrix = _constant(node, 1) if node.input_value(0) == source else None
    if matrix is None or matrix.ndim != 2 or after.rows.ndim != 2 or node.get_attributes()["transpose_a"]:
        return None
    if node.get_attributes()["transpose_b"]:
        matrix = matrix.T
    return _Affine(after.rows @ matrix.T, after.bias)


def _through_reshape(_node: Any, after: _Affine, source: Any) -> _Affine | None:
    shape = source.partial_shape
    if any(side.is_dynamic for side in list(shape)[1:]):
        return None
    sides = [int(side.get_length()) for side in list(shape)[1:]]
    return _Affine(after.rows.reshape(-1, *sides), after.bias)


def _through_transpose(node: Any, after: _Affine, _source: Any) -> _Affine | None:
    order = [int(axis) for axis in _constant(node, 1)]
    if order[0] != 0:
        return None
    return _Affine(after.rows.transpose(np.argsort(order)), after.bias)


def _through_mean(node: Any, after: _Affine, source: Any) -> _Affine | None:
    """The mean over some axes."""
    rank = len(source.partial_shape)
    axes = sorted({int(axis) % rank for axis in np.atleast_1d(_constant(node, 1))})
    if 0 in axes:
        return None
    sides = [int(side.get_length()) for side in list(source.partial_shape)[1:]]
    kept = [1 if axis in axes else side for axis, side in enumerate(sides, 1)]
    rows = np.broadcast_to(after.rows.reshape(-1, *kept), (len(after.rows), *sides))
    return _Affine(rows / np.prod([sides[axis - 1] for axis in axes]), after.bias)


def _through_convolution(node: Any, after: _Affine, source: Any) -> _Affine:
    """A convolution without a bias: its transpose, run by OpenVINO."""
    openvino = import_openvino()
    ops = openvino.opset14
    settings = node.get_attributes()
    given = ops.parameter(list(after.rows.shape), np.float32)
    transpose = {
        "Convolution": ops.convolution_backprop_data,
        "GroupConvolution": ops.group_convolution_backprop_data,
    }[node.get_type_name()]
    sides = [int(side.get_length()) for side in list(source.partial_shape)[2:]]
    back = transpose(
        given,
        ops.constant(_constant(node, 1).astype(np.float32)),
        strides=list(settings["strides"]),
        output_shape=ops.constant(np.array(sides)),
        pads_begin=list(settings["pads_begin"]),
        pads_end=list(settings["pads_end"]),
        dilations=list(settings["dilations"]),
    )
    rows = OpenVinoNetwork(openvino.Model([ops.result(back)], [given]))(after.rows.astype(np.float32))
    return _Affine(rows.astype(np.float64), after.bias)


def _grown(affine: _Affine, source: Any) -> _Affine | None:
    """The same, unless a constant is larger than what it meets, so that each number goes to many places."""
    return affine if affine.rows.ndim == len(source.partial_shape) else None


_RESHAPING = ("Reshape", "Squeeze", "Unsqueeze")

# By the operation's type in OpenVINO's set. Each takes the node, the function of what it gives, and which of
# its inputs varies, and returns the function of that input.
_STEPS: dict[str, Callable[[Any, _Affine, Any], _Affine | None]] = {
    "Add": _through_sum,
    "Subtract": _through_sum,
    "Multiply": _through_product,
    "Divide": _through_product,
    "BatchNormInference": _through_batch_norm,
    "MatMul": _through_matrix,
    "Reshape": _through_reshape,
    "Squeeze": _through_reshape,
    "Unsqueeze": _through_reshape,
    "Transpose": _through_transpose,
    "ReduceMean": _through_mean,
    "Convolution": _through_convolution,
    "GroupConvolution": _through_convolution,
}
