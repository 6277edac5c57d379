"""Runs a network on a photo with a patch changed, computing anew only what the patch can reach.

A convolution's output at a place depends on a small window of its input. So behind a patch, the first layers
of a network change in a window only, which grows from layer to layer; all around it stays as it is for the
photo without the patch. The network is cut where a single tensor leads on: up to the last cut only windows
are computed, each pasted into what is known of the photo, and what comes after is computed whole. Nothing is
approximated: in float32 the results are the same to the last bits.

How far a layer reaches is read from the network's own description, in which only operations that are known to
be local are passed; from the first other one on, the network is computed whole.
"""

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xfv_demo.errors import ModelError
from xfv_demo.types import FloatArray

# As in OpenVINO's operation set. Their output at a place depends on their inputs at this place.
_ARITHMETIC = ("Add", "Subtract", "Multiply", "Divide", "Maximum", "Minimum", "Negative", "Abs", "Convert")
_ACTIVATIONS = ("Relu", "PRelu", "Clamp", "Sigmoid", "Tanh", "Elu", "HSwish", "HSigmoid", "Swish", "Gelu")
_POINTWISE = frozenset((*_ARITHMETIC, *_ACTIVATIONS))
_CONVOLUTIONS = frozenset(("Convolution", "GroupConvolution"))
_POOLS = frozenset(("MaxPool", "AvgPool"))
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)

# What the choice of cuts reckons with, in multiply-adds. Measured with the bundled model: a convolution costs
# about 25 for each number that it gives, beside its own; a number taken through a cut some 80, and each cut
# 3 million for the calls.
_COST_OF_OUTPUT = 25
_COST_OF_COPY = 80
_COST_OF_CUT = 12e6
# The side of the patches that cuts are chosen for, in pixels; the others fare well with them too.
_TYPICAL_SIDE = 16
# Measured in float32 with 32 patches of three sizes at a time, as the occlusion maps have them: 1.46 times as
# fast as whole images; with 8 windows or 8 tensors at once 1.35 times, with 16 and 32 slower than those.
_WINDOWS_AT_ONCE = 4
_TENSORS_AT_ONCE = 16
# Less than this share of the work saved is not worth the memory.
_LEAST_SAVING = 0.1


