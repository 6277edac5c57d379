"""Reads a network of any format that OpenVINO knows, as one that takes aligned faces the way we have them.

A SavedModel folder, a frozen TensorFlow graph (.pb), an ONNX file or a TFLite file becomes an OpenVINO model
of one input, (N, 112, 112, 3) float32 RGB in [0, 1], and one output, (N, D). What the file asks for instead,
such as channels first or pixels up to 255, is put before it as operations of the network.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xfv_demo.errors import ModelError
from xfv_demo.models.base import INPUT_SHAPE
from xfv_demo.models.file_content import describe_content
from xfv_demo.models.input_format import InputFormat, NetworkSignature
from xfv_demo.runtime.openvino import import_openvino, reason_of
from xfv_demo.runtime.processes import check_process

Layout = Literal["NHWC", "NCHW"]

_SIDE, _CHANNELS = INPUT_SHAPE[0], INPUT_SHAPE[2]
_KINDS = {".onnx": "ONNX", ".tflite": "TFLite", ".pb": "frozen graph"}

_KINDS_IN_WORDS = "ONNX (.onnx), TFLite (.tflite) or a frozen TensorFlow graph (.pb)"

_UNLIKELY_BATCH = 13

# OpenVINO's front ends are not known to be safe to use from several threads.
_reading = threading.Lock()


@dataclass(frozen=True, eq=False)
class NetworkFile:
    """A network as its file has it, before anything is put before it.

    Attributes:
        path: Where it was read from.
        kind: "SavedModel", "frozen graph", "ONNX" or "TFLite".
        signature: The names and shapes of its input and output.
        layout: Whether the image's channels come last or first.
        batch: How many images it takes at once; None where it takes any number.
        model: The `openvino.Model`, of one input and one output, constants folded.
    """

    path: Path
    kind: str
    signature: NetworkSignature
    layout: Layout
    batch: int | None
    model: Any

    def for_faces(self, input_format: InputFormat) -> Any:
        """The network, taking (N, 112, 112, 3) float32 RGB in [0, 1] and giving (N, D).

        Args:
            input_format: The range and the order of channels that the file's network was trained on.

        Returns:
            An `openvino.Model` of its own; N is free where the network allows it.
        """
        openvino = import_openvino()
        ops = openvino.opset14
        model = self.model.clone()
        (inner,) = model.get_parameters()
        batch = self.batch or -1
        image = ops.parameter([batch, *INPUT_SHAPE], np.float32, name="aligned_faces")
        given = image
        if input_format.channels == "bgr":
            given = ops.gather(given, np.array([2, 1, 0]), np.array(3))
        if input_format.scale != 1:
            given = ops.multiply(given, np.float32(input_format.scale))
        if input_format.shift:
            given = ops.add(given, np.float32(input_format.shift))
        if self.layout == "NCHW":
            given = ops.transpose(given, np.array([0, 3, 1, 2]))
        # Before the inner input goes: its shape may be freer than ours, as in (?, 3, ?, ?).
        for target in inner.output(0).get_target_inputs():
            target.replace_source_output(given.output(0))
        end = model.get_results()[0].input_value(0)
        if len(end.partial_shape) > 2:
            end = ops.reshape(end, np.array([0, self.signature.dimensions]), special_zero=True).output(0)
        whole = openvino.Model([ops.result(end)], [image])
        fold_constants(whole)
        return whole


def read_network_file(path: Path) -> NetworkFile:
    """Reads a network and finds its input for images and its output for embeddings.

    Args:
        path: A SavedModel folder, or a .pb, .onnx or .tflite file.

    Returns:
        The network, and what it takes and gives.

    Raises:
        ImportError: OpenVINO is not installed.
        ModelError: It cannot be read, or takes something other than aligned faces, or gives no embedding; the
            message says what was found.
    """
    kind = "SavedModel" if path.is_dir() else _KINDS.get(path.suffix.lower(), "")
    if not kind:
        raise ModelError(
            f'"{path}" is no model that can be run: give a SavedModel folder, or a file of {_KINDS_IN_WORDS}'
        )
    model = _read(path, kind)
    image, layout = _find_image(path, kind, model)
    embedding, dimensions = _find_embedding(path, model)
    openvino = import_openvino()
    single = openvino.Model([openvino.opset14.result(embedding)], [image])
    fold_constants(single)
    shape = image.get_partial_shape()
    signature = NetworkSignature(
        min(image.output(0).get_names(), default=""),
        _sides(shape) if shape.rank.is_static else (),
        min(embedding.get_names(), default=""),
        dimensions,
    )
    batch = signature.input_shape[0] if signature.input_shape else None
    if batch is not None and _free_batch(single, batch, dimensions):
        batch = None
    return NetworkFile(path, kind, signature, layout, batch, single)


def fold_constants(model: Any) -> None:
    """Computes what of a network does not depend on its input."""
    import_openvino()
    from openvino.passes import ConstantFolding, Manager

    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(model)


def _read(path: Path, kind: str) -> Any:
    """OpenVINO's model, as the file has it."""
    if kind != "SavedModel":
        try:
            # OpenVINO's words for a file that it may not open are its own.
            path.open("rb").close()
        except OSError as error:
            raise ModelError(
                f'"{path}" cannot be read as {kind}: {error.strerror}; check its permissions'
            ) from error
    check_process()
    openvino = import_openvino()
    core = openvino.Core()
    if kind == "ONNX":
        from openvino.frontend.onnx import ConversionExtension

        core.add_extension(ConversionExtension("DequantizeLinear", _dequantized))
    try:
        with _reading:
            return core.read_model(path)
    except (RuntimeError, OSError, MemoryError) as error:
        raise ModelError(f'"{path}" cannot be read as {kind}: {_why_not(path, kind, error)}') from error


