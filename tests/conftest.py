"""What several test modules share: the bundled model, the example photos, the detector."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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

# Must be set before TensorFlow is imported, by whichever test comes first.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(ROOT))


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
def octuplet_folder(tmp_path_factory):
    """Where a model of ArcFaceOctupletLoss's kind lies, with what Keras gives for a few images."""
    pytest.importorskip("tf_keras")
    folder = tmp_path_factory.mktemp("stand-in")
    subprocess.run([sys.executable, "-c", STAND_IN, folder], check=True, timeout=300, capture_output=True)
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


@pytest.fixture
def run_here(tmp_path, monkeypatch, capsys):
    """Runs a command in this process, which has TensorFlow loaded already; in the test's own folder."""
    from xfv_demo.cli import app
    from xfv_demo.console import one_line_errors

    monkeypatch.chdir(tmp_path)

    def run_here(*arguments):
        status = 0
        try:
            with one_line_errors():
                app([*map(str, arguments)], standalone_mode=False)
        except SystemExit as end:
            status = end.code
        return subprocess.CompletedProcess(arguments, status, *capsys.readouterr())

    return run_here
