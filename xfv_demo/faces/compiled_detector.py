"""MTCNN in OpenVINO: what the package `mtcnn` finds, to the last digits, without TensorFlow.

The package's weights, thresholds and arithmetic are kept, its oddities too: boxes are shares of the photo's
whole sides where TensorFlow takes shares of the way from first to last pixel; a box is suppressed by any
better one that it overlaps, even by one that is suppressed itself.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from xfv_demo.errors import ModelError
from xfv_demo.faces.mtcnn_weights import Network, ignoring_closed_files, weights_file
from xfv_demo.runtime.openvino import import_openvino, reason_of
from xfv_demo.types import FloatArray, Photo

# The pyramid: a face of 20 pixels fills the first network's 12 at its largest level.
_CELL = 12
_LARGEST_SCALE = _CELL / 20
_SCALE_STEP = 0.709
_STRIDE = 2

_PROPOSAL_THRESHOLD, _REFINED_THRESHOLD, _FACE_THRESHOLD = 0.6, 0.7, 0.8
_LEVEL_OVERLAP, _OVERLAP = 0.5, 0.7

_REFINEMENT_SIDE, OUTPUT_SIDE = 24, 48

# Crops that a network is given at once: enough to keep the cores busy, few enough to stay in their caches.
# Of as many shapes at most are the networks made ready.
_REFINED_AT_ONCE, _OUTPUT_AT_ONCE = 16, 6

# Rows that are averaged by one matrix product.
_AVERAGED_AT_ONCE = 32
# How wide a product may be, and how many multiplications it may take, for numpy's OpenBLAS not to share it
# among threads: those wait for each other in a busy loop, which took three times the processor's time where
# all cores were taken.
_PRODUCT_WIDTH = 96
_LARGEST_PRODUCT = 2**18

# Rows of the table of overlaps that are held at once.
_OVERLAPS_AT_ONCE = 256

Boxes = NDArray[np.float64]


class CompiledMtcnn:
    """MTCNN's three networks, compiled for this machine's CPU.

    Safe to call from several threads.

    Args:
        threads: How many a call may use; all cores where None.

    Raises:
        ImportError: OpenVINO is not installed.
        ModelError: OpenVINO cannot run the networks.
    """

    def __init__(self, threads: int | None = None) -> None:
        openvino = import_openvino()
        hint = openvino.properties.hint
        settings = {
            hint.inference_precision: openvino.Type.f32,
            hint.performance_mode: hint.PerformanceMode.LATENCY,
        }
        if threads is not None:
            settings[openvino.properties.inference_num_threads] = threads
        core = openvino.Core()
        try:
            self._propose, self._refine, self._output = (
                _Requests(core.compile_model(build(openvino), "CPU", settings))
                for build in (_proposal_network, _refinement_network, _output_network)
            )
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot run MTCNN's networks: {reason_of(error)}") from error

    def detect(self, image: Photo) -> NDArray[np.float64]:
        """Finds faces in an image as it stands.

        Args:
            image: (height, width, 3) uint8, RGB.

        Returns:
            (N, 16), as the package has it: zero (the image's number); the box's left, top, right and bottom,
            within the image, in pixels; the score in [0, 1]; five x, then five y of the landmarks, in pixels.
            The surest first.
        """
        crops = _Crops(image)
        squares = self._proposals(image)
        if len(squares):
            squares = self._refined(crops, squares)
        return self._faces(crops, squares) if len(squares) else np.empty((0, 16))

    def confirm(self, cuts: NDArray[np.uint8]) -> tuple[FloatArray, FloatArray]:
        """Asks the last network about cuts of an image.

        Args:
            cuts: (N, 48, 48, 3) uint8, RGB.

        Returns:
            The (N, 2) probabilities of no face and of a face, and the (N, 10) landmarks, five x and then five
            y, as shares of a cut's side.
        """
        _, landmarks, probabilities = _in_parts(
            self._output, _OUTPUT_AT_ONCE, len(cuts), lambda part: _normalized(cuts[part])
        )
        return probabilities, landmarks

    def _proposals(self, image: Photo) -> Boxes:
        """The first network's squares, (N, 4), from all levels of the image pyramid."""
        pyramid = _pyramid(*image.shape[:2])
        boxes, scores = [np.empty((0, 4))], [np.empty(0, np.float32)]
        for scale, pixels in zip(pyramid.scales, pyramid(image), strict=True):
            offsets, face = self._propose(pixels)
            down, across = np.nonzero(face[0] > np.float32(_PROPOSAL_THRESHOLD))
            corner = np.stack([across, down], axis=1) * _STRIDE + 1
            level = np.concatenate([corner, corner + _CELL - 1], axis=1)
            level = (level + offsets[0][:, down, across].T * (_CELL - 1)) / scale
            level_scores = face[0][down, across]
            kept = unsuppressed(level, level_scores, _LEVEL_OVERLAP)
            boxes.append(level[kept])
            scores.append(level_scores[kept])
        together = np.concatenate(boxes)
        return _squares(together[unsuppressed(together, np.concatenate(scores), _OVERLAP)])

    def _refined(self, crops: "_Crops", squares: Boxes) -> Boxes:
        """The second network's squares, (N, 4)."""
        offsets, probabilities = _in_parts(
            self._refine, _REFINED_AT_ONCE, len(squares), lambda part: crops(squares[part], _REFINEMENT_SIDE)
        )
        scores = probabilities[:, 1]
        likely = np.flatnonzero(scores.astype(np.float64) > _REFINED_THRESHOLD)
        boxes = _adjusted(squares[likely], offsets[likely])
        return _squares(boxes[unsuppressed(boxes, scores[likely], _OVERLAP)])

    def _faces(self, crops: "_Crops", squares: Boxes) -> NDArray[np.float64]:
        """The last network's rows, (N, 16)."""
        offsets, landmarks, probabilities = _in_parts(
            self._output, _OUTPUT_AT_ONCE, len(squares), lambda part: crops(squares[part], OUTPUT_SIDE)
        )
        scores = probabilities[:, 1]
        likely = np.flatnonzero(scores.astype(np.float64) > _FACE_THRESHOLD)
        squares, scores = squares[likely], scores[likely]
        sides = squares[:, 2:] - squares[:, :2] + 1
        points = landmarks[likely].reshape(-1, 2, 5) * sides[:, :, None] + squares[:, :2, None] - 1
        boxes = _adjusted(squares, offsets[likely])
        kept = unsuppressed(boxes, scores, _OVERLAP, of_smaller=True)
        last = np.tile(np.array(crops.size[::-1]) - 1, 2)
        return np.concatenate(
            [
                np.zeros((len(kept), 1)),
                np.clip(boxes[kept], 0, last),
                scores[kept, None],
                points[kept].reshape(-1, 10).astype(np.float32),
            ],
            axis=1,
        )


class _Requests:
    """A compiled network that several threads may call: each call has an inference request to itself."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: list[Any] = []

    def __call__(self, given: FloatArray) -> list[FloatArray]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        request.infer([given], share_inputs=True)
        results = [tensor.data.copy() for tensor in request.output_tensors]
        self._idle.append(request)
        return results


def _in_parts(
    network: _Requests, at_once: int, count: int, part: Callable[[slice], FloatArray]
) -> list[FloatArray]:
    """Runs a network on `count` crops, of which `part` gives those of a slice, and joins its outputs."""
    parts = [network(part(slice(start, start + at_once))) for start in range(0, count, at_once)]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def _normalized(pixels: NDArray[np.uint8]) -> FloatArray:
    """Pixels as the networks take them, in [-1, 1]; exact."""
    normalized = pixels.astype(np.float32, order="C")
    normalized -= 127.5
    normalized *= 1 / 128
    return normalized


class _Strip(NamedTuple):
    """Some rows of an image, and what they give to all levels of its pyramid.

    Attributes:
        given: The rows.
        weights: (rows made, rows given) float32, of all levels one below the other.
        made: Which rows of which level come from which rows of the product, and whether to add them to what
            the strip before has given.
    """

    given: slice
    weights: FloatArray
    made: list[tuple[int, slice, slice, bool]]


class _Block(NamedTuple):
    """Some columns of a level of the pyramid.

    Attributes:
        given: The image's columns under them.
        weights: (columns given, columns made) float32.
        made: The columns.
    """

    given: slice
    weights: FloatArray
    made: slice


class _Area(NamedTuple):
    """How a side of an image is averaged down: the area under each pixel that is made, as TensorFlow has it.

    Attributes:
        begins: (pixels made,) float32, where the area under each begins, in pixels given.
        ends: The like.
        step: The length of an area.
    """

    begins: FloatArray
    ends: FloatArray
    step: np.float32

    @classmethod
    def of(cls, given: int, made: int) -> "_Area":
        # TensorFlow has these in float32: at the end of a long side, up to a thousandth of a pixel off.
        step = np.float32(given) / np.float32(made)
        edges = np.arange(made + 1, dtype=np.float32) * step
        # An end that lies beyond the side by that counts the last pixel for more.
        return cls(edges[:-1], edges[1:], step)

    def weights(self, made: slice, given: slice, length: int) -> FloatArray:
        """The shares, (made, given), that pixels given have in pixels made."""
        lower = np.arange(given.start, given.stop, dtype=np.float32)
        upper = lower + 1
        if given.stop == length:
            upper[-1] = np.inf
        covered = np.minimum(self.ends[made, None], upper) - np.maximum(self.begins[made, None], lower)
        shares: FloatArray = np.maximum(covered, 0) / self.step
        return shares


class _Pyramid:
    """How images of one size are reduced to the levels of their pyramid, by averaging.

    Down all columns first, to all levels at once, as products of small matrices: level by level, a product
    for a few rows each, takes longer.

    Attributes:
        scales: By how much each level is smaller than the image.
    """

    def __init__(self, height: int, width: int) -> None:
        levels = round(math.log(min(height, width) / _CELL) / -math.log(_SCALE_STEP) - 1)
        self.scales = [_LARGEST_SCALE * _SCALE_STEP**level for level in range(levels)]
        self._sizes = [(int(height * scale), int(width * scale)) for scale in self.scales]
        down = [_Area.of(height, rows) for rows, _ in self._sizes]
        self._strips = [
            _strip(down, slice(start, min(start + _AVERAGED_AT_ONCE, height)), height)
            for start in range(0, height if down else 0, _AVERAGED_AT_ONCE)
        ]
        self._blocks = [list(_blocks(3 * rows, width, columns)) for rows, columns in self._sizes]

    def __call__(self, image: Photo) -> Iterator[FloatArray]:
        """The levels of an image's pyramid, the largest first: (rows, 3, columns) float32, normalized."""
        width = image.shape[1]
        # Rows of one colour each, cut into parts that are multiplied one by one.
        length = 3 * width
        parts = -(-length // _PRODUCT_WIDTH)
        lines = np.zeros((_AVERAGED_AT_ONCE, parts * _PRODUCT_WIDTH), np.float32)
        flat = [np.empty((rows, length), np.float32) for rows, _ in self._sizes]
        for given, weights, made in self._strips:
            normalized = _normalized(image[given].transpose(0, 2, 1))
            lines[: len(normalized), :length] = normalized.reshape(len(normalized), length)
            product = np.empty((len(weights), lines.shape[1]), np.float32)
            np.matmul(weights, _parted(lines[: len(normalized)]), out=_parted(product))
            for level, rows, of, is_begun in made:
                if is_begun:
                    flat[level][rows] += product[of, :length]
                else:
                    flat[level][rows] = product[of, :length]
        for rows_done, blocks, (height, columns) in zip(flat, self._blocks, self._sizes, strict=True):
            colours = rows_done.reshape(3 * height, width)
            level_pixels = np.empty((3 * height, columns), np.float32)
            for block in blocks:
                np.matmul(colours[:, block.given], block.weights, out=level_pixels[:, block.made])
            yield level_pixels.reshape(height, 3, columns)


# A photo's, and that of the same photo turned and within a border.
_pyramid = functools.lru_cache(maxsize=4)(_Pyramid)


def _parted(lines: FloatArray) -> FloatArray:
    """Lines, (N, parts * _PRODUCT_WIDTH), as (parts, N, _PRODUCT_WIDTH)."""
    return lines.reshape(len(lines), -1, _PRODUCT_WIDTH).transpose(1, 0, 2)


def _strip(levels: list[_Area], given: slice, height: int) -> _Strip:
    weights: list[FloatArray] = []
    made = []
    count = 0
    for level, area in enumerate(levels):
        first = int(np.searchsorted(area.ends, given.start, side="right"))
        stop = int(np.searchsorted(area.begins, given.stop, side="left"))
        weights.append(area.weights(slice(first, stop), given, height))
        begun = first + (area.begins[first] < given.start)
        made.append((level, slice(first, begun), slice(count, count + begun - first), True))
        made.append((level, slice(begun, stop), slice(count + begun - first, count + stop - first), False))
        count += stop - first
    rows = np.concatenate(weights)
    return _Strip(given, rows, [part for part in made if part[1].start < part[1].stop])


def _blocks(lines: int, width: int, columns: int) -> Iterator[_Block]:
    area = _Area.of(width, columns)
    at_once = max(1, math.isqrt(int(_LARGEST_PRODUCT / (lines * area.step))))
    for first in range(0, columns, at_once):
        made = slice(first, min(first + at_once, columns))
        given = slice(int(area.begins[first]), min(math.ceil(area.ends[made.stop - 1]), width))
        yield _Block(given, area.weights(made, given, width).T, made)


class _Crops:
    """Cuts squares out of an image, as TensorFlow's crop_and_resize does.

    Attributes:
        size: The image's height and width.
    """

    def __init__(self, image: Photo) -> None:
        self.size = image.shape[:2]
        # A pixel as one number: four channels are taken at once.
        self._pixels = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA).view(np.uint32).reshape(-1)

    def __call__(self, boxes: Boxes, side: int) -> FloatArray:
        """The boxes' content, bilinearly, zero beyond the image's edges.

        Args:
            boxes: (N, 4) left, top, right and bottom in pixels, which are taken for shares of the image's
                sides, and these for shares of the way from the first pixel to the last.
            side: What the content is scaled to, in pixels.

        Returns:
            (N, side, side, 3) float32, normalized.
        """
        height, width = self.size
        left, right, in_x, across = _samples(boxes[:, 0], boxes[:, 2], width, side)
        top, bottom, in_y, down = _samples(boxes[:, 1], boxes[:, 3], height, side)
        top, bottom = top * width, bottom * width

        def line(start: NDArray[np.intp]) -> FloatArray:
            first = self._taken(start[:, :, None] + left[:, None, :])
            second = self._taken(start[:, :, None] + right[:, None, :])
            second -= first
            second *= across[:, None, :, None]
            second += first
            return second

        upper, crops = line(top), line(bottom)
        crops -= upper
        crops *= down[:, :, None, None]
        crops += upper
        crops[~(in_y[:, :, None] & in_x[:, None, :])] = 0
        return np.ascontiguousarray(crops[..., :3])

    def _taken(self, places: NDArray[np.intp]) -> FloatArray:
        return _normalized(self._pixels.take(places).view(np.uint8).reshape(*places.shape, 4))


def _samples(
    begins: NDArray[np.float64], ends: NDArray[np.float64], length: int, side: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_], FloatArray]:
    """Where boxes are sampled along one axis.

    Args:
        begins: (N,) in pixels.
        ends: (N,) in pixels.
        length: Of the image.
        side: How many samples a box has.

    Returns:
        Of each sample, (N, side): the pixel before it and the one after, whether it lies within the image,
        and its way from one to the other, in [0, 1).
    """
    # In float32, as TensorFlow: a sample on the image's edge lies within it or not by the last digit.
    begin, end = ((edges / length).astype(np.float32)[:, None] for edges in (begins, ends))
    last = np.float32(length - 1)
    step = (end - begin) * last / np.float32(side - 1)
    places = begin * last + np.arange(side, dtype=np.float32) * step
    within = (places >= 0) & (places <= last)
    places = np.where(within, places, 0)
    before = np.floor(places)
    return before.astype(np.intp), np.ceil(places).astype(np.intp), within, places - before


