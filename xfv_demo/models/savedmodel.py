"""The embedder that runs a TensorFlow SavedModel: in OpenVINO, held to what TensorFlow gives."""

import functools
import os
import threading
from pathlib import Path
from typing import Any, Literal, get_args

from xfv_demo.errors import ModelError
from xfv_demo.models.compiled import CompiledEmbedder
from xfv_demo.models.equivalence import Equivalent, find_equivalent
from xfv_demo.models.frozen_graph import FrozenGraph
from xfv_demo.models.input_format import InputFormat
from xfv_demo.models.network_file import NetworkFile, read_network_file
from xfv_demo.models.openvino import Precision
from xfv_demo.models.registry import folder_sha256
from xfv_demo.models.tensorflow_model import TensorFlowModel
from xfv_demo.types import FloatArray

Engine = Literal["auto", "openvino", "tensorflow"]


def as_savedmodel(embedder: CompiledEmbedder, purpose: str) -> "SavedModelEmbedder":
    """The same embedder, for what needs a SavedModel: a graph to change, or to train.

    Args:
        embedder: The model.
        purpose: What needs it, as a message begins.

    Raises:
        ModelError: It is another kind of model.
    """
    if not isinstance(embedder, SavedModelEmbedder):
        raise ModelError(
            f'{purpose} needs a SavedModel, and "{embedder.path}" is none; take the one it was made from'
        )
    return embedder


class SavedModelEmbedder(CompiledEmbedder):
    """Runs any SavedModel that takes aligned faces and gives embeddings.

    Embeddings and feature grids come from OpenVINO, which reads the model by itself and is several times as
    fast as TensorFlow. That it gives what TensorFlow gives is found out once for a model, and held to at each
    start (`equivalence.find_equivalent`). What OpenVINO does not run, or has no gradients of, runs in
    TensorFlow, which is imported then.

    Safe to call from several threads. Pickled, it is loaded again from its folder in the other process. A
    process that was forked from one which has used a model gets an `XfvError`.

    Attributes:
        name: The model's name, for messages and reports.
        path: Where the SavedModel lies.
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
        >>> embedder = SavedModelEmbedder("assets/models/mobilefacenet")
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
        self.path = Path(folder)
        self.input_format, self.format_source = InputFormat("0..1", "rgb"), "SavedModel"
        self._batch_size, self._asked_engine, self._precision = batch_size, engine, precision
        self._lock = threading.Lock()
        self._network = None
        trouble = None
        name = name or self.path.resolve().name.removesuffix(".tf")
        if engine != "tensorflow":
            equivalent = self._equivalent
            self._network = equivalent.network
            if equivalent.network is None:
                if engine == "openvino" or precision != "float32":
                    raise ModelError(
                        f'model "{name}" cannot run in {precision} in OpenVINO: {equivalent.reason}'
                    )
                trouble = (
                    f'TensorFlow runs "{name}", which takes several times as long for occlusion maps: '
                    f"{equivalent.reason}"
                )
        ran = self._network or self._tensorflow
        self._describe(
            name=name,
            dimensions=ran.dimensions,
            engine=ran.description,
            precision=precision,
            notices=(notice, trouble),
        )
        # What was given, as the rest is found anew when this is pickled and loaded again.
        self._given_notice = notice

    def _settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "batch_size": self._batch_size,
            "engine": self._asked_engine,
            "precision": self._precision,
            "notice": self._given_notice,
        }

    @functools.cached_property
    def _equivalent(self) -> Equivalent:
        return find_equivalent(self.path, self.sha256, lambda: self._tensorflow, self._precision)

    @functools.cached_property
    def sha256(self) -> str:
        """A hash over all of the model's files, to know it again by."""
        return folder_sha256(self.path)

    def _gradients(self, images: FloatArray, weights: FloatArray) -> FloatArray:
        if self._has_gradient_network:
            return super()._gradients(images, weights)
        return self._tensorflow.gradients(images, weights)

    @functools.cached_property
    def _has_gradient_network(self) -> bool:
        try:
            return self._network is not None and bool(self._gradient_network)
        except (LookupError, ModelError):
            return False

    @property
    def frozen_graph(self) -> FrozenGraph:
        """The model's graph, for those who make another network of it; not to be changed.

        Raises:
            ModelError: The network has no feature grid.
        """
        return self._tensorflow.frozen_graph

    @property
    def _tensorflow(self) -> TensorFlowModel:
        """Loaded when it is first needed, by one thread."""
        with self._lock:
            if self._loaded is None:
                try:
                    self._loaded = TensorFlowModel(self.path, batch_size=self._batch_size)
                except ImportError as error:
                    raise ModelError(
                        f'TensorFlow is needed to run "{self.path}", and is not '
                        "installed; install it with: pip install tensorflow"
                    ) from error
            return self._loaded

    # Of each instance once it is loaded.
    _loaded: TensorFlowModel | None = None

    def read_file(self) -> NetworkFile:
        """Reads the network as OpenVINO runs it.

        Raises:
            ModelError: OpenVINO cannot.
        """
        source = self._equivalent.source
        if source is None:
            raise ModelError(
                f'OpenVINO cannot run model "{self.name}", and so it shows no feature grid: '
                f"{self._equivalent.reason}"
            )
        return read_network_file(source)

    def _forward(self, images: FloatArray) -> FloatArray:
        return self._network(images) if self._network is not None else self._tensorflow(images)
