"""Gradients of a network as OpenVINO has it: reverse-mode differentiation over its operations.

OpenVINO runs networks forwards alone. But a network's vector-Jacobian product is a network too: each
operation's gradient is made of operations that OpenVINO has (Griewank and Walther, Evaluating Derivatives,
2008, chapter 3). So gradients need neither TensorFlow nor a SavedModel, and networks of any file have them.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfv_demo.errors import ModelError
from xfv_demo.models.network_file import fold_constants
from xfv_demo.runtime.openvino import import_openvino, reason_of
from xfv_demo.types import FloatArray

# How many weightings go back through the network at once: each has a copy of the largest activations.
_MOST_WEIGHTINGS = 16

# By how much a weighted sum of an output of length 1 is to rise when the gradients are tried: more, and the
# network bends; less, and float32's rounding shows. Measured on MobileFaceNet and SFace: within 2 %.
_RISE = 0.02
_LARGEST_STEP = 0.1
_TOLERANCE = 0.05


class GradientNetwork:
    """A network of one input and one output, and the gradients of what it gives.

    Safe to call from several threads.

    Args:
        model: An `openvino.Model` of one input, (N, ...), where N is free or 1, and one output, (N, D),
            constants folded. It is left as it is.

    Raises:
        LookupError: The network does not take one input at a time, or has an operation whose gradient is not
            known here; the message goes on from "the network".
        ModelError: OpenVINO cannot run it.
    """

    def __init__(self, model: Any) -> None:
        openvino = import_openvino()
        hint = openvino.properties.hint
        product = _vector_jacobian_product(model)
        try:
            self._compiled = openvino.Core().compile_model(
                product, "CPU", {hint.inference_precision: openvino.Type.f32}
            )
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot run this network's gradients: {reason_of(error)}") from error

    def __call__(self, x: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What the network gives, and gradients of weighted sums of it.

        Args:
            x: (...) float32, one input, without N.
            weights: (K, D) float32, at least one row.

        Returns:
            (D,) float32, the output y; and (K, ...) float32, d(sum_d weights[k, d] y_d) / dx.
        """
        request = self._compiled.create_infer_request()
        gradients = np.empty((len(weights), *x.shape), np.float32)
        for start in range(0, len(weights), _MOST_WEIGHTINGS):
            part = slice(start, start + _MOST_WEIGHTINGS)
            request.infer([x[None], weights[part]])
            gradients[part] = request.get_output_tensor(1).data
        return request.get_output_tensor(0).data[0].copy(), gradients

    def check(self, x: FloatArray) -> None:
        """Tries the gradients: along one of them, the output must rise as steeply as it is long.

        Args:
            x: (...) float32, one input.

        Raises:
            LookupError: It does not; the message goes on from "the network".
        """
        y, _ = self(x, np.zeros((1, *self._compiled.output(0).shape[1:]), np.float32))
        weighting = np.random.default_rng(0).normal(size=(1, *y.shape)).astype(np.float32)
        (gradient,) = self(x, weighting)[1].astype(np.float64)
        slope = float(np.linalg.norm(gradient))
        if not np.isfinite(slope):
            raise LookupError("has gradients that are not finite")
        if not slope:
            return
        step = gradient / slope * min(_RISE / slope, _LARGEST_STEP * slope / np.abs(gradient).max())
        before, after = (self((x + one).astype(np.float32), weighting)[0] for one in (-step, step))
        risen = float((weighting @ (after.astype(np.float64) - before)).item())
        expected = 2 * float(np.linalg.norm(step)) * slope
        if not abs(risen - expected) <= _TOLERANCE * expected:
            raise LookupError(f"rises by {risen:.3g} where its gradients promise {expected:.3g}")


def with_unit_length(model: Any) -> Any:
    """A copy of a network whose output, (N, D), is scaled to length 1."""
    openvino = import_openvino()
    ops = openvino.opset14
    clone = model.clone()
    given = clone.get_results()[0].input_value(0)
    squared = ops.reduce_sum(ops.multiply(given, given), _integers([1]), keep_dims=True)
    # As TensorFlow's l2_normalize: an embedding of length 0 has finite gradients, though no direction.
    length = ops.sqrt(ops.maximum(squared, np.float32(1e-12)))
    return openvino.Model([ops.result(ops.divide(given, length))], clone.get_parameters())


