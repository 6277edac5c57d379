"""From aligned faces to embeddings: what an embedder is, and the one that runs a TensorFlow SavedModel."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.alignment import ALIGNED_SIZE
from xfv_demo.assets import folder_sha256, locate_model
from xfv_demo.engine import OpenVinoNetwork, Precision, check_agreement
from xfv_demo.errors import ModelError
from xfv_demo.grid import AffineHead, find_affine_head, last_grid
from xfv_demo.patching import Box
from xfv_demo.processes import check_process
from xfv_demo.similarity import unit_length
from xfv_demo.types import FloatArray

_INPUT_SHAPE = (ALIGNED_SIZE, ALIGNED_SIZE, 3)
_SERVE_TAG = "serve"
_DEFAULT_SIGNATURE = "serving_default"

# In bytes. Smaller ones stay in the graph, where TensorFlow can fold them.
_LARGE_CONSTANT = 2**18

Engine = Literal["auto", "openvino", "tensorflow"]


class Embedder(Protocol):
    """Anything that turns aligned faces into embeddings. All that black-box explainers need."""

    def embed(self, images: FloatArray) -> FloatArray:
        """Embeds aligned faces.

        Args:
            images: (N, 112, 112, 3) float32, RGB, in [0, 1].

        Returns:
            (N, D) float32, each row of length 1.
        """
        ...


class GradientEmbedder(Embedder, Protocol):
    """An embedder that can be differentiated. What gradient explainers need."""

    def embedding_gradients(self, images: FloatArray, weights: FloatArray) -> FloatArray:
        """Gradients of weighted sums of the unit-length embedding with respect to the image.

        Args:
            images: (N, 112, 112, 3) float32, RGB, in [0, 1].
            weights: (K, N, D) float32: K weightings of each image's embedding.

        Returns:
            (K, N, 112, 112, 3) float32: d(sum_d weights[k, n, d] ê_d(x)) / dx at x = images[n].
        """
        ...


class PatchEmbedder(Embedder, Protocol):
    """An embedder that is faster for many variants of one photo. What occlusion explainers are glad of."""

    def patched(self, photo: FloatArray) -> Callable[[FloatArray, Sequence[Box]], FloatArray]:
        """Makes ready to embed variants of a photo, each of which differs from it in a small box.

        Args:
            photo: (112, 112, 3) float32, RGB, in [0, 1].

        Returns:
            A function of (N, 112, 112, 3) variants and their N boxes, outside of which they equal the photo,
            that returns what `embed` does for the variants.
        """
        ...


class GridEmbedder(Embedder, Protocol):
    """An embedder that shows its last feature grid. What grid explainers need."""

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the last feature grid."""
        ...

    def feature_grid(self, images: FloatArray) -> FloatArray:
        """The last activations that still have a place in the image.

        Args:
            images: (N, 112, 112, 3) float32, RGB, in [0, 1].

        Returns:
            (N, height, width, channels) float32, as `grid_shape` says.
        """
        ...


class AffineGridEmbedder(GridEmbedder, Protocol):
    """A grid embedder that may be affine after its last grid. What the grid decomposition needs."""

    @property
    def affine_head(self) -> AffineHead:
        """What turns the feature grid into the embedding, before it is normalised.

        Raises:
            ModelError: What follows the grid is not affine.
        """
        ...


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