def unsuppressed(
    boxes: Boxes, scores: FloatArray, threshold: float, *, of_smaller: bool = False
) -> NDArray[np.intp]:
    """Which boxes overlap no better one, whether or not that one is kept itself.

    Args:
        boxes: (N, 4) left, top, right and bottom.
        scores: (N,).
        threshold: The share of the two boxes' union that they may have in common.
        of_smaller: Whether the share is of the smaller box instead.

    Returns:
        Their indexes, best first.
    """
    order = np.argsort(scores.astype(np.float64))[::-1]
    left, top, right, bottom = boxes[order].T
    area = (right - left) * (bottom - top)
    suppressed = np.zeros(len(boxes), np.bool_)
    for start in range(0, len(boxes), _OVERLAPS_AT_ONCE):
        # The better ones down, all that follow across.
        better, worse = np.s_[start : start + _OVERLAPS_AT_ONCE, None], np.s_[None, start:]
        across = np.minimum(right[better[0], None], right[worse]) - np.maximum(
            left[better[0], None], left[worse]
        )
        down = np.minimum(bottom[better[0], None], bottom[worse]) - np.maximum(
            top[better[0], None], top[worse]
        )
        common = np.maximum(across, 0) * np.maximum(down, 0)
        one, other = area[better[0], None], area[worse]
        whole = np.minimum(one, other) if of_smaller else one + other - common
        with np.errstate(divide="ignore", invalid="ignore"):
            suppressed[start:] |= np.triu(common / whole > threshold, 1).any(axis=0)
    return order[~suppressed]


