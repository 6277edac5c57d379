"""Runs a network on a photo with a patch changed, computing anew only what the patch can reach.

A convolution's output at a place depends on a small window of its input. So behind a patch, the first layers
of a network change in a window only, which grows from layer to layer; all around it stays as it is for the
photo without the patch. The network is cut where a single tensor leads on: up to the last cut only windows
are computed, each pasted into what is known of the photo, and what comes after is computed whole. Nothing is
approximated: in float32 the results are the same to the last bits.

Where the time goes, measured with the bundled model and the occlusion maps' 1,130 patches on two cores that
others used too: of a pair's 1.06 TFLOP, 0.65 are left, three quarters of them behind the last cut. Nine
tenths of the time are the engine's, and of that 81 % those of 1 x 1 convolutions, which reach 75 to 90
GFLOP/s on a core, near what AVX2 can, and 14 % those of depthwise ones, at 15 to 25; a tenth is Python,
mostly copies. Windows that held no more than what a patch changes would leave 0.40 TFLOP, but they would be
of some hundred sizes, which take 40 ms each to compile.

How far a layer reaches is read from the network's own description, in which only operations that are known to
be local are passed; from the first other one on, the network is computed whole.
"""

import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xfv_demo.errors import ModelError
from xfv_demo.runtime.openvino import import_openvino
from xfv_demo.types import FloatArray

# As in OpenVINO's operation set. Their output at a place depends on their inputs at this place.
_ARITHMETIC = (
    "Add",
    "Subtract",
    "Multiply",
    "Divide",
    "Maximum",
    "Minimum",
    "Negative",
    "Abs",
    "Convert",
    "FakeQuantize",
)
_ACTIVATIONS = ("Relu", "PRelu", "Clamp", "Sigmoid", "Tanh", "Elu", "HSwish", "HSigmoid", "Swish", "Gelu")
_POINTWISE = frozenset((*_ARITHMETIC, *_ACTIVATIONS))
_CONVOLUTIONS = frozenset(("Convolution", "GroupConvolution"))
_POOLS = frozenset(("MaxPool", "AvgPool"))
_Integers = NDArray[np.int64]
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)

# What the choice of cuts reckons with, in multiply-adds: for each number that a convolution gives, beside its
# own; for each number taken through a cut; for each cut, the calls. The optimum is flat: with the bundled
# model these choose 4 cuts, which take 158 ms of both cores for 32 patches; 7 cuts take 149, 9 take 162 and 2
# take 168, where runs differ by 10.
_COST_OF_OUTPUT = 25
_COST_OF_COPY = 80
_COST_OF_CUT = 12e6
# The side of the patches that cuts are chosen for, in pixels; the others fare well with them too.
_TYPICAL_SIDE = 16
# How many variants make a group, which goes through the last part together. Measured with 32 patches of three
# sizes, the time of both cores: 175 ms with 1, 158 with 2, 155 with 4, 159 with 8, 175 with 16. By the clock
# 2 take a fifth less than 4: a core waits less for the other at the end.
_TENSORS_AT_ONCE = 2
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
        compile_model: Compiles such a model, for as many inferences side by side as suit the machine.

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
        self._parts = _split(model, self._cuts)
        self._compiled: dict[tuple[int, int], Any] = {}
        self._idle: dict[tuple[int, int], list[_Request]] = {}
        self._plans: dict[int, list[tuple[int, list[_Window]]]] = {}
        self._lock = threading.Lock()
        self.groups_at_once = side_by_side(self._compiled_part(self.last_part, self._cuts[-1].shape[1]))

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
        for part, side in enumerate([self._side, *(cut.shape[1] for cut in self._cuts[:-1])]):
            request = self.borrow(part, side)
            request.given[0] = features[-1]
            request.start()
            features.append(request.wait()[0].copy())
            self.give_back(request)
        return PatchedPhoto(self, features)

    def windows(self, side: int) -> list[tuple[int, list[_Window]]]:
        """For each cut, the side of the windows of patches of a side, and one for each place of a patch."""
        with self._lock:
            if side not in self._plans:
                self._plans[side] = _chain_windows(self._cuts, side, self._side)
            return self._plans[side]

    def borrow(self, part: int, side: int) -> "_Request":
        """What runs a part of the network on windows of a side, for one user at a time."""
        with self._lock:
            idle = self._idle.setdefault((part, side), [])
            return idle.pop() if idle else _Request((part, side), self._compiled_part(part, side))

    def give_back(self, request: "_Request") -> None:
        """Lets others borrow it; its output is theirs to overwrite."""
        self._idle[request.key].append(request)

    def _compiled_part(self, part: int, side: int) -> Any:
        compiled = self._compiled.get((part, side))
        if compiled is None:
            model = self._parts[part].clone()
            paddings = _paddings(model)
            count = _TENSORS_AT_ONCE if part == self.last_part else 1
            model.reshape([count, side, side, model.input(0).shape[3]])
            if _paddings(model) != paddings:
                # Windows are aligned to the strides; only an unknown rule of padding gets here.
                raise ModelError("this network pads windows otherwise than whole images")
            compiled = self._compiled[part, side] = self._compile(model)
        return compiled

    @property
    def last_part(self) -> int:
        """The number of the part after the last cut, which takes several whole tensors."""
        return len(self._cuts)