class SavedModelEmbedder:
    """Runs any SavedModel that takes aligned faces and gives embeddings.

    The model's serving signature is loaded as a graph and its variables are frozen into constants. That
    needs no Keras of any version, loads exports that carry optimizer slots (which `tf.saved_model.load`
    refuses without tf_keras; it is asked only where the graph does not load), lets TensorFlow fold constants,
    and shows the inner tensors of foreign models.

    Embeddings come from OpenVINO, which runs the same graph several times as fast, once two images have
    shown that it gives what TensorFlow gives. Gradients and feature grids come from TensorFlow.

    Safe to call from several threads. Pickled, it is loaded again from its folder in the other process. A
    process that was forked from one which has used a model gets an `XfvError`.

    Attributes:
        name: The model's name, for messages and reports.
        folder: Where the SavedModel lies.
        dimensions: D, the embedding's length.
        engine: What computes the embeddings, its version and precision, for reports.
        notice: A line that the user should see, such as why this model runs and not another; or None.

    Args:
        folder: A SavedModel with one input (N, 112, 112, 3) float32, RGB in [0, 1], and an output (N, D).
        name: The model's name; the folder's where None.
        batch_size: How many images at most go through TensorFlow at once. Bounds the memory.
        engine: "openvino", "tensorflow", or "auto": OpenVINO where it is installed and can run this model,
            else TensorFlow, and `notice` says why.
        precision: "bfloat16" is faster still on CPUs that compute in it, and moves embeddings by up to 1e-3
            in cosine distance. OpenVINO only.
        notice: See above.

    Raises:
        ModelError: The folder is no such SavedModel, or the engine that was asked for cannot run it; says
            what is wrong.
        ValueError: A setting is out of its range.

    Example:
        >>> from xfv_demo import SavedModelEmbedder
        >>> embedder = SavedModelEmbedder("assets/models/mobilefacenet", engine="tensorflow")
        >>> embedder.name, embedder.dimensions
        ('mobilefacenet', 192)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str | None = None,
        batch_size: int = 64,
        engine: Engine = "auto",
        precision: Precision = "float32",
        notice: str | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        if engine not in get_args(Engine):
            raise ValueError(f'engine must be one of {", ".join(get_args(Engine))}, not "{engine}"')
        if engine == "tensorflow" and precision != "float32":
            raise ValueError(f"TensorFlow runs models in float32, not {precision}")
        self.folder = Path(folder)
        self.name = name or self.folder.resolve().name.removesuffix(".tf")
        self.notice = notice
        self._options = {
            "name": self.name,
            "batch_size": batch_size,
            "engine": engine,
            "precision": precision,
            "notice": notice,
        }
        self._frozen, self._signature, expected = _load_frozen(self.folder)
        self.dimensions = self._signature.dimensions
        # A model exported for a fixed number of images takes that number and no other.
        self._batch_size = self._signature.batch or batch_size
        self._forward, self.engine, trouble = self._choose_engine(expected, engine, precision)
        if trouble:
            self.notice = f"{notice}. {trouble}" if notice else trouble
        self._precision = precision

    def __repr__(self) -> str:
        """The call that makes this embedder."""
        return f"{type(self).__name__}({str(self.folder)!r}, name={self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """What a copy in another process is made of: the folder, the settings, and the weights' hash."""
        return _load_again, (type(self), str(self.folder.resolve()), self._options, self.sha256)

    @functools.cached_property
    def sha256(self) -> str:
        """A hash over all of the model's files, to know it again by."""
        return folder_sha256(self.folder)

    @property
    def fingerprint(self) -> str:
        """What the embeddings depend on beside the images, to keep them by: the weights and the precision."""
        return self.sha256 if self._precision == "float32" else f"{self.sha256}-{self._precision}"

    def embed(self, images: ArrayLike) -> FloatArray:
        """Embeds aligned faces.

        Args:
            images: (N, 112, 112, 3), RGB, in [0, 1]. N may be 0.

        Returns:
            (N, D) float32, each row of length 1.

        Raises:
            ValueError: The images are not of that kind.
            ModelError: The model gives numbers that are not finite.
        """
        return self._unit(self._forward(_checked(images)))

    def patched(self, photo: ArrayLike) -> Callable[[FloatArray, Sequence[Box]], FloatArray]:
        """Makes ready to embed variants of a photo, each of which differs from it in a small box.

        With OpenVINO, what a box cannot reach in the network is computed once, for the photo.

        Args:
            photo: (112, 112, 3), RGB, in [0, 1].

        Returns:
            A function of (N, 112, 112, 3) variants and their N boxes, outside of which they equal the photo,
            that returns what `embed` does for the variants, and raises what it raises.

        Raises:
            ValueError: The photo is not of that kind.
        """
        (image,) = _checked(np.asarray(photo)[None])
        if not isinstance(self._forward, OpenVinoNetwork):
            return lambda images, _boxes: self.embed(images)
        forward = self._forward.patched(image)
        return lambda images, boxes: self._unit(forward(_checked(images), boxes))

    def embedding_gradients(self, images: ArrayLike, weights: ArrayLike) -> FloatArray:
        """Gradients of weighted sums of the unit-length embedding with respect to the image.

        One forward pass serves all K weightings; each takes one backward pass.

        Args:
            images: (N, 112, 112, 3), RGB, in [0, 1].
            weights: (K, N, D): K weightings of each image's embedding. They count as constants.

        Returns:
            (K, N, 112, 112, 3) float32: d(sum_d weights[k, n, d] ê_d(x)) / dx at x = images[n].

        Raises:
            ValueError: The images or weights are not of that kind.
        """
        import tensorflow as tf

        images = _checked(images)
        weights = np.asarray(weights, dtype=np.float32)
        if weights.ndim != 3 or weights.shape[1:] != (len(images), self.dimensions):
            raise ValueError(
                f"weights must be (K, {len(images)}, {self.dimensions}), not {weights.shape}: "
                "one row for each image, one column for each dimension"
            )
        gradients = np.zeros((len(weights), *images.shape), np.float32)
        for rows, padded in self._batches(images):
            x = tf.constant(padded)
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(x)
                unit = tf.math.l2_normalize(self._function(x)[0], axis=1)
            count = rows.stop - rows.start
            for k, weighting in enumerate(weights[:, rows]):
                upstream = np.zeros((len(padded), self.dimensions), np.float32)
                upstream[:count] = weighting
                gradients[k, rows] = tape.gradient(unit, x, output_gradients=tf.constant(upstream))[:count]
        return gradients

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the last feature grid.

        Raises:
            ModelError: The network has none, such as a vision transformer.
        """
        return self._grid[1]

    def feature_grid(self, images: ArrayLike) -> FloatArray:
        """The last activations that still have a place in the image.

        Args:
            images: (N, 112, 112, 3), RGB, in [0, 1].

        Returns:
            (N, height, width, channels) float32, as `grid_shape` says.

        Raises:
            ModelError: The network has no such grid.
            ValueError: The images are not of that kind.
        """
        function, shape = self._grid
        return self._run(function, _checked(images), shape)

    @functools.cached_property
    def affine_head(self) -> AffineHead:
        """What turns the feature grid into the embedding, before it is normalised.

        Raises:
            ModelError: The network has no such grid, or what follows it is not affine.
        """
        grids = self.feature_grid(_trial_images())
        _, grid, output = self._tensors
        head = find_affine_head(self._graph, grid, output, grids)
        if head is None:
            raise ModelError(
                f'model "{self.name}" is not affine after its last feature grid, so its cosine is no sum '
                "over the grid's cells"
            )
        return head

    @property
    def frozen_graph(self) -> FrozenGraph:
        """The model's graph, for those who make another network of it; not to be changed.

        Raises:
            ModelError: The network has no feature grid.
        """
        image, grid, output = (tensor.name for tensor in self._tensors)
        return FrozenGraph(self._frozen, image, grid, output, self._signature.batch)

    @functools.cached_property
    def _tensors(self) -> tuple[Any, Any, Any]:
        """The image's, the last grid's and the embedding's."""
        graph = self._graph.graph
        image, output = (
            graph.get_tensor_by_name(name) for name in (self._signature.input, self._signature.output)
        )
        grid = last_grid(image, output)
        if grid is None or not grid.shape[1:].is_fully_defined():
            raise ModelError(
                f'model "{self.name}" has no feature grid: no layer keeps places in the image apart'
            )
        return image, grid, output

    @functools.cached_property
    def _grid(self) -> tuple[Any, tuple[int, int, int]]:
        image, grid, _ = self._tensors
        height, width, channels = (int(side) for side in grid.shape[1:])
        return self._graph.prune(image, [grid]), (height, width, channels)

    def _unit(self, embeddings: FloatArray) -> FloatArray:
        if not np.isfinite(embeddings).all():
            raise ModelError(
                f'model "{self.name}" gives embeddings that are not finite; its weights are broken'
            )
        return unit_length(embeddings)

    @functools.cached_property
    def _graph(self) -> Any:
        """TensorFlow's function, made when it is first needed: it takes half a gigabyte for a large model."""
        check_process()
        return _as_function(self._frozen)

    @functools.cached_property
    def _function(self) -> Any:
        graph = self._graph.graph
        return self._graph.prune(
            graph.get_tensor_by_name(self._signature.input),
            [graph.get_tensor_by_name(self._signature.output)],
        )

    def _choose_engine(
        self, expected: FloatArray, engine: Engine, precision: Precision
    ) -> tuple[Callable[[FloatArray], FloatArray], str, str | None]:
        """What computes raw embeddings, its description, and why it is not the faster one."""
        import tensorflow as tf

        def tensorflow(images: FloatArray) -> FloatArray:
            return self._run(self._function, images, (self.dimensions,))

        own = f"TensorFlow {tf.__version__}, float32"
        if engine == "tensorflow":
            return tensorflow, own, None
        try:
            network = OpenVinoNetwork(
                self._frozen,
                self._signature.input,
                self._signature.output,
                _INPUT_SHAPE,
                batch=self._signature.batch,
                precision=precision,
            )
            check_agreement(network(_trial_images()), expected, precision)
        except (ImportError, ModelError) as error:
            reason = "OpenVINO is not installed" if isinstance(error, ImportError) else str(error)
            if engine == "openvino" or precision != "float32":
                raise ModelError(
                    f'model "{self.name}" cannot run in {precision} in OpenVINO: {reason}'
                ) from error
            slower = f'TensorFlow runs "{self.name}", which takes several times as long for occlusion maps'
            return tensorflow, own, f"{slower}: {reason}"
        return network, network.description, None

    def _run(self, function: Any, images: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        import tensorflow as tf

        results = np.zeros((len(images), *shape), np.float32)
        for rows, padded in self._batches(images):
            results[rows] = function(tf.constant(padded))[0][: rows.stop - rows.start]
        return results

    def _batches(self, images: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
        """Slices of the images, padded with black where the model takes only full batches."""
        for start in range(0, len(images), self._batch_size):
            part = images[start : start + self._batch_size]
            rows = slice(start, start + len(part))
            if self._signature.batch is not None and len(part) < self._batch_size:
                part = np.concatenate(
                    [part, np.zeros((self._batch_size - len(part), *_INPUT_SHAPE), np.float32)]
                )
            yield rows, part


def load_embedder(
    model: str | os.PathLike[str] = "auto",
    *,
    allow_download: bool = True,
    progress: bool = False,
    batch_size: int = 64,
    engine: Engine = "auto",
    precision: Precision = "float32",
) -> SavedModelEmbedder:
    """Finds and loads a model.

    Args:
        model: "auto", "mobilefacenet" (bundled), "arcface-octuplet" (fetched once), or a SavedModel folder.
            Auto takes ArcFaceOctupletLoss from demo/, from the cache or from the network, else the bundled
            model; the embedder's `notice` then says why.
        allow_download: Whether the network may be asked.
        progress: Whether a download shows a progress bar.
        batch_size: How many images at most go through TensorFlow at once.
        engine: "openvino", "tensorflow" or "auto", as for `SavedModelEmbedder`.
        precision: "float32" or "bfloat16", as for `SavedModelEmbedder`.

    Returns:
        The embedder, ready to use.

    Raises:
        ModelError: There is no such model, it is of the wrong kind, or the engine cannot run it.
        DownloadError: It could not be fetched (never with "auto").

    Example:
        >>> import numpy as np
        >>> from xfv_demo import load_embedder
        >>> embedding = load_embedder("mobilefacenet").embed(np.zeros((1, 112, 112, 3), np.float32))
        >>> embedding.shape, round(float(np.linalg.norm(embedding)), 5)
        ((1, 192), 1.0)
    """
    located = locate_model(model, allow_download=allow_download, progress=progress)
    return SavedModelEmbedder(
        located.folder,
        name=located.name,
        batch_size=batch_size,
        engine=engine,
        precision=precision,
        notice=located.notice,
    )


def _load_again(
    kind: type[SavedModelEmbedder], folder: str, options: dict[str, Any], sha256: str
) -> SavedModelEmbedder:
    """Makes the embedder that was pickled."""
    embedder = kind(folder, **options)
    if embedder.sha256 != sha256:
        raise ModelError(
            f'the model in "{folder}" is no longer the one that was pickled: its files have changed; load it '
            "anew"
        )
    return embedder


def _checked(images: ArrayLike) -> FloatArray:
    """What a network is to be run with, if it may be run in this process."""
    check_process()
    array = np.asarray(images, dtype=np.float32)
    if array.ndim != 4 or array.shape[1:] != _INPUT_SHAPE:
        raise ValueError(f"aligned faces must be (N, 112, 112, 3), not {array.shape}")
    # `not (a and b)` rather than `a or b`, so that NaN fails too.
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(f"aligned faces must lie in [0, 1], not [{array.min():.3g}, {array.max():.3g}]")
    return array


def _trial_images() -> FloatArray:
    """Two images to try an engine on."""
    return np.random.default_rng(0).random((2, *_INPUT_SHAPE), np.float32)


def _load_frozen(folder: Path) -> tuple[Any, _Signature, FloatArray]:
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
    return np.resize(_trial_images(), (signature.batch or 2, *_INPUT_SHAPE))


def _as_function(frozen: Any) -> Any:
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
    if image.dtype != tf.float32.as_datatype_enum or not _fits(shape, (None, *_INPUT_SHAPE)):
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