def _why_not(path: Path, kind: str, error: Exception) -> str:
    """What keeps a file from being read, as far as it shows."""
    if kind != "SavedModel" and (content := describe_content(path.read_bytes())):
        return f"it is {content}"
    return f"it is broken, or has operations that OpenVINO does not know ({reason_of(error)})"


def _find_image(path: Path, kind: str, model: Any) -> tuple[Any, Layout]:
    """The network's one input, and where its channels are."""
    used = _used_parameters(model)
    if len(used) != 1:
        found = ", ".join(sorted(_described(one.output(0)) for one in used)) or "none"
        raise ModelError(f'"{path}" takes {len(used)} inputs, not one image: {found}')
    (image,) = used
    shape = image.get_partial_shape()
    # Where the file leaves it open, what its kind does.
    layouts: Sequence[Layout] = ("NCHW", "NHWC") if kind == "ONNX" else ("NHWC", "NCHW")
    if image.get_element_type().get_type_name() == "f32":
        for layout in layouts:
            sides = [_SIDE, _SIDE]
            sides.insert(2 if layout == "NHWC" else 0, _CHANNELS)
            if shape.compatible(import_openvino().PartialShape([-1, *sides])):
                return image, layout
    raise ModelError(
        f'"{path}" takes {_described(image.output(0))}, not aligned faces: '
        f"float32 (N, {_SIDE}, {_SIDE}, 3) or (N, 3, {_SIDE}, {_SIDE})"
    )


def _find_embedding(path: Path, model: Any) -> tuple[Any, int]:
    """The output that holds one row of numbers for each image, and how many."""
    ends = {result.input_value(0): result.output(0) for result in model.get_results()}
    rows = [end for end in ends if _row_length(end) is not None]
    if len(rows) > 1:
        rows = [end for end in rows if any("embed" in name.lower() for name in _names(end, ends[end]))]
    if len(rows) != 1:
        found = ", ".join(_described(result, source=end) for end, result in ends.items()) or "nothing"
        raise ModelError(f'"{path}" gives no embedding, one float32 output (N, D); it gives: {found}')
    length = _row_length(rows[0])
    if length == 1:
        raise ModelError(f'"{path}" gives one number for each face, which has no direction to compare')
    if not length:
        raise ModelError(f'"{path}" does not say how long its embedding is; export it with a fixed last axis')
    return rows[0], length


def _row_length(end: Any) -> int | None:
    """How many numbers an output gives for each image, 0 where that is open; None where it gives no row."""
    shape = end.partial_shape
    if end.element_type.get_type_name() != "f32" or shape.rank.is_dynamic or len(shape) not in (2, 4):
        return None
    if any(side.is_dynamic or side.get_length() != 1 for side in list(shape)[2:]):
        return None
    return int(shape[1].get_length()) if shape[1].is_static else 0