def side_by_side(compiled: Any) -> int:
    """How many requests of a compiled network to start at once: some more than run, so that no core waits.

    Measured on two idle cores with the occlusion maps of a pair: with 3 at once 9.6 s, with 6 6.4 to 8.7 s,
    with 8 7.6 s.
    """
    return 3 * int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))


class _Request:
    """Runs a part of the network on windows of one size; of one thread at a time.

    Attributes:
        key: The part and the windows' side.
        given: The input, to be written into.
    """

    def __init__(self, key: tuple[int, int], compiled: Any) -> None:
        self.key = key
        self._request = compiled.create_infer_request()
        self.given: FloatArray = self._request.get_input_tensor(0).data
        self._result: FloatArray = self._request.get_output_tensor(0).data

    def start(self) -> None:
        """Begins, and returns at once."""
        self._request.start_async()

    def wait(self) -> FloatArray:
        """The output, which the next start overwrites."""
        self._request.wait()
        return self._result


class PatchedPhoto:
    """A photo, ready for patches. Made by `PatchedNetwork.photo`.

    Safe to call from several threads.

    Args:
        network: The network.
        features: The image, and the tensors at the cuts.
    """

    def __init__(self, network: PatchedNetwork, features: Sequence[FloatArray]) -> None:
        self._network = network
        self._features = features

    def run(self, images: FloatArray, boxes: Sequence[Box]) -> FloatArray:
        """Runs the network on variants of the photo.

        Args:
            images: (N, height, width, channels) float32: each equals the photo outside of its box.
            boxes: N boxes, each of at least one pixel.

        Returns:
            (N, D) float32, what the network gives for the images.
        """
        results: list[FloatArray] = []
        groups = (
            self._through(images[start:end], boxes[start:end], results)
            for start, end in itertools.pairwise([*range(0, len(images), _TENSORS_AT_ONCE), len(images)])
        )
        # Taken in turn, groups end in the order in which they began.
        running = deque(itertools.islice(groups, self._network.groups_at_once))
        while running:
            group = running.popleft()
            if next(group, self) is self:
                running.extend(itertools.islice(groups, 1))
            else:
                running.append(group)
        return np.concatenate(results)

    def _through(self, images: FloatArray, boxes: Sequence[Box], results: list[FloatArray]) -> Iterator[None]:
        """Computes a few variants' results and appends them; stops wherever it would wait for the machine."""
        network = self._network
        plans = [network.windows(int(box.side)) for box in boxes]
        # A patch that is not square has its window at the place of the square from its corner; at the lower
        # and right edge, of the last square that fits.
        corners = [
            (min(box.top, len(plan[0][1]) - 1), min(box.left, len(plan[0][1]) - 1))
            for box, plan in zip(boxes, plans, strict=True)
        ]
        requests: list[_Request] = []
        for part in range(network.last_part):
            before, requests = requests, []
            for place, (plan, (top, left)) in enumerate(zip(plans, corners, strict=True)):
                side, windows = plan[part]
                request = network.borrow(part, side)
                y, x = windows[top].start, windows[left].start
                tensor = self._features[part] if part else images[place]
                request.given[0] = tensor[y : y + side, x : x + side]
                if part:
                    changed = before[place].wait()[0]
                    _paste(request.given[0], changed, plan[part - 1][1], (top, left), (y, x))
                    network.give_back(before[place])
                request.start()
                requests.append(request)
            yield
        last = network.borrow(network.last_part, len(self._features[-1]))
        for place, (request, plan, corner) in enumerate(zip(requests, plans, corners, strict=True)):
            last.given[place] = self._features[-1]
            _paste(last.given[place], request.wait()[0], plan[-1][1], corner, (0, 0))
            network.give_back(request)
        last.start()
        yield
        results.append(last.wait()[: len(images)].copy())
        network.give_back(last)