def _vector_jacobian_product(model: Any) -> Any:
    """The network of (x, v) -> y, v J, where y is what the network gives for x alone and J its Jacobian.

    It has inputs (1, ...) and (K, D) and outputs (1, D) and (K, ...). What is computed for x once meets K
    rows of gradients by broadcasting along the first axis.

    Raises:
        LookupError: See `GradientNetwork`.
    """
    openvino = import_openvino()
    forwards = model.clone()
    (x,) = forwards.get_parameters()
    sides = list(x.partial_shape)[1:]
    try:
        forwards.reshape(openvino.PartialShape([1, *sides]))
    except RuntimeError as error:
        raise LookupError("takes a fixed number of images, not one") from error
    # What was computed from the number of images.
    fold_constants(forwards)
    y = forwards.get_results()[0].input_value(0)
    if y.partial_shape.is_dynamic or y.shape[0] != 1:
        raise LookupError("takes a fixed number of images, not one")
    operations = forwards.get_ordered_ops()
    depends = {x.get_friendly_name()}
    for node in operations:
        if any(_key(source)[0] in depends for source in _sources(node)):
            depends.add(node.get_friendly_name())
    upstream = openvino.opset14.parameter([-1, *y.shape[1:]], np.float32)
    # Of each tensor, what the operations that take it send back.
    sent: dict[tuple[str, int], list[Any]] = defaultdict(list)
    sent[_key(y)].append(upstream.output(0))
    for node in reversed(operations):
        given = [sent.pop(_key(output), []) for output in node.outputs()]
        if node.get_friendly_name() == x.get_friendly_name() or not any(given):
            if any(given):
                ends = [openvino.opset14.result(one) for one in (y, _sum(given[0]))]
                return openvino.Model(ends, [x, upstream])
            continue
        for number, source in enumerate(_sources(node)):
            if _key(source)[0] in depends:
                sent[_key(source)].append(_gradient(node, given, number))
    raise LookupError("gives the same for all images")


def _gradient(node: Any, given: Sequence[list[Any]], number: int) -> Any:
    """What an operation sends back to one of its inputs, of what was sent back to its outputs."""
    kind = node.get_type_name()
    source = node.input_value(number)
    if source.partial_shape.is_dynamic or not source.shape or source.shape[0] != 1:
        raise LookupError(
            f"has an operation {kind} on something other than images, whose gradient is unknown"
        )
    if kind in ("Split", "VariadicSplit") and number == 0:
        return _through_split(node, given)
    rule = _RULES.get(kind)
    if rule is None or (len(given) > 1 and any(given[1:])):
        raise LookupError(f"has an operation {kind}, whose gradient is not known here")
    return rule(node, _sum(given[0]), number)


def _sum(gradients: Sequence[Any]) -> Any:
    total, *others = gradients
    for gradient in others:
        total = _ops().add(total, gradient).output(0)
    return total


def _ops() -> Any:
    return import_openvino().opset14


def _key(output: Any) -> tuple[str, int]:
    return str(output.get_node().get_friendly_name()), int(output.get_index())


def _sources(node: Any) -> list[Any]:
    return [node.input_value(number) for number in range(node.get_input_size())]


def _constant(node: Any, number: int) -> Any:
    """The values of an operation's input that does not depend on the image."""
    source = node.input_value(number).get_node()
    if source.get_type_name() != "Constant":
        raise LookupError(
            f"has an operation {node.get_type_name()} whose settings are not constant, and whose gradient is "
            "not known here"
        )
    return source.data


def _integers(values: Sequence[int]) -> Any:
    return np.array(values, np.int64)


def _axes(node: Any, number: int, rank: int) -> list[int]:
    """The axes that an operation is told, from 0; never the first, which tells inputs apart."""
    axes = sorted({int(axis) % rank for axis in np.atleast_1d(_constant(node, number))})
    if 0 in axes:
        raise LookupError(f"has an operation {node.get_type_name()} over several images")
    return axes


