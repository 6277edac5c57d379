"""Networks from files: what they give, worked out on paper or by ONNX's own reference."""

import pickle

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.models.onnx_files import POOL, write_network
from xfv_demo import load_embedder
from xfv_demo.errors import ModelError
from xfv_demo.models.input_format import INPUT_FORMATS, InputFormat
from xfv_demo.models.network_file import read_network_file

pytestmark = pytest.mark.slow

LAST = ("N", 112, 112, 3)
MEAN_OF_LAST = (helper.make_node("ReduceMean", ["image"], ["embedding"], axes=[1, 2], keepdims=0),)


@pytest.fixture
def images(rng):
    return rng.random((3, 112, 112, 3), np.float32)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def means(images, input_format):
    """What a network gives that takes the mean of each channel of its input."""
    if input_format.channels == "bgr":
        images = images[..., ::-1]
    return unit(images.mean((1, 2), np.float64) * input_format.scale + input_format.shift)


class TestFormats:
    @pytest.mark.parametrize("input_format", INPUT_FORMATS, ids=str)
    @pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
    def test_every_format_in_both_layouts(self, tmp_path, images, input_format, layout):
        path = tmp_path / "net.onnx"
        if layout == "NCHW":
            write_network(path)
        else:
            write_network(path, LAST, nodes=MEAN_OF_LAST)
        embedder = load_embedder(path, **vars(input_format))
        assert read_network_file(path).layout == layout
        assert embedder.input_format == input_format
        np.testing.assert_allclose(embedder.embed(images), means(images, input_format), atol=1e-5)

    def test_one_colour_by_hand(self, tmp_path):
        """Blue first, from -1 to 1: (0.75, 0, -0.75), of which float32 rounds no sum."""
        write_network(tmp_path / "net.onnx")
        embedder = load_embedder(tmp_path / "net.onnx", input_range="-1..1", channels="bgr")
        image = np.broadcast_to(np.float32([0.125, 0.5, 0.875]), (1, 112, 112, 3))
        np.testing.assert_allclose(embedder.embed(image), [[0.5**0.5, 0, -(0.5**0.5)]], atol=1e-6)

    def test_a_guess_is_said(self, tmp_path):
        nodes = (*POOL[:1], helper.make_node("Flatten", ["pooled"], ["fc1"]))
        write_network(tmp_path / "net.onnx", nodes=nodes, outputs=(("fc1", ("N", 3)),), input_name="data")
        embedder = load_embedder(tmp_path / "net.onnx")
        assert embedder.input_format == InputFormat("0..255", "rgb")
        assert "taken for an export from MXNet" in embedder.notice

    def test_another_format_is_another_model(self, tmp_path):
        """For what is kept by a model's hash, such as embeddings and calibrations."""
        write_network(tmp_path / "net.onnx")
        hashes = {load_embedder(tmp_path / "net.onnx", **vars(one)).sha256 for one in INPUT_FORMATS}
        assert len(hashes) == len(INPUT_FORMATS)

    def test_a_copy_keeps_its_format(self, tmp_path, images):
        write_network(tmp_path / "net.onnx")
        embedder = load_embedder(tmp_path / "net.onnx", input_range="-1..1", channels="bgr")
        sent = pickle.dumps(embedder)
        load_embedder(tmp_path / "net.onnx", input_range="0..1", channels="rgb")
        copy = pickle.loads(sent)
        np.testing.assert_array_equal(copy.embed(images), embedder.embed(images))
        assert load_embedder(tmp_path / "net.onnx").input_format == InputFormat("0..1", "rgb")