class Box(NamedTuple):
    """A rectangle of pixels: rows top to bottom and columns left to right, the last ones not included."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def side(self) -> int:
        """The longer one of the sides."""
        return max(self.bottom - self.top, self.right - self.left)


class _Reach(NamedTuple):
    """What place i of an output depends on: of the input, stride * i - before to stride * i + after."""

    stride: int
    before: int
    after: int


@dataclass(frozen=True)
class _Cut:
    """A tensor through which all of the network leads.

    Attributes:
        name: Of the operation that gives it.
        reach: From the image.
        shape: Channels, height, width.
        cost: Of the network up to here.
    """

    name: str
    reach: _Reach
    shape: tuple[int, int, int]
    cost: float


class _Window(NamedTuple):
    """Along one axis, what a patch that begins at a certain pixel needs and changes at one cut.

    Attributes:
        start: Where the window begins, in places of the cut before.
        origin: Where it begins in places of this cut.
        first: The first place that changes, in places of this cut.
        last: The last one.
    """

    start: int
    origin: int
    first: int
    last: int


class PatchedNetwork:
    """A network, cut so that patches can be followed through it.

    Safe to call from several threads.

    Args:
        model: An `openvino.Model` of one image, (1, height, width, channels) in, (1, D) out, height = width.
        compile_model: Compiles such a model.

    Raises:
        ModelError: Hardly any work could be saved.
    """

    def __init__(self, model: Any, compile_model: Callable[[Any], Any]) -> None:
        self._compile = compile_model
        self._side = int(model.input(0).shape[1])
        cuts, self._whole = _find_cuts(model)
        self._cuts = _choose_cuts(cuts, self._whole, self._side)
        self._saves: dict[int, bool] = {}
        if not self._cuts or not self.saves(_TYPICAL_SIDE):
            raise ModelError("patches reach too much of this network for anything to be saved")
        names = [None, *(cut.name for cut in self._cuts), None]
        self._parts = [part_of(model, first, last) for first, last in itertools.pairwise(names)]
        self._bases = [compile_model(part) for part in self._parts[:-1]]
        tail = self._parts.pop()
        tail.reshape([_TENSORS_AT_ONCE, *self._cuts[-1].shape])
        self._tail = compile_model(tail)
        self._windows: dict[tuple[int, int], Any] = {}
        self._plans: dict[int, list[tuple[int, list[_Window]]]] = {}
        self._lock = threading.Lock()

    def saves(self, side: int) -> bool:
        """Whether patches of a side are better followed than computed as whole images."""
        if side not in self._saves:
            cost = _chain_cost(self._cuts, self._whole, self._side, side)
            self._saves[side] = cost < (1 - _LEAST_SAVING) * self._whole
        return self._saves[side]

    def photo(self, image: FloatArray) -> "PatchedPhoto":
        """Computes what is common to all variants of a photo.

        Args:
            image: (height, width, channels) float32.
        """
        features = [image]
        tensor = image[None]
        for base in self._bases:
            request = base.create_infer_request()
            request.infer([tensor], share_inputs=True)
            tensor = request.get_output_tensor(0).data.copy()
            features.append(tensor[0])
        return PatchedPhoto(self, features)

    def windows(self, side: int) -> list[tuple[int, list[_Window]]]:
        """For each cut, the side of the windows of patches of a side, and one for each place of a patch."""
        with self._lock:
            if side not in self._plans:
                self._plans[side] = _chain_windows(self._cuts, side, self._side)
            return self._plans[side]

    def compiled(self, part: int, side: int) -> Any:
        """One part of the network for some windows of a side; the last part takes whole tensors."""
        if part == len(self._cuts):
            return self._tail
        with self._lock:
            compiled = self._windows.get((part, side))
            if compiled is None:
                model = self._parts[part].clone()
                paddings = _paddings(model)
                channels = model.input(0).shape[3] if part == 0 else self._cuts[part - 1].shape[0]
                window = (side, side, channels) if part == 0 else (channels, side, side)
                model.reshape([_WINDOWS_AT_ONCE, *window])
                if _paddings(model) != paddings:
                    # Windows are aligned to the strides; only an unknown rule of padding gets here.
                    raise ModelError("this network pads windows otherwise than whole images")
                compiled = self._windows[part, side] = self._compile(model)
        return compiled

    @property
    def last_part(self) -> int:
        """The number of the part after the last cut."""
        return len(self._cuts)


class PatchedPhoto:
    """A photo, ready for patches. Made by `PatchedNetwork.photo`.

    Safe to call from several threads, one at a time.

    Args:
        network: The network.
        features: The image, and the tensors at the cuts.
    """

    def __init__(self, network: PatchedNetwork, features: Sequence[FloatArray]) -> None:
        self._network = network
        self._features = features
        self._requests: dict[tuple[int, int], Any] = {}
        self._lock = threading.Lock()

    def run(self, images: FloatArray, boxes: Sequence[Box]) -> FloatArray:
        """Runs the network on variants of the photo.

        Args:
            images: (N, height, width, channels) float32: each equals the photo outside of its box.
            boxes: N boxes, each of at least one pixel.

        Returns:
            (N, D) float32, what the network gives for the images.
        """
        last = np.empty((len(images), *self._features[-1].shape), np.float32)
        sides = np.array([box.side for box in boxes], np.int64)
        with self._lock:
            for side in np.unique(sides):
                plan = self._network.windows(int(side))
                (rows,) = np.nonzero(sides == side)
                for start in range(0, len(rows), _WINDOWS_AT_ONCE):
                    self._through_windows(plan, images, boxes, rows[start : start + _WINDOWS_AT_ONCE], last)
            return self._through_tail(last)

    def _request(self, part: int, side: int) -> Any:
        if (part, side) not in self._requests:
            self._requests[part, side] = self._network.compiled(part, side).create_infer_request()
        return self._requests[part, side]

    def _through_windows(
        self,
        plan: Sequence[tuple[int, list[_Window]]],
        images: FloatArray,
        boxes: Sequence[Box],
        rows: NDArray[np.int64],
        last: FloatArray,
    ) -> None:
        """Computes some images' tensors at the last cut, and writes them into `last`."""
        # A patch that is not square has its window at the place of the square from its corner; at the lower
        # and right edge, of the last square that fits.
        corners = [
            (min(boxes[row].top, len(plan[0][1]) - 1), min(boxes[row].left, len(plan[0][1]) - 1))
            for row in rows
        ]
        given: Any = None
        for part, (side, windows) in enumerate(plan):
            request = self._request(part, side)
            tensor = request.get_input_tensor(0).data
            for place, (row, (top, left)) in enumerate(zip(rows, corners, strict=True)):
                y, x = windows[top].start, windows[left].start
                if part == 0:
                    tensor[place] = images[row, y : y + side, x : x + side]
                    continue
                tensor[place] = self._features[part][:, y : y + side, x : x + side]
                _paste(tensor[place], given[place], plan[part - 1][1], (top, left), (y, x))
            request.infer()
            given = request.get_output_tensor(0).data
        for place, (row, corner) in enumerate(zip(rows, corners, strict=True)):
            last[row] = self._features[-1]
            _paste(last[row], given[place], plan[-1][1], corner, (0, 0))

    def _through_tail(self, last: FloatArray) -> FloatArray:
        request = self._request(self._network.last_part, 0)
        tensor = request.get_input_tensor(0).data
        results = []
        for start in range(0, len(last), _TENSORS_AT_ONCE):
            part = last[start : start + _TENSORS_AT_ONCE]
            tensor[: len(part)] = part
            request.infer()
            results.append(request.get_output_tensor(0).data[: len(part)].copy())
        return np.concatenate(results)