def _paste(
    target: FloatArray,
    given: FloatArray,
    windows: Sequence[_Window],
    corner: tuple[int, int],
    begin: tuple[int, int],
) -> None:
    """Writes what a patch changes, out of its window at a cut, into a tensor that begins at `begin` there."""
    (_, y, top, bottom), (_, x, left, right) = (windows[place] for place in corner)
    changed = given[top - y : bottom + 1 - y, left - x : right + 1 - x]
    y, x = begin
    target[top - y : bottom + 1 - y, left - x : right + 1 - x] = changed


def _find_cuts(model: Any) -> tuple[list[_Cut], float]:
    """The tensors at which a network may be cut, from its input on, and the cost of the whole."""
    (image,) = model.get_parameters()
    whole = int(image.get_output_shape(0)[1])
    start = image.get_name()
    reaches: dict[str, _Reach | None] = {start: _Reach(1, 0, 0)}
    channels_first = {start: False}
    waiting = {start: len(image.output(0).get_target_inputs())}
    cuts: dict[tuple[_Reach, int], _Cut] = {}
    # An author's names need not be unique. OpenVINO's are, but those of a copy differ.
    given_names: Counter[str] = Counter()
    cost = 0.0
    for operation in model.get_ordered_ops():
        kind, name, given_name = (
            operation.get_type_name(),
            operation.get_name(),
            operation.get_friendly_name(),
        )
        given_names[given_name] += 1
        if operation == image:
            continue
        inputs = operation.input_values()
        sources = [source.get_node().get_name() for source in inputs]
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
        uses = [len(output.get_target_inputs()) for output in operation.outputs()]
        waiting[name] = sum(uses)
        if kind in _CONVOLUTIONS:
            cost += _convolution_cost(operation)
        before = [reaches[source] for source in given]
        if None in before or any(uses[1:]):
            continue
        layouts = {channels_first[source] for source in given}
        shape = tuple(operation.get_output_shape(0))
        if len(layouts) > 1 or len(shape) != 4:
            continue
        constants = [
            tuple(source.shape)
            for source, given_by in zip(inputs, sources, strict=True)
            if given_by not in reaches
        ]
        reach, channels_first[name] = _follow(operation, before, constants, layouts.pop())
        reaches[name] = reach
        # Where strides divide the sides, windows can be aligned to them.
        aligned = reach is not None and reach.stride * shape[2] == reach.stride * shape[3] == whole
        if aligned and reach and channels_first[name] and set(waiting) == {name}:
            # Of those that differ by pointwise operations only, the last: an engine computes these together
            # with the convolution before.
            cuts[reach, shape[1]] = _Cut(given_name, reach, (shape[1], shape[2], shape[3]), cost)
    return [cut for cut in cuts.values() if given_names[cut.name] == 1], cost


def _follow(
    operation: Any,
    before: Sequence[Any],
    constants: Sequence[tuple[int, ...]],
    channels_first: bool,
) -> tuple[_Reach | None, bool]:
    """How far an operation's output reaches back, None where that is not known, and its layout."""
    kind = operation.get_type_name()
    reach = before[0]
    channels, rows, columns = (1, 2, 3) if channels_first else (3, 1, 2)
    if kind == "Transpose":
        order = tuple(int(axis) for axis in operation.input_value(1).get_node().data)
        if order == (_TO_CHANNELS_LAST if channels_first else _TO_CHANNELS_FIRST):
            return reach, not channels_first
        return None, channels_first
    if kind == "BatchNormInference" and channels_first:
        return reach, channels_first  # Its numbers are one for each channel, on the second axis.
    if kind == "Gather" and len(constants) == 2:
        axis = operation.input_value(2).get_node().data.item() % 4
        return (reach if axis == channels else None), channels_first
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
        if (
            any((begin[0], end[0], begin[channels], end[channels]))
            or begin[rows] != begin[columns]
            or end[rows] != end[columns]
        ):
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


def _image_as_cut(whole: int) -> _Cut:
    return _Cut("", _Reach(1, 0, 0), (3, whole, whole), 0.0)