def _as_source(gradient: Any, source: Any) -> Any:
    """Rows of gradients, each reshaped to what the source is for one input."""
    return _ops().reshape(gradient, _integers([0, *source.shape[1:]]), special_zero=True)


def _shrunk(node: Any, gradient: Any, number: int) -> Any:
    """The gradient of what was broadcast to the shape that the operation gives."""
    source = node.input_value(number)
    whole = node.output(0).shape
    if len(source.shape) != len(whole):
        raise LookupError(
            f"has an operation {node.get_type_name()} on tensors of {len(source.shape)} and {len(whole)} "
            "axes, whose gradient is not known here"
        )
    axes = [axis for axis in range(1, len(whole)) if source.shape[axis] == 1 and whole[axis] != 1]
    return _ops().reduce_sum(gradient, _integers(axes), keep_dims=True) if axes else gradient


def _as_numbers(condition: Any) -> Any:
    """1 where it holds, 0 elsewhere."""
    return _ops().convert(condition, "f32")


# Rules: each takes an operation, the gradient of what it gives, (K, ...), and the number of one of its
# inputs, and returns that input's gradient.


def _through_sum(node: Any, gradient: Any, number: int) -> Any:
    shrunk = _shrunk(node, gradient, number)
    return _ops().negative(shrunk) if node.get_type_name() == "Subtract" and number else shrunk


def _through_product(node: Any, gradient: Any, number: int) -> Any:
    return _shrunk(node, _ops().multiply(gradient, node.input_value(1 - number)), number)


def _through_quotient(node: Any, gradient: Any, number: int) -> Any:
    quotient = _ops().divide(gradient, node.input_value(1))
    if number == 0:
        return _shrunk(node, quotient, 0)
    return _shrunk(node, _ops().negative(_ops().multiply(quotient, node.output(0))), 1)


def _through_difference_squared(node: Any, gradient: Any, number: int) -> Any:
    apart = _ops().subtract(node.input_value(number), node.input_value(1 - number))
    return _shrunk(node, _ops().multiply(gradient, _ops().multiply(apart, np.float32(2))), number)


def _through_choice(node: Any, gradient: Any, number: int) -> Any:
    """Through the larger, or the smaller, of two; of equals, the first."""
    ops = _ops()
    first, second = node.input_value(0), node.input_value(1)
    is_maximum = node.get_type_name() == "Maximum"
    is_first = ops.greater_equal(first, second) if is_maximum else ops.less_equal(first, second)
    return _shrunk(
        node, ops.multiply(gradient, _as_numbers(ops.logical_not(is_first) if number else is_first)), number
    )


def _through_power(node: Any, gradient: Any, number: int) -> Any:
    exponent = np.float32(_constant(node, 1)) if number == 0 else None
    if exponent is None or exponent.size > 1:
        raise LookupError(
            "has an operation Power of more than one exponent, whose gradient is not known here"
        )
    slope = _ops().multiply(_ops().power(node.input_value(0), exponent - 1), exponent)
    return _ops().multiply(gradient, slope)


def _pointwise(slope: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, int], Any]:
    """The rule of an operation on each number by itself, by its derivative of (node, x, y)."""

    def rule(node: Any, gradient: Any, number: int) -> Any:
        if number:
            raise LookupError(
                f"has an operation {node.get_type_name()} whose settings vary, and whose gradient is not "
                "known here"
            )
        return _ops().multiply(gradient, slope(node, node.input_value(0), node.output(0)))

    return rule


def _prelu_slope(node: Any, x: Any, _y: Any) -> Any:
    slopes = np.asarray(_constant(node, 1), np.float32)
    if slopes.size > 1 and slopes.ndim == 1:
        slopes = slopes.reshape(-1, *[1] * (len(x.shape) - 2))
    return _ops().select(_ops().greater(x, np.float32(0)), np.float32(1), slopes)