class TestShapes:
    @pytest.mark.parametrize(
        "shape",
        [
            ("N", 3, 112, 112),
            (1, 3, 112, 112),
            (2, 3, 112, 112),
            ("N", 3, "height", "width"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("count", [0, 1, 3, 20])
    def test_any_number_of_images(self, tmp_path, rng, shape, count):
        write_network(tmp_path / "net.onnx", shape, outputs=(("embedding", (shape[0], 3)),))
        images = rng.random((count, 112, 112, 3), np.float32)
        embedder = load_embedder(tmp_path / "net.onnx", input_range="0..1", channels="rgb")
        assert embedder.dimensions == 3
        np.testing.assert_allclose(
            embedder.embed(images), unit(images.mean((1, 2))).reshape(-1, 3), atol=1e-5
        )

    def test_a_number_of_images_that_is_fixed_further_in(self, tmp_path, images):
        """The places of the one image first, as transformers have them: it stays one image at a time."""
        nodes = (
            helper.make_node("Reshape", ["image", "flat"], ["places"]),
            helper.make_node("Transpose", ["places"], ["turned"], perm=[2, 0, 1]),
            helper.make_node("Reshape", ["turned", "again"], ["rows"]),
            helper.make_node("ReduceMean", ["rows"], ["embedding"], axes=[0], keepdims=0),
        )
        write_network(
            tmp_path / "net.onnx",
            (1, 3, 112, 112),
            nodes=nodes,
            outputs=(("embedding", (1, 3)),),
            constants={"flat": [1, 3, 112 * 112], "again": [112 * 112, 1, 3]},
        )
        assert read_network_file(tmp_path / "net.onnx").batch == 1
        embedder = load_embedder(tmp_path / "net.onnx", input_range="0..1", channels="rgb")
        np.testing.assert_allclose(embedder.embed(images), unit(images.mean((1, 2))), atol=1e-5)

    def test_images_that_move_each_other_are_refused(self, tmp_path):
        """A norm over the images, as of an export in training mode: no distance would be sure."""
        nodes = (
            *POOL[:1],
            helper.make_node("Flatten", ["pooled"], ["rows"]),
            helper.make_node("ReduceMean", ["rows"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["rows", "mean"], ["embedding"]),
        )
        write_network(tmp_path / "net.onnx", nodes=nodes)
        with pytest.raises(ModelError, match="other numbers when others are beside it") as failure:
            load_embedder(tmp_path / "net.onnx", input_range="0..1", channels="rgb")
        assert "\n" not in str(failure.value)

    def test_an_embedding_with_sides_of_one(self, tmp_path, images):
        write_network(
            tmp_path / "net.onnx",
            nodes=(helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),),
            outputs=(("pooled", ("N", 3, 1, 1)),),
        )
        embedder = load_embedder(tmp_path / "net.onnx", input_range="0..1", channels="rgb")
        np.testing.assert_allclose(embedder.embed(images), unit(images.mean((1, 2))), atol=1e-5)

    def test_weights_named_as_inputs(self, tmp_path, images):
        """As exporters did up to ONNX's version 3."""
        graph = helper.make_graph(
            [helper.make_node("Mul", ["data", "weights"], ["image"]), *POOL],
            "network",
            [
                helper.make_tensor_value_info("data", TensorProto.FLOAT, (1, 3, 112, 112)),
                helper.make_tensor_value_info("weights", TensorProto.FLOAT, (1, 3, 1, 1)),
            ],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, (1, 3))],
            [numpy_helper.from_array(np.float32([1, 2, 3]).reshape(1, 3, 1, 1), "weights")],
        )
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=3),
            tmp_path / "net.onnx",
        )
        embedder = load_embedder(tmp_path / "net.onnx", input_range="0..1", channels="rgb")
        expected = unit(images.mean((1, 2)) * [1, 2, 3])
        np.testing.assert_allclose(embedder.embed(images), expected, atol=1e-5)


class TestSFace:
    """A network that no one here made; OpenVINO by itself does not read weights quantised as these are."""

    def test_as_the_reference_computes_it(self, sface_file, aligned):
        images = np.stack([aligned[name] for name in ("obama", "biden")])
        reference = ReferenceEvaluator(str(sface_file))
        expected = [
            reference.run(None, {"data": 255 * image[None].transpose(0, 3, 1, 2)})[0] for image in images
        ]
        embedder = load_embedder(sface_file)
        # Measured: 3e-7.
        np.testing.assert_allclose(embedder.embed(images), unit(np.concatenate(expected)), atol=1e-5)
        assert (embedder.name, embedder.dimensions, embedder.notice) == ("sface", 128, None)

    def test_its_head_is_affine(self, sface_file, aligned):
        embedder = load_embedder(sface_file)
        images = np.stack([aligned[name] for name in ("obama", "biden")])
        head = embedder.affine_head
        rows = head.cells(embedder.feature_grid(images)).sum(axis=(1, 2)) + head.bias
        assert embedder.grid_shape == (7, 7, 1024)
        np.testing.assert_allclose(unit(rows), embedder.embed(images), atol=1e-4)