def _used_parameters(model: Any) -> list[Any]:
    """The inputs that an output depends on: older ONNX files name their weights as inputs too."""
    seen, stack, used = set(), list(model.get_results()), []
    while stack:
        node = stack.pop()
        # By name, as the nodes themselves are wrapped anew each time.
        if node.get_name() in seen:
            continue
        seen.add(node.get_name())
        if node.get_type_name() == "Parameter":
            used.append(node)
        stack.extend(source.get_source_output().get_node() for source in node.inputs())
    return used


def _free_batch(model: Any, batch: int, dimensions: int) -> bool:
    """Lets a network that was exported for a fixed number of images take any, where it can."""
    openvino = import_openvino()
    (image,) = model.get_parameters()
    fixed = image.get_partial_shape()
    changed = []
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Reshape" or node.input_value(1).get_node().get_type_name() != "Constant":
            continue
        pattern = node.input_value(1).get_node().data.copy()
        source = node.input_value(0).partial_shape
        is_of_batch = source.rank.is_static and len(source) and source[0] == openvino.Dimension(batch)
        # Its first number as "what comes in" instead of the number at export.
        if is_of_batch and len(pattern) and pattern[0] == batch and not (pattern[1:] == 0).any():
            pattern[0] = 0
            free = openvino.opset14.reshape(node.input_value(0), pattern, special_zero=True)
            changed.append((node, free))
    for node, free in changed:
        openvino.utils.replace_node(node, free)
    try:
        # Any number, and as a try, one that no file has: what is fixed further in shows by its shape.
        for count in (_UNLIKELY_BATCH, -1):
            model.reshape(openvino.PartialShape([count, *list(fixed)[1:]]))
            rows, *others = model.output(0).partial_shape
            if rows != openvino.Dimension(count) or others[0] != openvino.Dimension(dimensions):
                break
        else:
            return True
    except RuntimeError:
        pass
    model.reshape(fixed)
    return False


def _dequantized(node: Any) -> list[Any]:
    """ONNX's DequantizeLinear of weights, in blocks too, which OpenVINO's own reading refuses for vectors."""
    ops = import_openvino().opset14
    given = [node.get_input(number) for number in range(node.get_input_size())]
    if any(one.get_node().get_type_name() != "Constant" for one in given):
        raise ModelError("activations are quantised, not the weights alone; take the model in float32")
    values, *scales = (one.get_node().data.astype(np.float32) for one in given)
    axis, block = node.get_attribute("axis", 1), node.get_attribute("block_size", 0)
    scale, zero = (_along(one, values.shape, axis, block) for one in (*scales, np.float32(0))[:2])
    return [ops.constant((values - zero) * scale).output(0)]


def _along(numbers: Any, shape: tuple[int, ...], axis: int, block: int) -> Any:
    """Scales or zero points, one for all, for each place along an axis, or for each block of places."""
    if not np.ndim(numbers):
        return numbers
    if not block:
        return numbers.reshape([-1 if one == axis % len(shape) else 1 for one in range(len(shape))])
    # The last block may be cut off.
    return np.repeat(numbers, block, axis).take(range(shape[axis]), axis)


def _sides(shape: Any) -> tuple[int | None, ...]:
    return tuple(None if side.is_dynamic else int(side.get_length()) for side in shape)


def _names(end: Any, result: Any) -> set[str]:
    return {*end.get_names(), *result.get_names(), end.get_node().get_friendly_name()}


def _described(output: Any, *, source: Any = None) -> str:
    """An input or output in words: its name, type and shape."""
    told = output if source is None else source
    kind = {"f32": "float32", "f16": "float16", "u8": "uint8", "i8": "int8", "i64": "int64", "i32": "int32"}
    type_name = told.element_type.get_type_name()
    shape = told.partial_shape
    sides = "of any shape"
    if shape.rank.is_static:
        sides = f"({', '.join('N' if side is None else str(side) for side in _sides(shape))})"
    names = sorted({*output.get_names(), *told.get_names()})
    return " ".join([*names[:1], kind.get(type_name, type_name), sides])
