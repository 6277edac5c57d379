"""An embedder whose weights can be trained, for the xCos training that moves the backbone too.

A SavedModel is loaded as one frozen graph, in which weights are constants like any other. Which of them are
weights is told by the operations that use them, and where in the network these stand. As in `head`, Keras is
imported with this module.
"""

import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from keras import layers

from xfv_demo.errors import ModelError, XfvError
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.models.frozen_graph import FrozenGraph
from xfv_demo.models.savedmodel import SavedModelEmbedder

_KERNEL_OPERATIONS = frozenset(
    {"Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"}
)
_BATCH_NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_SUMS = frozenset({"Add", "AddV2"})
# A weight is still that weight after these; the first input is the one that counts.
_REARRANGEMENTS = frozenset(
    {"Identity", "ReadVariableOp", "Reshape", "Squeeze", "ExpandDims", "Transpose", "BroadcastTo", "Neg"}
)

_CARD = """# {name}, fine-tuned

A SavedModel that `xfv_demo` wrote: its weights are not those of the model it was made from, but were trained
further with an xCos head. Results and calibrations of that model do not hold for this one.

| what | value |
| --- | --- |
| made from | {name} |
| that model's sha256 | `{sha256}` |
| input | `{image}`, float32 (N, 112, 112, 3), RGB in [0, 1], aligned to the ArcFace template |
| `serving_default` | `embedding`, float32 (N, {dimensions}) |
| trained numbers | {count:,} |

The licence of the model it was made from holds for this one too.
"""


