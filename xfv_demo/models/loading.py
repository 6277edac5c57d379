"""From a model's name to an embedder."""

import os

from xfv_demo.errors import ModelError
from xfv_demo.models.compiled import CompiledEmbedder
from xfv_demo.models.input_format import Channels, InputRange
from xfv_demo.models.openvino import Precision
from xfv_demo.models.registry import locate_model
from xfv_demo.models.savedmodel import Engine, SavedModelEmbedder


def load_embedder(
    model: str | os.PathLike[str] = "auto",
    *,
    allow_download: bool = True,
    progress: bool = False,
    batch_size: int = 64,
    engine: Engine = "auto",
    precision: Precision = "float32",
    input_range: InputRange | None = None,
    channels: Channels | None = None,
) -> CompiledEmbedder:
    """Finds and loads a model.

    Args:
        model: "auto", "mobilefacenet" (bundled), "arcface-octuplet" (fetched once), a SavedModel folder, or
            an .onnx, .tflite or frozen .pb file. Auto takes ArcFaceOctupletLoss from demo/, from the cache or
            from the network, else the bundled model; the embedder's `notice` then says why.
        allow_download: Whether the network may be asked.
        progress: Whether a download shows a progress bar.
        batch_size: How many images at most go through TensorFlow at once.
        engine: "openvino", "tensorflow" or "auto", as for `SavedModelEmbedder`.
        precision: "float32" or "bfloat16", as for `SavedModelEmbedder`.
        input_range: The values that a file's network takes black and white for, "0..1", "-1..1" or "0..255".
            What was given once is kept for that file; what is known of the file where None.
        channels: Which channel it takes first, "rgb" or "bgr", likewise.

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
    if located.path.is_file():
        if engine == "tensorflow":
            raise ModelError(f'"{located.path}" runs in OpenVINO alone; TensorFlow runs SavedModel folders')
        return CompiledEmbedder(
            located.path,
            name=located.name,
            input_range=input_range,
            channels=channels,
            precision=precision,
            notice=located.notice,
        )
    if input_range or channels:
        raise ModelError(
            f'"{located.path}" is a SavedModel, which takes RGB in [0, 1] here; an '
            "input range or order of channels is for files such as .onnx"
        )
    return SavedModelEmbedder(
        located.path,
        name=located.name,
        batch_size=batch_size,
        engine=engine,
        precision=precision,
        notice=located.notice,
    )
