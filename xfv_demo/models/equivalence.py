"""Whether OpenVINO gives what TensorFlow gives for a SavedModel: found out once, and held to ever after.

OpenVINO reads SavedModels by itself, most of them rightly; what it gets wrong raises no error. So when a
model is met for the first time, TensorFlow runs it on two images, and what it gives is kept by the model's
hash, with how OpenVINO had to read it. From then on each start compares OpenVINO's embeddings of these two
images with the kept ones, on this machine's processor and in this version, for the price of a forward pass
and without TensorFlow.
"""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from xfv_demo.errors import ModelError, XfvError
from xfv_demo.models.frozen_graph import trial_images
from xfv_demo.models.input_format import InputFormat
from xfv_demo.models.network_file import read_network_file
from xfv_demo.models.openvino import OpenVinoNetwork, Precision, check_agreement
from xfv_demo.models.similarity import unit_length
from xfv_demo.models.tensorflow_model import TensorFlowModel
from xfv_demo.runtime.files import json_text, write_all
from xfv_demo.runtime.paths import assets_folder, cache_folder

_RECORD = "record.json"
_FROZEN = "frozen.pb"
# Of embeddings of length 1; float32 has no more.
_DIGITS = 8


@dataclass(frozen=True, eq=False)
class Equivalent:
    """A SavedModel in OpenVINO.

    Attributes:
        network: The network; None where OpenVINO cannot run it.
        source: What it was read from: the SavedModel, or the frozen graph that TensorFlow made of it.
        reason: Why there is no network.
    """

    network: OpenVinoNetwork | None
    source: Path | None
    reason: str = ""


class _Record(BaseModel):
    """What is kept of a model.

    Attributes:
        sha256: The model's.
        read_from: What OpenVINO reads rightly. (That it reads nothing is not kept: another version may.)
        embeddings: (2, D), TensorFlow's of `trial_images`, of length 1.
    """

    sha256: str
    read_from: Literal["SavedModel", "frozen graph"]
    embeddings: list[list[float]]


def find_equivalent(
    folder: Path, sha256: str, tensorflow: Callable[[], TensorFlowModel], precision: Precision
) -> Equivalent:
    """Finds the network in OpenVINO that gives what a SavedModel does.

    Args:
        folder: The SavedModel.
        sha256: Its hash.
        tensorflow: Loads it in TensorFlow; called where nothing is kept of it, or where what is kept does not
            hold any more.
        precision: What OpenVINO computes in.

    Returns:
        The network, or why there is none.

    Raises:
        ModelError: The SavedModel cannot be loaded.
    """
    record = _read_record(sha256)
    if record is not None:
        found = _as_recorded(folder, record, precision)
        if found.network is not None:
            return found
        # What held once holds no more, as with another version of OpenVINO: it is looked into again.
    return _compared(folder, sha256, tensorflow(), precision)


def _as_recorded(folder: Path, record: _Record, precision: Precision) -> Equivalent:
    source = folder if record.read_from == "SavedModel" else _kept_in(record.sha256) / _FROZEN
    return _try(source, np.array(record.embeddings), precision)


def _compared(folder: Path, sha256: str, model: TensorFlowModel, precision: Precision) -> Equivalent:
    """Tries to read the SavedModel, then the graph that TensorFlow made of it; keeps what comes of it."""
    # Where the model's own numbers are not finite, whoever embeds is told so; there is nothing to compare.
    embeddings = np.round(unit_length(model.expected).astype(np.float64), _DIGITS)
    is_sound = bool(np.isfinite(model.expected).all())
    direct = _try(folder, embeddings, "float32")
    if direct.network is not None:
        _keep(_Record(sha256=sha256, read_from="SavedModel", embeddings=embeddings.tolist()), is_sound, {})
        return direct if precision == "float32" else _try(folder, embeddings, precision)
    frozen = model.graph_def.SerializeToString()
    with tempfile.TemporaryDirectory(prefix="xfv-graph-", ignore_cleanup_errors=True) as work:
        file = Path(work) / _FROZEN
        file.write_bytes(frozen)
        indirect = _try(file, embeddings, "float32")
    if indirect.network is None:
        return indirect
    record = _Record(sha256=sha256, read_from="frozen graph", embeddings=embeddings.tolist())
    if not _keep(record, is_sound, {_FROZEN: frozen}):
        return Equivalent(None, None, f"its graph cannot be kept in the cache {cache_folder()}")
    return _as_recorded(folder, record, precision)


def _try(source: Path, expected: NDArray[np.float64], precision: Precision) -> Equivalent:
    """Reads a network and compares what it gives for the trial images."""
    try:
        model = read_network_file(source).for_faces(InputFormat("0..1", "rgb"))
        network = OpenVinoNetwork(model, precision=precision)
        check_agreement(network(trial_images()), expected, precision)
    except ImportError:
        return Equivalent(None, None, "OpenVINO is not installed")
    except ModelError as error:
        return Equivalent(None, None, str(error))
    return Equivalent(network, source)


def _read_record(sha256: str) -> _Record | None:
    """What is known of a model; None where that is nothing, or cannot be read and will be made anew."""
    for file in (assets_folder() / "equivalence" / f"{sha256}.json", _kept_in(sha256) / _RECORD):
        with suppress(OSError, ValidationError):
            record = _Record.model_validate_json(file.read_bytes())
            if record.sha256 == sha256:
                return record
    return None


def _kept_in(sha256: str) -> Path:
    return cache_folder() / "equivalence" / sha256


def _keep(record: _Record, is_sound: bool, files: dict[str, bytes]) -> bool:
    """Keeps what was found out; says whether it could be."""
    if not is_sound:
        return not files
    content = f"{json_text(record.model_dump())}\n".encode()
    try:
        write_all(_kept_in(record.sha256), {**files, _RECORD: content})
    except XfvError:
        # It is found out again at the next start; only the frozen graph is needed now.
        return not files
    return True