def _paste(
    target: FloatArray,
    given: FloatArray,
    windows: Sequence[_Window],
    corner: tuple[int, int],
    begin: tuple[int, int],
) -> None:
    """Writes what a patch changes, out of its window at a cut, into a tensor that begins at `begin` there."""
    (_, y, top, bottom), (_, x, left, right) = (windows[place] for place in corner)
    changed = given[:, top - y : bottom + 1 - y, left - x : right + 1 - x]
    y, x = begin
    target[:, top - y : bottom + 1 - y, left - x : right + 1 - x] = changed


def _find_cuts(model: Any) -> tuple[list[_Cut], float]:
    """The tensors at which a network may be cut, from its input on, and the cost of the whole."""
    (image,) = model.get_parameters()
    reaches: dict[str, _Reach | None] = {image.get_friendly_name(): _Reach(1, 0, 0)}
    channels_first = {image.get_friendly_name(): False}
    waiting = {image.get_friendly_name(): len(image.output(0).get_target_inputs())}
    operations = [operation for operation in model.get_ordered_ops() if operation != image]
    names = [operation.get_friendly_name() for operation in operations]
    cuts, cost = [], 0.0
    for operation, name in zip(operations, names, strict=True):
        sources = [source.get_source_output().get_node().get_friendly_name() for source in operation.inputs()]
        given = [source for source in sources if source in reaches]
        if not given:
            continue  # Does not depend on the image.
        for source in given:
            waiting[source] -= 1
            if not waiting[source]:
                del waiting[source]
        reaches[name] = None
        if not operation.get_output_size():
            continue
        waiting[name] = sum(len(output.get_target_inputs()) for output in operation.outputs())
        if operation.get_type_name() in _CONVOLUTIONS:
            cost += _convolution_cost(operation)
        before = [reaches[source] for source in given]
        if None in before or operation.get_output_size() != 1:
            continue
        layouts = {channels_first[source] for source in given}
        if len(layouts) > 1 or len(tuple(operation.output(0).shape)) != 4:
            continue
        constants = [
            tuple(int(side) for side in source.get_source_output().shape)
            for source, given_by in zip(operation.inputs(), sources, strict=True)
            if given_by not in reaches
        ]
        reaches[name], channels_first[name] = _follow(operation, before, constants, layouts.pop())
        shape = tuple(int(side) for side in operation.output(0).shape)[1:]
        reach = reaches[name]
        whole = int(model.input(0).shape[1])
        # Where strides divide the sides, windows can be aligned to them.
        aligned = reach is not None and reach.stride * shape[1] == reach.stride * shape[2] == whole
        if aligned and reach and channels_first[name] and set(waiting) == {name} and names.count(name) == 1:
            cuts.append(_Cut(name, reach, (shape[0], shape[1], shape[2]), cost))
    return cuts, cost


def _follow(
    operation: Any,
    before: Sequence[Any],
    constants: Sequence[tuple[int, ...]],
    channels_first: bool,
) -> tuple[_Reach | None, bool]:
    """How far an operation's output reaches back, None where that is not known, and its layout."""
    kind = operation.get_type_name()
    reach = before[0]
    rows, columns = (2, 3) if channels_first else (1, 2)
    if kind == "Transpose":
        order = tuple(int(axis) for axis in operation.input_value(1).get_node().data)
        if order == (_TO_CHANNELS_LAST if channels_first else _TO_CHANNELS_FIRST):
            return reach, not channels_first
        return None, channels_first
    if kind in _POINTWISE:
        for shape in constants:
            full = (1,) * (4 - len(shape)) + shape
            # PRelu's slopes are one for each channel, whatever their shape. Any other constant that differs
            # from place to place would have to be cut as well.
            if (full[rows], full[columns]) != (1, 1) and kind != "PRelu":
                return None, channels_first
        if len({one.stride for one in before}) > 1:
            return None, channels_first
        widest = _Reach(reach.stride, max(one.before for one in before), max(one.after for one in before))
        return widest, channels_first
    if kind == "Pad":
        begin, end = (tuple(int(n) for n in operation.input_value(n).get_node().data) for n in (1, 2))
        others = [begin[axis] or end[axis] for axis in range(4) if axis not in (rows, columns)]
        if any(others) or begin[rows] != begin[columns] or end[rows] != end[columns]:
            return None, channels_first
        shift = reach.stride * begin[rows]
        return _Reach(reach.stride, reach.before + shift, reach.after - shift), channels_first
    if kind in _CONVOLUTIONS | _POOLS and channels_first:
        attributes = operation.get_attributes()
        if kind in _POOLS:
            kernel = attributes["kernel"]
        else:
            kernel = [int(side) for side in operation.input_value(1).shape][-2:]
        settings = (
            kernel,
            attributes["strides"],
            attributes["pads_begin"],
            attributes.get("dilations", [1, 1]),
        )
        if any(one != other for one, other in settings):
            return None, channels_first
        size, stride, padding, dilation = (int(one) for one, _ in settings)
        return (
            _Reach(
                reach.stride * stride,
                reach.before + reach.stride * padding,
                reach.after + reach.stride * ((size - 1) * dilation - padding),
            ),
            channels_first,
        )
    return None, channels_first