def _changed(cut: _Cut, side: int, whole: int) -> tuple[_Integers, _Integers]:
    """The first and last place at a cut that patches of `side` pixels change, one for each place of a patch.

    It depends on the cut alone, and not on those before.
    """
    start = np.arange(whole - side + 1)
    first = -((cut.reach.after - start) // cut.reach.stride)
    last = (start + side - 1 + cut.reach.before) // cut.reach.stride
    return np.maximum(0, first), np.minimum(cut.shape[1] - 1, last)


def _needed(before: _Cut, cut: _Cut, first: _Integers, last: _Integers) -> tuple[int, _Integers]:
    """The side of the windows from one cut to the next in which all changes are right, and their starts."""
    length = before.shape[1]
    stride = cut.reach.stride // before.reach.stride
    back = (cut.reach.before - before.reach.before) // before.reach.stride
    ahead = (cut.reach.after - before.reach.after) // before.reach.stride
    start = np.maximum(0, stride * first - back) // stride * stride
    widest = int((np.minimum(length - 1, stride * last + ahead) - start).max()) + 1
    window = min(length, -(-widest // stride) * stride)
    return window, np.minimum(start, length - window)


def _chain_windows(cuts: Sequence[_Cut], side: int, whole: int) -> list[tuple[int, list[_Window]]]:
    """For each cut, the side of its windows and one for each place of a patch of `side` pixels."""
    chain = []
    for before, cut in itertools.pairwise([_image_as_cut(whole), *cuts]):
        first, last = _changed(cut, side, whole)
        window, start = _needed(before, cut, first, last)
        origin = start // (cut.reach.stride // before.reach.stride)
        places = np.stack([start, origin, first, last], axis=1)
        chain.append((window, [_Window(*place) for place in places.tolist()]))
    return chain


def _step_cost(before: _Cut, cut: _Cut, window: int) -> float:
    """What it costs to follow a patch from one cut to the next."""
    copied = _COST_OF_COPY * before.shape[0] * window**2
    return (cut.cost - before.cost) * (window / before.shape[1]) ** 2 + copied + _COST_OF_CUT


def _rest_cost(cut: _Cut, whole: float) -> float:
    """What the network costs from a cut on."""
    return whole - cut.cost + _COST_OF_COPY * float(np.prod(cut.shape))


def _chain_cost(cuts: Sequence[_Cut], whole: float, side: int, patch: int) -> float:
    """What a patch of a side costs with these cuts."""
    steps = zip(
        itertools.pairwise([_image_as_cut(side), *cuts]), _chain_windows(cuts, patch, side), strict=True
    )
    return sum(_step_cost(*pair, window) for pair, (window, _) in steps) + _rest_cost(cuts[-1], whole)


def _choose_cuts(cuts: Sequence[_Cut], whole: float, side: int) -> list[_Cut]:
    """The cheapest chain of cuts, by dynamic programming.

    What a cut's windows cost depends on the cut before and on none further back, as the windows hold what the
    patch reaches, and that depends on the cut alone.
    """
    if not cuts or side <= _TYPICAL_SIDE:
        return []
    best: list[tuple[float, list[_Cut]]] = [(0.0, [_image_as_cut(side)])]
    for cut in cuts:
        changed = _changed(cut, _TYPICAL_SIDE, side)
        costs = [
            cost + _step_cost(chain[-1], cut, _needed(chain[-1], cut, *changed)[0]) for cost, chain in best
        ]
        cheapest = int(np.argmin(costs))
        best.append((costs[cheapest], [*best[cheapest][1], cut]))
    return min(best[1:], key=lambda one: one[0] + _rest_cost(one[1][-1], whole))[1][1:]


def _split(model: Any, cuts: Sequence[_Cut]) -> list[Any]:
    """The parts of the network between its cuts: one more than there are cuts.

    As the image, the tensors at the cuts have the channels last: a row of a window lies in one piece, and
    OpenVINO computes in this order, so that it need not turn them.
    """
    openvino = import_openvino()
    ops = openvino.opset14
    clone = model.clone()
    operations = {operation.get_friendly_name(): operation for operation in clone.get_ordered_ops()}
    (parameter,) = clone.get_parameters()
    (result,) = clone.get_results()
    parts = []
    for cut in cuts:
        end = operations[cut.name].output(0)
        uses = end.get_target_inputs()
        parts.append(openvino.Model([ops.transpose(end, _TO_CHANNELS_LAST)], [parameter]))
        channels, height, width = cut.shape
        parameter = ops.parameter([1, height, width, channels], end.element_type)
        turned = ops.transpose(parameter, _TO_CHANNELS_FIRST)
        for use in uses:
            use.replace_source_output(turned.output(0))
    return [*parts, openvino.Model([result.input_value(0)], [parameter])]


def _paddings(model: Any) -> list[tuple[list[int], list[int]]]:
    """The paddings of all convolutions and pools, in the network's order."""
    return [
        (list(operation.get_attributes()["pads_begin"]), list(operation.get_attributes()["pads_end"]))
        for operation in model.get_ordered_ops()
        if operation.get_type_name() in _CONVOLUTIONS | _POOLS
    ]