def _between(x: Any, low: float, high: float) -> Any:
    ops = _ops()
    return ops.logical_and(ops.greater(x, np.float32(low)), ops.less(x, np.float32(high)))


def _clamp_slope(node: Any, x: Any, _y: Any) -> Any:
    settings = node.get_attributes()
    return _as_numbers(_between(x, settings["min"], settings["max"]))


def _elu_slope(node: Any, x: Any, y: Any) -> Any:
    ops = _ops()
    below = ops.add(y, np.float32(node.get_attributes()["alpha"]))
    return ops.select(ops.greater(x, np.float32(0)), np.float32(1), below)


def _swish_slope(node: Any, x: Any, y: Any) -> Any:
    """Of x s(b x): s + b y (1 - s)."""
    ops = _ops()
    beta = np.float32(_constant(node, 1)) if node.get_input_size() > 1 else np.float32(1)
    gate = ops.sigmoid(ops.multiply(x, beta))
    return ops.add(gate, ops.multiply(ops.multiply(y, beta), ops.subtract(np.float32(1), gate)))


def _hswish_slope(_node: Any, x: Any, _y: Any) -> Any:
    ops = _ops()
    middle = ops.add(ops.multiply(x, np.float32(1 / 3)), np.float32(0.5))
    return ops.select(_between(x, -3, 3), middle, _as_numbers(ops.greater_equal(x, np.float32(3))))


def _gelu_slope(node: Any, x: Any, _y: Any) -> Any:
    if node.get_attributes().get("approximation_mode", "ERF").upper() != "ERF":
        raise LookupError("has an approximated operation Gelu, whose gradient is not known here")
    ops = _ops()
    below = ops.multiply(
        ops.add(ops.erf(ops.multiply(x, np.float32(math.sqrt(0.5)))), np.float32(1)), np.float32(0.5)
    )
    return ops.add(
        below, ops.multiply(x, ops.multiply(_bell(x, 0.5), np.float32(1 / math.sqrt(2 * math.pi))))
    )


def _bell(x: Any, factor: float) -> Any:
    return _ops().exp(_ops().multiply(_ops().multiply(x, x), np.float32(-factor)))


def _softmax(node: Any, gradient: Any, _number: int) -> Any:
    ops = _ops()
    y = node.output(0)
    axis = node.get_attributes()["axis"] % len(y.shape)
    if axis == 0:
        raise LookupError("has an operation Softmax over several images")
    mean = ops.reduce_sum(ops.multiply(gradient, y), _integers([axis]), keep_dims=True)
    return ops.multiply(y, ops.subtract(gradient, mean))


def _through_norm(node: Any, gradient: Any, number: int) -> Any:
    """NormalizeL2: y = x / n over some axes."""
    ops = _ops()
    x, y = node.input_value(0), node.output(0)
    axes, settings = _axes(node, 1, len(x.shape)), node.get_attributes()
    squares = ops.reduce_sum(ops.multiply(x, x), _integers(axes), keep_dims=True)
    bounded = {"add": ops.add, "max": ops.maximum}[settings["eps_mode"]](squares, np.float32(settings["eps"]))
    along = ops.reduce_sum(ops.multiply(gradient, y), _integers(axes), keep_dims=True)
    return ops.divide(ops.subtract(gradient, ops.multiply(y, along)), ops.sqrt(bounded))


def _through_reduction(node: Any, gradient: Any, number: int) -> Any:
    """Sums, means and Euclidean lengths over some axes."""
    ops = _ops()
    x, kind = node.input_value(0), node.get_type_name()
    axes = _axes(node, 1, len(x.shape))
    kept = _integers([0, *(1 if axis in axes else side for axis, side in enumerate(x.shape) if axis)])
    spread = ops.reshape(gradient, kept, special_zero=True)
    if kind == "ReduceL2":
        length = ops.reshape(node.output(0), kept, special_zero=True)
        return ops.multiply(ops.divide(spread, length), x)
    share = 1 / np.prod([x.shape[axis] for axis in axes]) if kind == "ReduceMean" else 1
    return ops.multiply(spread, np.full(tuple(x.shape), share, np.float32))