def _squares(boxes: Boxes) -> Boxes:
    """Boxes widened to squares about the same centres."""
    sides = boxes[:, 2:] - boxes[:, :2]
    side = sides.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + sides * 0.5 - side * 0.5
    return np.concatenate([corner, corner + side], axis=1)


def _adjusted(boxes: Boxes, offsets: FloatArray) -> Boxes:
    """Boxes whose edges are moved by shares of their sides."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)
    return boxes + offsets * sides.astype(np.float32)


class _Layers:
    """Builds a network from the package's weights, taken in their order. Channels come before rows.

    Args:
        openvino: The package.
        network: Whose weights.
    """

    def __init__(self, openvino: Any, network: Network) -> None:
        import joblib

        with ignoring_closed_files():
            self._weights = iter(joblib.load(weights_file(network)))
        self._ops = openvino.opset14

    def _constant(self, values: FloatArray) -> Any:
        return self._ops.constant(np.ascontiguousarray(values))

    def convolution(self, given: Any) -> Any:
        kernel, bias = next(self._weights), next(self._weights)
        convolved = self._ops.convolution(
            given, self._constant(kernel.transpose(3, 2, 0, 1)), [1, 1], [0, 0], [0, 0], [1, 1]
        )
        return self._ops.add(convolved, self._constant(bias[:, None, None]))

    def activation(self, given: Any) -> Any:
        return self._ops.prelu(given, self._constant(next(self._weights).reshape(-1)))

    def pooling(self, given: Any, side: int, *, padded: bool) -> Any:
        padding = "same_upper" if padded else "valid"
        pooled = self._ops.max_pool(given, [2, 2], [1, 1], [0, 0], [0, 0], [side, side], auto_pad=padding)
        # The second output has the places of the maxima.
        return pooled.output(0)

    def dense(self, given: Any) -> Any:
        return self._product(given, next(self._weights))

    def flat_dense(self, given: Any, channels: int) -> Any:
        """A layer on what the package flattens by columns, rows and channels."""
        matrix = next(self._weights)
        side = math.isqrt(len(matrix) // channels)
        matrix = matrix.reshape(side, side, channels, -1).transpose(2, 1, 0, 3).reshape(matrix.shape)
        return self._product(self._ops.reshape(given, np.array([0, -1]), special_zero=True), matrix)

    def _product(self, given: Any, matrix: FloatArray) -> Any:
        product = self._ops.matmul(given, self._constant(matrix), False, False)
        return self._ops.add(product, self._constant(next(self._weights)[None]))


def _proposal_network(openvino: Any) -> Any:
    """A level, (rows, 3, columns), to (1, 4, ...) offsets and the (1, ...) probability of a face."""
    layers, ops = _Layers(openvino, "pnet"), openvino.opset14
    level = ops.parameter([-1, 3, -1], np.float32)
    x = ops.unsqueeze(ops.transpose(level, np.array([1, 0, 2])), np.array(0))
    x = layers.pooling(layers.activation(layers.convolution(x)), 2, padded=True)
    x = layers.activation(layers.convolution(x))
    x = layers.activation(layers.convolution(x))
    offsets = layers.convolution(x)
    face = ops.gather(ops.softmax(layers.convolution(x), 1), np.array(1), np.array(1))
    return openvino.Model([ops.result(offsets), ops.result(face)], [level], "proposals")


def _refinement_network(openvino: Any) -> Any:
    """(N, 24, 24, 3) crops to (N, 4) offsets and (N, 2) probabilities."""
    layers, ops = _Layers(openvino, "rnet"), openvino.opset14
    crops = ops.parameter([-1, _REFINEMENT_SIDE, _REFINEMENT_SIDE, 3], np.float32)
    x = ops.transpose(crops, np.array([0, 3, 1, 2]))
    x = layers.pooling(layers.activation(layers.convolution(x)), 3, padded=True)
    x = layers.pooling(layers.activation(layers.convolution(x)), 3, padded=False)
    x = layers.activation(layers.convolution(x))
    x = layers.activation(layers.flat_dense(x, 64))
    offsets = layers.dense(x)
    probabilities = ops.softmax(layers.dense(x), 1)
    return openvino.Model([ops.result(offsets), ops.result(probabilities)], [crops], "refinement")


def _output_network(openvino: Any) -> Any:
    """(N, 48, 48, 3) crops to (N, 4) offsets, (N, 10) landmarks and (N, 2) probabilities."""
    layers, ops = _Layers(openvino, "onet"), openvino.opset14
    crops = ops.parameter([-1, OUTPUT_SIDE, OUTPUT_SIDE, 3], np.float32)
    x = ops.transpose(crops, np.array([0, 3, 1, 2]))
    x = layers.pooling(layers.activation(layers.convolution(x)), 3, padded=True)
    x = layers.pooling(layers.activation(layers.convolution(x)), 3, padded=False)
    x = layers.pooling(layers.activation(layers.convolution(x)), 2, padded=True)
    x = layers.activation(layers.convolution(x))
    x = layers.activation(layers.flat_dense(x, 128))
    offsets, landmarks = layers.dense(x), layers.dense(x)
    probabilities = ops.softmax(layers.dense(x), 1)
    outputs = [ops.result(one) for one in (offsets, landmarks, probabilities)]
    return openvino.Model(outputs, [crops], "output")
