"""A file that is no network of aligned faces ends in one line that says what was found."""

import os

import pytest
from onnx import TensorProto, helper

from tests.models.onnx_files import POOL, write_network
from xfv_demo import load_embedder
from xfv_demo.errors import ModelError
from xfv_demo.models.file_content import describe_content

pytestmark = pytest.mark.slow

ADDED = (
    helper.make_node("Add", ["image", "other"], ["sum"]),
    helper.make_node("GlobalAveragePool", ["sum"], ["pooled"]),
    POOL[1],
)
GRID = (helper.make_node("MaxPool", ["image"], ["grid"], kernel_shape=[16, 16], strides=[16, 16]),)
BYTES = (helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),)
UNKNOWN = (helper.make_node("FaceNet", ["image"], ["embedding"], domain="com.example"),)


def text(path):
    path.write_text("This is no network.\n")
    return path


def truncated(path):
    content = write_network(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def several(path):
    for name in ("first.onnx", "second.onnx"):
        write_network(path.parent / name)
    return path.parent


WRONG = {
    "text": (text, "ONNX: it is text"),
    "empty": (lambda path: path.touch() or path, "it is empty"),
    "truncated": (truncated, "it is cut off"),
    "side of 160": (
        lambda path: write_network(path, ("N", 3, 160, 160)),
        "float32 (N, 3, 160, 160), not aligned",
    ),
    "grey": (lambda path: write_network(path, ("N", 1, 112, 112)), "float32 (N, 1, 112, 112), not aligned"),
    "bytes": (
        lambda path: write_network(
            path,
            nodes=(*BYTES, helper.make_node("GlobalAveragePool", ["floats"], ["pooled"]), POOL[1]),
            element_type=TensorProto.UINT8,
        ),
        "image uint8 (N, 3, 112, 112), not aligned",
    ),
    "two inputs": (
        lambda path: write_network(path, nodes=ADDED, inputs=("image", "other")),
        "takes 2 inputs, not one image: image float32 (N, 3, 112, 112), other float32",
    ),
    "detector": (
        lambda path: write_network(
            path,
            ("N", 3, 640, 640),
            nodes=(*POOL, helper.make_node("Identity", ["embedding"], ["boxes"])),
            outputs=(("embedding", ("N", 3)), ("boxes", ("N", 3))),
        ),
        "float32 (N, 3, 640, 640), not aligned",
    ),
    "a grid": (
        lambda path: write_network(path, nodes=GRID, outputs=(("grid", ("N", 3, 7, 7)),)),
        "gives no embedding, one float32 output (N, D); it gives: grid float32 (N, 3, 7, 7)",
    ),
    "unknown operation": (lambda path: write_network(path, nodes=UNKNOWN), "com.example.FaceNet"),
    "several files": (several, "give one of those in it: first.onnx, second.onnx"),
    "keras": (lambda path: text(path.with_suffix(".keras")), '.load_model("net.keras").export("net")'),
    "h5": (lambda path: text(path.with_suffix(".h5")), '.load_model("net.h5").export("net")'),
    "text as .pb": (lambda path: text(path.with_suffix(".pb")), "frozen graph: it is text"),
    "text as .tflite": (lambda path: text(path.with_suffix(".tflite")), "TFLite: it is text"),
    "missing": (lambda path: path, "neither a model's name nor"),
}


@pytest.mark.parametrize(("write", "found"), WRONG.values(), ids=WRONG)
class TestWrongFiles:
    def test_loading(self, tmp_path, write, found):
        with pytest.raises(ModelError) as raised:
            load_embedder(write(tmp_path / "net.onnx"), input_range="0..1", channels="rgb")
        assert found in str(raised.value)
        assert "\n" not in str(raised.value)

    @pytest.mark.parametrize("command", [("check-model",), ("verify", "a.jpg", "a.jpg", "--model")])
    def test_command_line(self, tmp_path, examples, run_here, write, found, command):
        (tmp_path / "a.jpg").symlink_to(examples / "obama.jpg")
        done = run_here(*command, write(tmp_path / "net.onnx"))
        assert (done.returncode, done.stdout) == (2, "")
        assert found in done.stderr
        assert done.stderr.count("\n") == 1


def test_detector_of_others(foreign_models):
    with pytest.raises(ModelError, match=r"takes input float32 \(1, 3, 640, 640\), not aligned faces"):
        load_embedder(foreign_models / "face_detection_yunet_2023mar_int8bq.onnx")


def test_sface_cut_off(sface_file, tmp_path):
    content = sface_file.read_bytes()
    assert describe_content(content) is None
    (tmp_path / "net.onnx").write_bytes(content[:-1000])
    # The last 6 bytes come after the graph, which is what shows to be cut.
    with pytest.raises(ModelError, match="cut off, at least 994 bytes are missing"):
        load_embedder(tmp_path / "net.onnx")


@pytest.fixture
def as_nobody(tmp_path):
    """Runs a test as a user who may not read everything, where it is run as root, who may."""
    if os.geteuid():
        yield
        return
    closed = {one: one.stat().st_mode for one in (tmp_path, *tmp_path.parents) if not one.stat().st_mode & 1}
    for folder, mode in closed.items():
        folder.chmod(mode | 0o011)
    os.seteuid(65534)
    yield
    os.seteuid(0)
    for folder, mode in closed.items():
        folder.chmod(mode)


@pytest.fixture(params=["folder", "file"])
def locked_file(tmp_path, request):
    """A network that may not be read, or that lies in a folder that may not be."""
    (tmp_path / "locked").mkdir()
    path = write_network(tmp_path / "locked" / "net.onnx")
    target = path.parent if request.param == "folder" else path
    mode = target.stat().st_mode
    target.chmod(0)
    yield path
    target.chmod(mode)


def test_no_permission(locked_file, as_nobody):
    with pytest.raises(ModelError, match="Permission denied") as raised:
        load_embedder(locked_file, input_range="0..1", channels="rgb")
    assert "net.onnx" in str(raised.value)
    assert "\n" not in str(raised.value)