def _through_matrix(node: Any, gradient: Any, number: int) -> Any:
    ops, settings = _ops(), node.get_attributes()
    sources = _sources(node)
    is_turned = [settings["transpose_a"], settings["transpose_b"]]
    varying, other = sources[number], sources[1 - number]
    is_plain = len(varying.shape) == 2
    if (
        min(len(one.shape) for one in sources) < 2
        # Of a matrix, the rows are images: it stands first, unturned, and meets one that is the same for all.
        or (is_plain and (number or is_turned[0] or other.get_node().get_type_name() != "Constant"))
        or (not is_plain and list(varying.shape[:-2]) != list(node.output(0).shape[:-2]))
    ):
        raise LookupError("has a product of matrices of a kind whose gradient is not known here")
    other = _own(other)
    if number == 0:
        if is_turned[0]:
            return ops.matmul(other, gradient, is_turned[1], True)
        return ops.matmul(gradient, other, False, not is_turned[1])
    if is_turned[1]:
        return ops.matmul(gradient, other, True, is_turned[0])
    return ops.matmul(other, gradient, not is_turned[0], False)


def _own(matrix: Any) -> Any:
    """A copy of a constant, for an operation of its own.

    OpenVINO 2026.4 keeps what it has made of a constant for one product for the others too: one that takes a
    square matrix turned was given it unturned.
    """
    node = matrix.get_node()
    return _ops().constant(node.data.copy()) if node.get_type_name() == "Constant" else matrix


