"""Runs a network in OpenVINO, which is several times as fast on a CPU as TensorFlow.

The graph is read by OpenVINO's runtime: its model converter reports over the network what it does.
"""

import functools
import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.errors import ModelError
from xfv_demo.models.incremental import Box, PatchedNetwork, side_by_side
from xfv_demo.models.similarity import unit_length
from xfv_demo.runtime.openvino import import_openvino, reason_of
from xfv_demo.types import FloatArray

Precision = Literal["float32", "bfloat16"]

# One shape for all calls: the network is compiled once, and an image's numbers do not depend on how many
# others it came with. Several such batches run side by side, each on a thread of its own. Measured with the
# bundled model on two cores that others used too: 32 images take 234 ms one by one, 253 ms by 2, 274 ms by 4
# and 321 ms by 8; by 8 with both cores on one batch 367 ms. One by one, each image of a large model would
# bring all of its weights into the cache anew.
_BATCH = 2

# How far embeddings may be from TensorFlow's, as a cosine distance. Measured with the bundled model and a
# ResNet50: 1e-7 in float32, 5e-4 in bfloat16.
_TOLERANCE: dict[Precision, float] = {"float32": 1e-5, "bfloat16": 1e-3}


class OpenVinoNetwork:
    """A network with one input and one output, compiled for this machine's CPU.

    Safe to call from several threads.

    Attributes:
        description: The engine, its version and the precision, for reports.
        precision: What it computes in.

    Args:
        model: An `openvino.Model` of one input, (N, height, width, channels), and one output, (N, ...); it is
            changed. A fixed N is kept.
        precision: What the CPU computes in.

    Raises:
        ImportError: OpenVINO is not installed.
        ModelError: OpenVINO cannot run this network, or the CPU has no such precision.
    """

    def __init__(
        self,
        model: Any,
        *,
        precision: Precision = "float32",
    ) -> None:
        if precision not in get_args(Precision):
            raise ValueError(f'precision must be one of {", ".join(get_args(Precision))}, not "{precision}"')
        openvino = import_openvino()
        hint = openvino.properties.hint
        core = openvino.Core()
        if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ModelError("this CPU does not compute in bfloat16; ask for float32")
        self.description = f"OpenVINO {openvino.__version__.partition('-')[0]}, {precision}"
        shape = model.input(0).partial_shape
        self._batch = shape[0].get_length() if shape[0].is_static else _BATCH
        self.precision = precision
        self._patched: PatchedNetwork | None = None
        self._lock = threading.Lock()
        settings = {
            hint.inference_precision: getattr(
                openvino.Type, {"float32": "f32", "bfloat16": "bf16"}[precision]
            ),
            # Cores that share a batch wait for each other after each layer.
            hint.performance_mode: hint.PerformanceMode.THROUGHPUT,
            # Pinned, the first threads of two networks, or of two parts of one, would share the first core.
            hint.enable_cpu_pinning: False,
        }
        self._compile = functools.partial(core.compile_model, device_name="CPU", config=settings)
        try:
            if shape[0].is_dynamic:
                model.reshape(openvino.PartialShape([self._batch, *list(shape)[1:]]))
            self._compiled = self._compile(model)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot run this network: {reason_of(error)}") from error
        self._output = self._compiled.output(0)
        # The photo's variants are followed through it, once they are asked for.
        self._model: Any = model if shape[0].is_dynamic else None

    @property
    def dimensions(self) -> int:
        """How many numbers it gives for an image."""
        return int(np.prod(tuple(self._output.shape)[1:]))

    def __call__(self, images: FloatArray) -> FloatArray:
        """Runs the network.

        Args:
            images: (N, *image_shape) float32. N may be 0.

        Returns:
            (N, ...) float32.
        """
        results = np.empty((len(images), *tuple(self._output.shape)[1:]), np.float32)
        starts = range(0, len(images), self._batch)
        # Requests of its own, as they belong to one thread; making one takes 0.1 ms.
        idle = [self._compiled.create_infer_request() for _ in starts[: side_by_side(self._compiled)]]
        running: deque[tuple[Any, FloatArray]] = deque()
        for start in starts:
            request = idle.pop() if idle else self._finish(*running.popleft())
            given, part = request.get_input_tensor(0).data, images[start : start + self._batch]
            given[: len(part)], given[len(part) :] = part, 0
            request.start_async()
            running.append((request, results[start : start + self._batch]))
        for request, place in running:
            self._finish(request, place)
        return results

    def _finish(self, request: Any, place: FloatArray) -> Any:
        """Waits for a request, and puts what it gives in its place."""
        request.wait()
        place[:] = request.get_tensor(self._output).data[: len(place)]
        return request

    def patched(self, photo: FloatArray) -> Callable[[FloatArray, Sequence[Box]], FloatArray]:
        """Makes ready to run variants of a photo, each of which differs from it in a small box.

        What a box cannot reach is computed once, for the photo. Where the network does not allow that, or
        where a box is too large for it to pay, the variants are run as they are.

        Args:
            photo: (height, width, channels) float32.

        Returns:
            A function of (N, height, width, channels) variants and their N boxes, outside of which they equal
            the photo, that returns what calling the network with the variants does.
        """
        network = self._cut_for_patches()
        if network is None:
            return lambda images, _boxes: self(images)
        prepared = network.photo(photo)

        def run(images: FloatArray, boxes: Sequence[Box]) -> FloatArray:
            small = np.array([network.saves(box.side) for box in boxes], np.bool_)
            results = np.empty((len(images), *tuple(self._output.shape)[1:]), np.float32)
            if small.any():
                results[small] = prepared.run(images[small], list(itertools.compress(boxes, small)))
            if not small.all():
                results[~small] = self(images[~small])
            return results

        return run

    def _cut_for_patches(self) -> PatchedNetwork | None:
        """This network, cut, once it has shown that it gives the same; None where it cannot be."""
        with self._lock:
            if self._model is not None:
                # The parts share its weights; nothing else needs it.
                model, self._model = self._model, None
                self._patched = self._cut(model)
            return self._patched

    def _cut(self, model: Any) -> PatchedNetwork | None:
        photo, other = np.random.default_rng(0).random((2, *tuple(model.input(0).shape)[1:]), np.float32)
        # In a corner, in the middle, and wider than high at the lower edge. As large as the occlusion maps'
        # middle patches, for which the network is compiled thereby.
        side = min(15, len(photo) // 5)
        boxes = [
            Box(0, 0, side, side),
            Box(3 * side, 4 * side, 4 * side, 5 * side),
            Box(len(photo) - 2, 1, len(photo), 1 + side),
        ]
        variants = np.stack([photo] * len(boxes))
        for variant, box in zip(variants, boxes, strict=True):
            place = slice(box.top, box.bottom), slice(box.left, box.right)
            variant[place] = other[place]
        try:
            model.reshape([1, *photo.shape])
            network = PatchedNetwork(model, self._compile)
            given = network.photo(photo).run(variants, boxes)
            check_agreement(given, self(variants), self.precision)
        except (RuntimeError, ModelError):
            return None
        return network


def check_agreement(given: FloatArray, expected: ArrayLike, precision: Precision) -> None:
    """Checks that another way of running a network gives the same embeddings.

    Args:
        given: (N, D) float32, of any length.
        expected: What they should be. Where these are not finite, the model is broken and nothing is checked.
        precision: What the given ones were computed in.

    Raises:
        ModelError: They are further apart than the precision explains.
    """
    if not np.isfinite(np.asarray(expected)).all():
        return
    if given.shape != np.shape(expected):
        raise ModelError(f"it gives numbers of shape {given.shape}, not {np.shape(expected)}")
    # Of unit vectors, |a - b|^2 is twice the cosine distance, also where one has no direction.
    apart = np.square(unit_length(given) - unit_length(expected)).sum(axis=1).max() / 2
    if not apart <= _TOLERANCE[precision]:
        raise ModelError(
            f"its embeddings are {apart:.1g} in cosine distance from what they should be, "
            f"more than {_TOLERANCE[precision]:.0e}"
        )
