"""Runs a frozen TensorFlow graph in OpenVINO, which is several times as fast on a CPU.

Only forward passes: gradients stay with TensorFlow.

OpenVINO's Python package reports over the network that it was imported, and what its model converter does.
Here it is imported without its telemetry, and the graph is read by its runtime, which sends nothing.
"""

import functools
import itertools
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from xfv_demo.errors import ModelError
from xfv_demo.models.incremental import Box, PatchedNetwork, side_by_side
from xfv_demo.models.similarity import unit_length
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

_TELEMETRY = "openvino_telemetry"
_importing = threading.Lock()


class OpenVinoNetwork:
    """A network with one input and one output, compiled for this machine's CPU.

    Safe to call from several threads.

    Attributes:
        description: The engine, its version and the precision, for reports.

    Args:
        graph_def: A frozen and flat TensorFlow `GraphDef`.
        input_name: The tensor that images go in by, such as "image:0".
        output_name: The tensor that is wanted.
        image_shape: Of one image.
        batch: How many images the network takes at once; None where it takes any number.
        precision: What the CPU computes in.

    Raises:
        ImportError: OpenVINO is not installed.
        ModelError: OpenVINO cannot run this network, or the CPU has no such precision.
    """

    def __init__(
        self,
        graph_def: Any,
        input_name: str,
        output_name: str,
        image_shape: tuple[int, ...],
        *,
        batch: int | None = None,
        precision: Precision = "float32",
    ) -> None:
        if precision not in get_args(Precision):
            raise ValueError(f'precision must be one of {", ".join(get_args(Precision))}, not "{precision}"')
        openvino = _import_without_telemetry()
        hint = openvino.properties.hint
        core = openvino.Core()
        if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ModelError("this CPU does not compute in bfloat16; ask for float32")
        self.description = f"OpenVINO {openvino.__version__.partition('-')[0]}, {precision}"
        self._batch = batch or _BATCH
        self._precision = precision
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
        # The runtime reads graphs from files only.
        with tempfile.TemporaryDirectory(prefix="xfv-graph-", ignore_cleanup_errors=True) as folder:
            file = Path(folder) / "frozen.pb"
            file.write_bytes(graph_def.SerializeToString())
            try:
                self._model = core.read_model(file)
                self._model.reshape({input_name: [self._batch, *image_shape]})
                self._compile = functools.partial(core.compile_model, device_name="CPU", config=settings)
                self._compiled = self._compile(self._model)
                self._output = self._compiled.output(output_name)
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[-1].strip()
                raise ModelError(f"OpenVINO cannot run this network: {reason}") from error

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
            check_agreement(given, self(variants), self._precision)
        except (RuntimeError, ModelError):
            return None
        return network


def check_agreement(given: FloatArray, expected: FloatArray, precision: Precision) -> None:
    """Checks that another way of running a network gives the same embeddings.

    Args:
        given: (N, D) float32, of any length.
        expected: What they should be. Where these are not finite, the model is broken and nothing is checked.
        precision: What the given ones were computed in.

    Raises:
        ModelError: They are further apart than the precision explains.
    """
    if not np.isfinite(expected).all():
        return
    # Of unit vectors, |a - b|^2 is twice the cosine distance, also where one has no direction.
    apart = np.square(unit_length(given) - unit_length(expected)).sum(axis=1).max() / 2
    if not apart <= _TOLERANCE[precision]:
        raise ModelError(
            f"its embeddings are {apart:.1g} in cosine distance from what they should be, "
            f"more than {_TOLERANCE[precision]:.0e}"
        )


def _import_without_telemetry() -> Any:
    """OpenVINO's package; where it was not yet imported, with the stub that it carries for telemetry."""
    with _importing:
        before = sys.modules.get(_TELEMETRY)
        # None makes an import fail as if the package were not there.
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
        try:
            import openvino
            import openvino.properties.hint
        finally:
            if before is None:
                del sys.modules[_TELEMETRY]
            else:
                sys.modules[_TELEMETRY] = before
    return openvino