def _through_batch_norm(node: Any, gradient: Any, number: int) -> Any:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, by channel; x, gamma, beta, mean, variance."""
    gamma, variance = (np.asarray(_constant(node, one), np.float64) for one in (1, 4))
    scale = gamma / np.sqrt(variance + node.get_attributes()["epsilon"])
    places = (-1, *[1] * (len(node.input_value(0).shape) - 2))
    return _ops().multiply(gradient, scale.reshape(places).astype(np.float32))


def _through_shape(node: Any, gradient: Any, number: int) -> Any:
    if node.output(0).shape[0] != 1:
        raise LookupError(f"has an operation {node.get_type_name()} that takes images apart")
    return _as_source(gradient, node.input_value(number))


def _through_transpose(node: Any, gradient: Any, number: int) -> Any:
    order = [int(axis) for axis in _constant(node, 1)]
    if order[0] != 0:
        raise LookupError("has an operation Transpose that takes images apart")
    return _ops().transpose(gradient, _integers(np.argsort(order).tolist()))


def _through_gather(node: Any, gradient: Any, number: int) -> Any:
    """A permutation along an axis, such as of channels."""
    x = node.input_value(0)
    (axis,) = _axes(node, 2, len(x.shape))
    chosen = np.asarray(_constant(node, 1)).ravel()
    if sorted(chosen % x.shape[axis]) != list(range(x.shape[axis])):
        raise LookupError(
            "has an operation Gather that leaves something out, and whose gradient is not known here"
        )
    return _ops().gather(
        gradient, _integers(np.argsort(chosen % x.shape[axis]).tolist()), _integers([axis])[0]
    )


def _through_concat(node: Any, gradient: Any, number: int) -> Any:
    whole = node.output(0).shape
    axis = node.get_attributes()["axis"] % len(whole)
    if axis == 0:
        raise LookupError("has an operation Concat of several images")
    starts = np.cumsum([0, *(source.shape[axis] for source in _sources(node))]).tolist()
    return _sliced(gradient, [axis], [starts[number]], [starts[number + 1]])


def _through_split(node: Any, given: Sequence[list[Any]]) -> Any:
    x = node.input_value(0)
    (axis,) = _axes(node, 1, len(x.shape))
    some = next(_sum(one) for one in given if one)
    parts = [
        _sum(one) if one else _zeros(some, list(output.shape))
        for one, output in zip(given, node.outputs(), strict=True)
    ]
    return _ops().concat(parts, axis)


def _sliced(tensor: Any, axes: Sequence[int], starts: Sequence[int], stops: Sequence[int]) -> Any:
    return _ops().slice(
        tensor, _integers(starts), _integers(stops), _integers([1] * len(axes)), _integers(axes)
    )


def _through_pad(node: Any, gradient: Any, number: int) -> Any:
    if node.get_attributes()["pad_mode"] != "constant":
        raise LookupError("has an operation Pad that repeats the image, whose gradient is not known here")
    begins = [int(one) for one in _constant(node, 1)]
    sides = node.input_value(0).shape
    axes = [
        axis for axis in range(1, len(sides)) if node.output(0).shape[axis] != sides[axis] or begins[axis]
    ]
    if not axes:
        return gradient
    if min(begins) < 0 or any(begins[axis] + sides[axis] > node.output(0).shape[axis] for axis in axes):
        raise LookupError("has an operation Pad that crops, whose gradient is not known here")
    starts = [begins[axis] for axis in axes]
    return _sliced(gradient, axes, starts, [begins[axis] + sides[axis] for axis in axes])


def _through_convolution(node: Any, gradient: Any, _number: int) -> Any:
    filters = np.asarray(_constant(node, 1), np.float32)
    is_grouped = node.get_type_name() == "GroupConvolution"
    return _transposed_convolution(node, gradient, filters, node.get_attributes()["dilations"], is_grouped)


def _transposed_convolution(
    node: Any, gradient: Any, filters: Any, dilations: Sequence[int], is_grouped: bool = True
) -> Any:
    """The transpose of a convolution with the strides, pads and input of an operation.

    Args:
        node: A convolution, or an operation on windows.
        gradient: (K, C', h', w').
        filters: The convolution's.
        dilations: Its steps within a window.
        is_grouped: Whether it convolves groups of channels, each with filters of its own.
    """
    ops, settings = _ops(), node.get_attributes()
    windows = filters.shape[3 if is_grouped else 2 :]
    ends, beyond = [], []
    for axis, window in enumerate(windows):
        stride, begin, end = (settings[one][axis] for one in ("strides", "pads_begin", "pads_end"))
        side, places = node.input_value(0).shape[2 + axis], node.output(0).shape[2 + axis]
        reached = stride * (places - 1) + dilations[axis] * (window - 1) + 1 - begin - end
        # Strides may pass over the last places, from which then nothing was taken; and windows reach beyond.
        beyond.append(max(0, side - reached))
        ends.append(end + max(0, reached - side))
    transpose = ops.group_convolution_backprop_data if is_grouped else ops.convolution_backprop_data
    return transpose(
        gradient,
        ops.constant(filters),
        strides=list(settings["strides"]),
        pads_begin=list(settings["pads_begin"]),
        pads_end=ends,
        dilations=list(dilations),
        output_padding=beyond,
    )


def _through_mean_pooling(node: Any, gradient: Any, _number: int) -> Any:
    """A window's mean, of which pads are a part or not."""
    x, settings = node.input_value(0), node.get_attributes()
    kernel = tuple(settings["kernel"])
    # The number of places that each window's sum was divided by, an axis at a time.
    counts = (
        functools.reduce(np.multiply.outer, _windows(node)) if settings["exclude-pad"] else math.prod(kernel)
    )
    shares = _ops().divide(gradient, np.asarray(counts, np.float32))
    filters = np.ones((x.shape[1], 1, 1, *kernel), np.float32)
    return _transposed_convolution(node, shares, filters, [1] * len(kernel))


def _windows(node: Any) -> list[NDArray[np.intp]]:
    """Of each axis and place, how many of the input's places a window covers."""
    settings, sides = node.get_attributes(), node.input_value(0).shape[2:]
    counts = []
    for axis, places in enumerate(node.output(0).shape[2:]):
        starts = np.arange(places) * settings["strides"][axis] - settings["pads_begin"][axis]
        covered = np.minimum(starts + settings["kernel"][axis], sides[axis]) - np.maximum(starts, 0)
        counts.append(covered)
    return counts


def _through_max_pooling(node: Any, gradient: Any, _number: int) -> Any:
    """To the largest of each window; of equals, the first."""
    ops, settings, x = _ops(), node.get_attributes(), node.input_value(0)
    names = ("strides", "pads_begin", "pads_end", "kernel", "rounding_type")
    dilations = settings.get("dilations") or [1] * len(settings["kernel"])
    places = ops.max_pool(
        x, dilations=dilations, kernel_shape=settings["kernel"],
        **{name: settings[name] for name in names if name != "kernel"}, auto_pad="explicit",
    ).output(1)  # fmt: skip
    flat = ops.reshape(gradient, _integers([0, -1]), special_zero=True)
    places = ops.reshape(places, _integers([1, -1]), special_zero=False)
    places = ops.broadcast(places, ops.shape_of(flat))
    given = ops.scatter_elements_update(
        _zeros(gradient, [1, math.prod(x.shape[1:])]), places, flat, np.int64(1), reduction="sum"
    )
    return _as_source(given, x)


def _zeros(gradient: Any, shape: Sequence[int]) -> Any:
    """As many rows of zeros as a gradient has, of the shape (1, ...)."""
    ops = _ops()
    rows = ops.gather(ops.shape_of(gradient), _integers([0]), np.int64(0))
    return ops.broadcast(np.float32(0), ops.concat([rows, _integers(shape[1:])], 0))


def _unchanged(_node: Any, gradient: Any, _number: int) -> Any:
    return gradient


# By the operation's type in OpenVINO's set.
_RULES: dict[str, Callable[[Any, Any, int], Any]] = {
    "Convert": _unchanged,
    "Add": _through_sum,
    "Subtract": _through_sum,
    "Multiply": _through_product,
    "Divide": _through_quotient,
    "SquaredDifference": _through_difference_squared,
    "Maximum": _through_choice,
    "Minimum": _through_choice,
    "Power": _through_power,
    "Negative": _pointwise(lambda _node, _x, _y: np.float32(-1)),
    "Abs": _pointwise(lambda _node, x, _y: _ops().sign(x)),
    "Exp": _pointwise(lambda _node, _x, y: y),
    "Log": _pointwise(lambda _node, x, _y: _ops().divide(np.float32(1), x)),
    "Sqrt": _pointwise(lambda _node, _x, y: _ops().divide(np.float32(0.5), y)),
    "Erf": _pointwise(lambda _node, x, _y: _ops().multiply(_bell(x, 1), np.float32(2 / math.sqrt(math.pi)))),
    "Tanh": _pointwise(lambda _node, _x, y: _ops().subtract(np.float32(1), _ops().multiply(y, y))),
    "Sigmoid": _pointwise(lambda _node, _x, y: _ops().multiply(y, _ops().subtract(np.float32(1), y))),
    "Relu": _pointwise(lambda _node, x, _y: _as_numbers(_ops().greater(x, np.float32(0)))),
    "SoftPlus": _pointwise(lambda _node, x, _y: _ops().sigmoid(x)),
    "HSigmoid": _pointwise(
        lambda _node, x, _y: _ops().multiply(_as_numbers(_between(x, -3, 3)), np.float32(1 / 6))
    ),
    "PRelu": _pointwise(_prelu_slope),
    "Clamp": _pointwise(_clamp_slope),
    "Elu": _pointwise(_elu_slope),
    "Swish": _pointwise(_swish_slope),
    "HSwish": _pointwise(_hswish_slope),
    "Gelu": _pointwise(_gelu_slope),
    "Softmax": _softmax,
    "NormalizeL2": _through_norm,
    "ReduceSum": _through_reduction,
    "ReduceMean": _through_reduction,
    "ReduceL2": _through_reduction,
    "MatMul": _through_matrix,
    "BatchNormInference": _through_batch_norm,
    "Reshape": _through_shape,
    "Squeeze": _through_shape,
    "Unsqueeze": _through_shape,
    "Transpose": _through_transpose,
    "Gather": _through_gather,
    "Concat": _through_concat,
    "Pad": _through_pad,
    "Convolution": _through_convolution,
    "GroupConvolution": _through_convolution,
    "AvgPool": _through_mean_pooling,
    "MaxPool": _through_max_pooling,
}