def _convolution_cost(operation: Any) -> float:
    outputs = int(np.prod([int(side) for side in operation.output(0).shape]))
    weights = [int(side) for side in operation.input_value(1).shape]
    # Of the weights, those that make one number: without the axes of groups and output channels.
    inner = weights[2:] if operation.get_type_name() == "GroupConvolution" else weights[1:]
    return outputs * (float(np.prod(inner)) + _COST_OF_OUTPUT)


def _chain_windows(cuts: Sequence[_Cut], side: int, whole: int) -> list[tuple[int, list[_Window]]]:
    """For each cut, the side of its windows and one for each place of a patch of `side` pixels."""
    reached = [(start, start + side - 1) for start in range(whole - side + 1)]
    before, length, chain = _Reach(1, 0, 0), whole, []
    for cut in cuts:
        stride = cut.reach.stride // before.stride
        back = (cut.reach.before - before.before) // before.stride
        ahead = (cut.reach.after - before.after) // before.stride
        after = length // stride
        changed = [
            (max(0, -((ahead - first) // stride)), min(after - 1, (last + back) // stride))
            for first, last in reached
        ]
        needed = [
            (max(0, stride * first - back) // stride * stride, min(length - 1, stride * last + ahead))
            for first, last in changed
        ]
        widest = max(last - first + 1 for first, last in needed)
        window = min(length, -(-widest // stride) * stride)
        chain.append(
            (
                window,
                [
                    _Window(begin := min(start, length - window), begin // stride, first, last)
                    for (start, _), (first, last) in zip(needed, changed, strict=True)
                ],
            )
        )
        before, length, reached = cut.reach, after, changed
    return chain


def _chain_cost(cuts: Sequence[_Cut], whole: float, side: int, patch: int = _TYPICAL_SIDE) -> float:
    """What a patch of a side costs with these cuts."""
    cost, done, channels, length = 0.0, 0.0, 3, side
    for cut, (window, _) in zip(cuts, _chain_windows(cuts, patch, side), strict=True):
        copied = _COST_OF_COPY * channels * window**2
        cost += (cut.cost - done) * (window / length) ** 2 + copied + _COST_OF_CUT
        done, channels, length = cut.cost, cut.shape[0], cut.shape[1]
    return cost + whole - done + _COST_OF_COPY * channels * length**2


def _choose_cuts(cuts: Sequence[_Cut], whole: float, side: int) -> list[_Cut]:
    """The cheapest chain of cuts, by dynamic programming.

    What a cut's windows cost depends on the cut before and on none further back, as the windows hold what the
    patch reaches, and that depends on the cut alone.
    """
    if not cuts or side <= _TYPICAL_SIDE:
        return []
    best: list[tuple[float, list[_Cut]]] = []
    for cut in cuts:
        chains = [[cut], *([*chain, cut] for _, chain in best)]
        costs = [_chain_cost(chain, whole, side) for chain in chains]
        cheapest = int(np.argmin(costs))
        best.append((costs[cheapest], chains[cheapest]))
    return min(best, key=lambda one: one[0])[1]


def part_of(model: Any, first: str | None, last: str | None) -> Any:
    """The network between two cuts; from its input where `first` is None, to its output where `last` is."""
    import openvino

    clone = model.clone()
    operations = {operation.get_friendly_name(): operation for operation in clone.get_ordered_ops()}
    (parameter,) = clone.get_parameters()
    (result,) = clone.get_results()
    if first is not None:
        source = operations[first].output(0)
        parameter = openvino.op.Parameter(source.element_type, source.partial_shape)
        for target in source.get_target_inputs():
            target.replace_source_output(parameter.output(0))
    end = result.input_value(0) if last is None else operations[last].output(0)
    return openvino.Model([end], [parameter])


def _paddings(model: Any) -> list[tuple[list[int], list[int]]]:
    """The paddings of all convolutions and pools, in the network's order."""
    return [
        (list(operation.get_attributes()["pads_begin"]), list(operation.get_attributes()["pads_end"]))
        for operation in model.get_ordered_ops()
        if operation.get_type_name() in _CONVOLUTIONS | _POOLS
    ]
