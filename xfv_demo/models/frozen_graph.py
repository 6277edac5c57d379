"""A SavedModel's serving function as one frozen graph."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xfv_demo.errors import ModelError
from xfv_demo.models.base import INPUT_SHAPE
from xfv_demo.runtime.processes import check_process
from xfv_demo.types import FloatArray

_SERVE_TAG = "serve"

_DEFAULT_SIGNATURE = "serving_default"


# In bytes. Smaller ones stay in the graph, where TensorFlow can fold them.
_LARGE_CONSTANT = 2**18


@dataclass(frozen=True)
class _Signature:
    """Where images go in and embeddings come out of a graph."""

    input: str
    output: str
    dimensions: int
    batch: int | None


@dataclass(frozen=True, eq=False)
class FrozenGraph:
    """A model as one flat graph, and where in it what is.

    Attributes:
        graph_def: TensorFlow's `GraphDef`; the model's weights are constants in it.
        image: The name of the tensor for the aligned faces.
        grid: The name of the last feature grid's.
        embedding: The name of the embedding's, which may or may not be of length 1.
        batch: How many images it takes at once; None where it takes any number.
    """

    graph_def: Any
    image: str
    grid: str
    embedding: str
    batch: int | None


def trial_images() -> FloatArray:
    """Two images to try an engine on."""
    return np.random.default_rng(0).random((2, *INPUT_SHAPE), np.float32)


def load_frozen(folder: Path) -> tuple[Any, _Signature, FloatArray]:
    """Loads a SavedModel's serving graph.

    Returns:
        One flat `GraphDef` whose variables are constants; where images go in and embeddings come out; and
        what the model, not yet frozen, gives for the trial images.
    """
    import tensorflow as tf

    if not (folder / "saved_model.pb").is_file():
        raise ModelError(
            f'"{folder}" is no SavedModel: it holds no saved_model.pb; give the folder that does'
        )
    check_process()
    key, chosen = _serving_signature(folder)
    signature = _read_signature(folder, chosen)
    v1 = tf.compat.v1
    level = v1.logging.get_verbosity()
    # The loader warns that it is for TensorFlow 1; no other one loads exports with optimizer slots.
    v1.logging.set_verbosity(v1.logging.ERROR)
    try:
        return _frozen_by_name(folder, signature)
    except _loading_errors() as error:
        try:
            return _frozen_by_object(folder, key, chosen, signature)
        except _loading_errors():
            raise ModelError(f'"{folder}" cannot be loaded as a SavedModel: {_reason(error)}') from error
    finally:
        v1.logging.set_verbosity(level)


def _loading_errors() -> tuple[type[Exception], ...]:
    """What TensorFlow raises where a SavedModel cannot be loaded, run or frozen."""
    import tensorflow as tf

    return (OSError, RuntimeError, ValueError, KeyError, AttributeError, TypeError, tf.errors.OpError)


def _reason(error: Exception) -> str:
    """The line of an error that says what is wrong; others say where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.endswith(":") and not line.startswith(("Detected at", "File"))]
    return (told or lines or [type(error).__name__])[0]


def _frozen_by_name(folder: Path, signature: _Signature) -> tuple[Any, _Signature, FloatArray]:
    """Loads a SavedModel as TensorFlow 1 does, its variables by the names that the graph has for them."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        v1.saved_model.loader.load(session, [_SERVE_TAG], str(folder))
        output = signature.output.rpartition(":")[0]
        needed = v1.graph_util.extract_sub_graph(graph.as_graph_def(), [output])
        expected = session.run(signature.output, {signature.input: _trial_batch(signature)})[:2]
        flat = _inline_functions(needed, signature.output)
        return v1.graph_util.convert_variables_to_constants(session, flat, [output]), signature, expected


def _frozen_by_object(
    folder: Path, key: str, chosen: Any, signature: _Signature
) -> tuple[Any, _Signature, FloatArray]:
    """Loads a SavedModel as TensorFlow 2 does, its variables by the objects that hold them.

    What `tf.saved_model.save` writes of a Keras 3 model has each variable twice in the graph. The one that is
    restored is not the one that is read: only the objects say that they are the same.
    """
    import tensorflow as tf

    # What converters use for the same end; there is no public name for it.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # Held until the end: the function does not hold the variables.
    loaded = tf.saved_model.load(str(folder))
    function = loaded.signatures[key]
    (image,) = chosen.inputs
    (output,) = (name for name, tensor in chosen.outputs.items() if tensor.name == signature.output)
    given = function(**{image: tf.constant(_trial_batch(signature))})
    frozen = convert_variables_to_constants_v2(function)
    # Tables and other resources stay inputs, which could not be given here.
    (placeholder,) = frozen.inputs
    embedding = frozen.outputs[sorted(given).index(output)].name
    graph_def = tf.compat.v1.graph_util.extract_sub_graph(
        frozen.graph.as_graph_def(), [embedding.rpartition(":")[0]]
    )
    return (
        graph_def,
        replace(signature, input=placeholder.name, output=embedding),
        given[output].numpy()[:2],
    )


def _trial_batch(signature: _Signature) -> FloatArray:
    """The trial images, as many as the model takes at once."""
    return np.resize(trial_images(), (signature.batch or 2, *INPUT_SHAPE))


def as_function(frozen: Any) -> Any:
    """A graph as a function of eager TensorFlow, its large constants beside it.

    TensorFlow copies a function's graph several times over to optimize it: with the weights of a ResNet50 in
    it, that takes gigabytes.
    """
    import tensorflow as tf

    weights, slim = {}, tf.compat.v1.GraphDef()
    slim.CopyFrom(frozen)
    del slim.node[:]
    for node in frozen.node:
        if node.op == "Const" and node.attr["value"].tensor.ByteSize() > _LARGE_CONSTANT:
            weights[f"{node.name}:0"] = tf.constant(tf.make_ndarray(node.attr["value"].tensor))
        else:
            kept = slim.node.add()
            kept.CopyFrom(node)
            # What order operations wait for does not matter where none has side effects.
            kept.input[:] = [source for source in node.input if not source.startswith("^")]

    def whole() -> None:
        beside = {name: tf.identity(weight) for name, weight in weights.items()}
        tf.import_graph_def(slim, beside, name="")

    return tf.compat.v1.wrap_function(whole, [])


def _serving_signature(folder: Path) -> tuple[str, Any]:
    """The name of the signature to call, and TensorFlow's `SignatureDef`."""
    # There is no public name for it that loads nothing.
    from tensorflow.python.saved_model.loader_impl import parse_saved_model

    try:
        graphs = parse_saved_model(str(folder)).meta_graphs
    except _loading_errors() as error:
        raise ModelError(f'"{folder}" cannot be loaded as a SavedModel: {_reason(error)}') from error
    serving = [graph for graph in graphs if set(graph.meta_info_def.tags) == {_SERVE_TAG}]
    if not serving:
        tags = ", ".join(sorted({tag for graph in graphs for tag in graph.meta_info_def.tags})) or "none"
        raise ModelError(f'"{folder}" holds no graph tagged "{_SERVE_TAG}"; its tags are: {tags}')
    signatures = serving[0].signature_def
    names = sorted(name for name in signatures if not name.startswith("__"))
    if _DEFAULT_SIGNATURE in signatures:
        return _DEFAULT_SIGNATURE, signatures[_DEFAULT_SIGNATURE]
    if len(names) == 1:
        return names[0], signatures[names[0]]
    found = ", ".join(names) or "none"
    raise ModelError(
        f'"{folder}" has no signature "{_DEFAULT_SIGNATURE}" to call; it has: {found}; save it with '
        f'signatures={{"{_DEFAULT_SIGNATURE}": ...}}, or a Keras model by model.export'
    )