class TrainableBackbone(layers.Layer):
    """A model's network, with variables where it has weights.

    Kernels, biases, PReLU slopes, and batch norm's scales and offsets are trained. Batch norm runs as in
    inference, with the means and variances that the model came with. What stands before the first kernel,
    such as the scaling of the input, stays as it is; so do single numbers in sums and products, such as
    epsilons.

    Being a Keras layer, a Keras model that has it as an attribute trains, saves and restores its variables.

    Attributes:
        name_of_origin: The name of the model that it was made from.
        sha256_of_origin: The hash of that model's files.
        grid_shape: Height, width and channels of the last feature grid.
        dimensions: D, the embedding's length.

    Args:
        embedder: The model. It stays as it is, whatever becomes of the variables.
        **options: As for any Keras layer.

    Raises:
        ModelError: The model has no feature grid, has before it no weights in float32 that could be trained,
            or takes only a fixed number of images.
    """

    def __init__(self, embedder: SavedModelEmbedder, **options: Any) -> None:
        super().__init__(**options)
        frozen = embedder.frozen_graph
        if frozen.batch is not None:
            raise ModelError(
                f'model "{embedder.name}" cannot be trained: it was exported for {frozen.batch} images at a '
                "time; export it for any number"
            )
        self.name_of_origin = embedder.name
        self.sha256_of_origin = embedder.sha256
        self.grid_shape = embedder.grid_shape
        self.dimensions = embedder.dimensions
        if not trainable_constants(_needed(frozen, frozen.grid), frozen.image):
            raise ModelError(
                f'model "{embedder.name}" cannot be trained: no layer before its last feature grid has '
                "weights in float32"
            )
        needed = _needed(frozen, frozen.embedding)
        self._weight_of = {}
        # By name, since the saved states of Keras go by the variables' order.
        nodes = {node.name: node for node in needed.node}
        for name in sorted(trainable_constants(needed, frozen.image)):
            value = tf.make_ndarray(nodes[name].attr["value"].tensor)
            # Keras takes no slashes in names.
            self._weight_of[name] = self.add_weight(
                shape=value.shape, initializer=value, name=name.replace("/", ".")
            )
        slim = tf.compat.v1.GraphDef(versions=needed.versions)
        slim.node.extend(node for node in needed.node if node.name not in self._weight_of)
        self._frozen = FrozenGraph(slim, frozen.image, frozen.grid, frozen.embedding, None)
        spec = tf.TensorSpec((None, ALIGNED_SIZE, ALIGNED_SIZE, 3), tf.float32)
        self._network = tf.function(self._imported, input_signature=[spec])
        self.built = True

    def grids_and_embeddings(self, images: Any) -> tuple[Any, Any]:
        """Runs the network with its present weights.

        Differentiable with respect to the weights and the images; can be called in a `tf.function`.

        Args:
            images: (N, 112, 112, 3) float32, RGB, in [0, 1].

        Returns:
            (N, h, w, C) feature grids, as `grid_shape` says, and (N, D) embeddings of length 1.
        """
        grids, embeddings = self._network(tf.convert_to_tensor(images, tf.float32))
        return grids, tf.math.l2_normalize(embeddings, axis=1)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the network with its present weights as a SavedModel for `SavedModelEmbedder`.

        Beside it goes a README.md that says what it was made from.

        Args:
            folder: Where to; it must not be there yet, or be empty.

        Raises:
            XfvError: The folder holds something, or cannot be written.
        """
        target = Path(folder)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise XfvError(f'"{target}" is there already; give a new folder for the fine-tuned model')
        # "serving_default_input_image:0" is the placeholder for the signature's "input_image".
        placeholder = self._frozen.image.partition(":")[0].rpartition("/")[2]
        image = placeholder.removeprefix("serving_default_")
        spec = tf.TensorSpec((None, ALIGNED_SIZE, ALIGNED_SIZE, 3), tf.float32, name=image)
        card = _CARD.format(
            name=self.name_of_origin,
            sha256=self.sha256_of_origin,
            image=image,
            dimensions=self.dimensions,
            count=self.count_params(),
        )
        module = tf.Module()
        module.weights = [weight.value for weight in self.trainable_variables]
        embed = tf.function(lambda images: {"embedding": self._imported(images)[1]}, input_signature=[spec])
        # Written beside and then renamed, so that no half of a model is ever there.
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            tf.saved_model.save(module, str(part), {"serving_default": embed})
            (part / "README.md").write_text(card, encoding="utf-8")
            if target.exists():
                target.rmdir()
            part.replace(target)
        except (OSError, tf.errors.OpError) as error:
            reason = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
            raise XfvError(
                f'the fine-tuned model cannot be written to "{target}": {reason}; give another folder'
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _imported(self, images: Any) -> tuple[Any, Any]:
        """Sets the network down in the graph that is being traced."""
        given = {self._frozen.image: images}
        given |= {f"{name}:0": weight.value.read_value() for name, weight in self._weight_of.items()}
        wanted = [self._frozen.grid, self._frozen.embedding]
        grids, embeddings = tf.import_graph_def(self._frozen.graph_def, given, wanted, name="")
        return grids, embeddings


def _needed(frozen: FrozenGraph, tensor: str) -> Any:
    """The part of the graph that a tensor is computed by, without what operations only wait for."""
    graph_def = tf.compat.v1.GraphDef()
    graph_def.CopyFrom(frozen.graph_def)
    for node in graph_def.node:
        # What orders side effects has no meaning where there are none, and would hold unused weights.
        node.input[:] = [source for source in node.input if not source.startswith("^")]
    return tf.compat.v1.graph_util.extract_sub_graph(graph_def, [tensor.partition(":")[0]])


def trainable_constants(graph_def: Any, image: str) -> set[str]:
    """Finds the constants of a frozen graph that training may change.

    Args:
        graph_def: A flat `GraphDef` of a network in inference.
        image: The name of the tensor for the images.

    Returns:
        The names of the float32 constants that are kernels, or, behind the first kernel on their way from the
        image, biases, slopes, scales and offsets. Empty where there is no kernel among them.
    """
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    dependent = {graph.get_tensor_by_name(image).op}
    behind_kernel: set[Any] = set()
    kernels: set[Any] = set()
    others: set[Any] = set()
    # Imported operations come in the order in which they can be computed.
    for operation in graph.get_operations():
        sources = {tensor.op for tensor in operation.inputs}
        if not sources & dependent:
            continue
        dependent.add(operation)
        parameters = [tensor for tensor in operation.inputs if tensor.op not in dependent]
        if operation.type in _KERNEL_OPERATIONS:
            kernels |= _weights(parameters)
            behind_kernel.add(operation)
        elif sources & behind_kernel:
            behind_kernel.add(operation)
            if operation.type == "BiasAdd":
                others |= _weights(parameters)
            elif operation.type in _BATCH_NORMS:
                # Image, scale, offset; then mean and variance, which are not trained.
                others |= _weights(operation.inputs[1:3])
            elif operation.type in _SUMS:
                others |= _several(_weights(parameters, through=_offset_terms))
            elif operation.type == "Mul":
                others |= _several(_weights(parameters, through=_scale_factors))
    return {weight.name for weight in kernels | others} if kernels else set()


def _nothing(_operation: Any) -> list[Any]:
    return []


def _scale_factors(operation: Any) -> list[Any]:
    """Of a written-out batch norm's scale / sqrt(variance + epsilon): the scale; the root ends the way."""
    return list(operation.inputs) if operation.type == "Mul" else []


def _offset_terms(operation: Any) -> list[Any]:
    """Of a written-out batch norm's offset - mean * scale: the offset. Means are subtracted or multiplied."""
    if operation.type in _SUMS:
        return list(operation.inputs)
    return list(operation.inputs[:1]) if operation.type == "Sub" else []


def _weights(tensors: Iterable[Any], through: Any = _nothing) -> set[Any]:
    """The float32 constants that tensors are made of, by rearranging them or by what `through` follows."""
    found: set[Any] = set()
    left = list(tensors)
    while left:
        tensor = left.pop()
        if tensor.op.type == "Const":
            if tensor.dtype == tf.float32:
                found.add(tensor.op)
        elif tensor.op.type in _REARRANGEMENTS:
            left.append(tensor.op.inputs[0])
        else:
            left.extend(through(tensor.op))
    return found


def _several(constants: Collection[Any]) -> set[Any]:
    """Those of more than one number."""
    return {constant for constant in constants if np.prod(constant.outputs[0].shape) > 1}