def _read_signature(folder: Path, chosen: Any) -> _Signature:
    """Finds the input for images and the output for embeddings, or says what there is instead."""
    import tensorflow as tf

    if len(chosen.inputs) != 1:
        raise ModelError(
            f'"{folder}" takes {len(chosen.inputs)} inputs, not one image: {", ".join(sorted(chosen.inputs))}'
        )
    (image,) = chosen.inputs.values()
    shape = _shape(image)
    if image.dtype != tf.float32.as_datatype_enum or not _fits(shape, (None, *INPUT_SHAPE)):
        kind = tf.dtypes.as_dtype(image.dtype).name
        raise ModelError(f'"{folder}" takes {kind} {shape}, not aligned faces float32 (N, 112, 112, 3)')
    outputs = {
        name: output
        for name, output in chosen.outputs.items()
        if output.dtype == tf.float32.as_datatype_enum and len(_shape(output) or ()) == 2
    }
    if len(outputs) > 1:
        outputs = {name: output for name, output in outputs.items() if "embed" in name.lower()}
    if len(outputs) != 1:
        found = ", ".join(f"{name} {_shape(output)}" for name, output in sorted(chosen.outputs.items()))
        raise ModelError(f'"{folder}" gives no embedding, a float32 output (N, D); it gives: {found}')
    (embedding,) = outputs.values()
    dimensions = (_shape(embedding) or ())[1]
    if dimensions == 1:
        raise ModelError(f'"{folder}" gives one number for each face, which has no direction to compare')
    if dimensions is None:
        raise ModelError(
            f'"{folder}" does not say how long its embedding is; export it with a fixed last axis'
        )
    return _Signature(image.name, embedding.name, dimensions, (shape or (None,))[0])


def _shape(tensor_info: Any) -> tuple[int | None, ...] | None:
    if tensor_info.tensor_shape.unknown_rank:
        return None
    return tuple(None if side.size < 0 else int(side.size) for side in tensor_info.tensor_shape.dim)


def _fits(shape: tuple[int | None, ...] | None, wanted: tuple[int | None, ...]) -> bool:
    if shape is None:
        return True
    return len(shape) == len(wanted) and all(
        side is None or target is None or side == target for side, target in zip(shape, wanted, strict=True)
    )


def _inline_functions(graph_def: Any, output: str) -> Any:
    """Replaces calls of functions by what they compute.

    A frozen graph with calls has no gradients, and does not show its inner tensors.

    Args:
        graph_def: A graph with a library of functions.
        output: The name of the tensor that is wanted of it.

    Returns:
        The same computation as one flat graph.
    """
    import tensorflow as tf

    # What tf.lite and TensorRT converters use for the same end; there is no public name for it.
    from tensorflow.python.grappler import tf_optimizer

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        meta_graph = tf.compat.v1.train.export_meta_graph(graph=graph, graph_def=graph_def)
    # The collection by which the optimizer knows what must be kept.
    meta_graph.collection_def["train_op"].node_list.value.append(output)
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1
    config.graph_options.rewrite_options.optimizers.append("function")
    return tf_optimizer.OptimizeGraph(config, meta_graph)
