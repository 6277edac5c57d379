"""The last grid of a network in OpenVINO, and its affine head, against what basis vectors give."""

import numpy as np
import pytest

from xfv_demo.models.input_format import InputFormat, NetworkSignature
from xfv_demo.models.network_file import NetworkFile, fold_constants
from xfv_demo.models.network_grid import GridNetwork
from xfv_demo.models.openvino import OpenVinoNetwork
from xfv_demo.models.similarity import unit_length
from xfv_demo.runtime.openvino import import_openvino

pytestmark = pytest.mark.slow

# Of the grid: channels, rows, columns; and of the embedding.
CHANNELS, ROWS, COLUMNS, DIMENSIONS = 3, 4, 2, 5
FLAT = CHANNELS * ROWS * COLUMNS
ops = import_openvino().opset14


def constant(*shape, seed=1):
    return ops.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def flat(grid):
    return ops.reshape(grid, np.array([0, FLAT]), special_zero=True)


def dense(rows, width=FLAT):
    return ops.matmul(rows, constant(width, DIMENSIONS), False, False)


def batch_norm(data, channels):
    gamma, beta, mean = (constant(channels, seed=seed) for seed in (2, 3, 4))
    variance = ops.constant(np.linspace(0.5, 2, channels, dtype=np.float32))
    return ops.batch_norm_inference(data, gamma, beta, mean, variance, epsilon=1e-3)


def pooled(grid):
    return ops.reduce_mean(grid, np.array([2, 3]), keep_dims=False)


def normalised(rows):
    length = ops.sqrt(ops.reduce_sum(ops.multiply(rows, rows), np.array([1]), keep_dims=True))
    return ops.divide(rows, length)


def turned(grid):
    """(N, h, w, C) before it is flattened, as TensorFlow does."""
    return ops.transpose(grid, np.array([0, 2, 3, 1]))


def convolved(grid):
    """A convolution over the whole grid, then one by one, as MobileFaceNet ends."""
    whole = ops.group_convolution(
        grid, constant(CHANNELS, 1, 1, ROWS, COLUMNS), [1, 1], [0, 0], [0, 0], [1, 1]
    )
    point = ops.convolution(whole, constant(DIMENSIONS, CHANNELS, 1, 1), [1, 1], [0, 0], [0, 0], [1, 1])
    return ops.reshape(ops.add(point, constant(1, DIMENSIONS, 1, 1)), np.array([0, DIMENSIONS]), True)


# As insightface's ResNets end, as Keras's, as SFace, as networks that pool, and pieces of these.
AFFINE = {
    "dense": lambda grid: dense(flat(grid)),
    "bias": lambda grid: ops.add(dense(flat(grid)), constant(DIMENSIONS)),
    "constant minus": lambda grid: ops.subtract(constant(1, DIMENSIONS), dense(flat(grid))),
    "minus constant": lambda grid: ops.subtract(dense(flat(grid)), constant(1, DIMENSIONS)),
    "quotient": lambda grid: ops.divide(dense(flat(grid)), constant(1, DIMENSIONS)),
    "transposed weights": lambda grid: ops.matmul(flat(grid), constant(DIMENSIONS, FLAT), False, True),
    "norm, dense, norm": lambda grid: batch_norm(
        ops.add(dense(flat(batch_norm(grid, CHANNELS))), constant(DIMENSIONS)), DIMENSIONS
    ),
    "channels last": lambda grid: dense(flat(turned(grid))),
    "pooled": lambda grid: dense(pooled(grid), CHANNELS),
    "convolved": convolved,
    "normalised": lambda grid: normalised(ops.add(dense(flat(grid)), constant(DIMENSIONS))),
}
BENT = {
    "relu": lambda grid: ops.relu(dense(flat(grid))),
    "prelu": lambda grid: ops.prelu(dense(flat(grid)), constant(DIMENSIONS)),
    "product": lambda grid: ops.multiply(dense(flat(grid)), dense(flat(grid))),
    "softmax": lambda grid: ops.softmax(dense(flat(grid)), 1),
    "over images": lambda grid: ops.subtract(
        dense(flat(grid)), ops.reduce_mean(dense(flat(grid)), np.array([0]), keep_dims=True)
    ),
}


def network(head, *, tail_of_grid=lambda grid: grid):
    """A convolution with steps of 28 by 56 pixels, then a head: a grid of 4 by 2 cells."""
    openvino = import_openvino()
    image = ops.parameter([-1, 112, 112, 3], np.float32, name="faces")
    first = ops.transpose(image, np.array([0, 3, 1, 2]))
    kernel = constant(CHANNELS, 3, 28, 56)
    grid = ops.relu(ops.convolution(first, kernel, [28, 56], [0, 0], [0, 0], [1, 1]))
    return openvino.Model([ops.result(head(tail_of_grid(grid)))], [image])


@pytest.fixture
def images(rng):
    return rng.random((3, 112, 112, 3), np.float32)


@pytest.mark.parametrize("kind", AFFINE)
def test_an_affine_head(kind, images):
    model = network(AFFINE[kind])
    grid = GridNetwork(model)
    assert grid.shape == (ROWS, COLUMNS, CHANNELS)
    grids = grid(images)
    assert grids.shape == (3, ROWS, COLUMNS, CHANNELS)
    head = grid.affine_head(grids)
    whole = OpenVinoNetwork(model)(images)
    np.testing.assert_allclose(
        unit_length(head.cells(grids).sum(axis=(1, 2)) + head.bias), unit_length(whole), atol=1e-5
    )


# In the last two the grid is another tensor, or the embedding is.
@pytest.mark.parametrize("kind", sorted(AFFINE.keys() - {"norm, dense, norm", "normalised"}))
def test_its_weights_are_what_basis_vectors_give(kind):
    openvino = import_openvino()
    grid = ops.parameter([-1, CHANNELS, ROWS, COLUMNS], np.float32)
    run = OpenVinoNetwork(openvino.Model([ops.result(AFFINE[kind](grid))], [grid]))
    bias = run(np.zeros((1, CHANNELS, ROWS, COLUMNS), np.float32))[0]
    basis = np.eye(FLAT, dtype=np.float32).reshape(FLAT, CHANNELS, ROWS, COLUMNS)
    weights = (run(basis) - bias).reshape(CHANNELS, ROWS, COLUMNS, DIMENSIONS).transpose(1, 2, 0, 3)
    found = GridNetwork(network(AFFINE[kind])).affine_head(np.ones((1, ROWS, COLUMNS, CHANNELS), np.float32))
    np.testing.assert_allclose(found.weights, weights, atol=1e-5)
    np.testing.assert_allclose(found.bias, bias, atol=1e-5)


@pytest.mark.parametrize("kind", BENT)
def test_a_head_that_is_not_affine(kind, images):
    grid = GridNetwork(network(BENT[kind]))
    assert grid.affine_head(grid(images)) is None


def test_a_head_that_sees_the_image_beside_the_grid_is_not_affine(images):
    openvino = import_openvino()
    image = ops.parameter([-1, 112, 112, 3], np.float32, name="faces")
    first = ops.transpose(image, np.array([0, 3, 1, 2]))
    grid = ops.convolution(first, constant(CHANNELS, 3, 28, 56), [28, 56], [0, 0], [0, 0], [1, 1])
    beside = ops.matmul(pooled(first), constant(3, DIMENSIONS, seed=9), False, False)
    model = openvino.Model([ops.result(ops.add(dense(flat(grid)), beside))], [image])
    found = GridNetwork(model)
    assert found.affine_head(found(images)) is None


def test_a_grid_with_channels_last_keeps_its_axes(images):
    """A transpose before an addition: the sum is the grid, and has channels last."""

    def head(grid):
        return dense(flat(ops.add(turned(grid), constant(1, 1, 1, CHANNELS, seed=7))))

    model = network(head)
    grid = GridNetwork(model)
    assert grid.shape == (ROWS, COLUMNS, CHANNELS)
    found = grid.affine_head(grid(images))
    np.testing.assert_allclose(
        found.cells(grid(images)).sum(axis=(1, 2)) + found.bias, OpenVinoNetwork(model)(images), atol=1e-4
    )


def test_a_network_without_places():
    openvino = import_openvino()
    image = ops.parameter([-1, 112 * 112 * 3], np.float32)
    rows = ops.matmul(image, constant(112 * 112 * 3, DIMENSIONS), False, False)
    with pytest.raises(LookupError, match="keeps places"):
        GridNetwork(openvino.Model([ops.result(rows)], [image]))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("input_range", "low", "high"), [("0..1", 0, 1), ("-1..1", -1, 1), ("0..255", 0, 255)]
)
def test_pixels_are_given_as_the_file_wants_them(layout, channels, input_range, low, high, images, tmp_path):
    """A network that gives each channel's mean: on paper, whatever stands before it."""
    openvino = import_openvino()
    sides = [112, 112, 3] if layout == "NHWC" else [3, 112, 112]
    image = ops.parameter([-1, *sides], np.float32, name="data")
    axes = np.array([1, 2] if layout == "NHWC" else [2, 3])
    model = openvino.Model([ops.result(ops.reduce_mean(image, axes, keep_dims=False))], [image])
    signature = NetworkSignature("data", (None, *sides), "fc1", 3)
    file = NetworkFile(tmp_path, "ONNX", signature, layout, None, model)
    given = OpenVinoNetwork(file.for_faces(InputFormat(input_range, channels)))(images)
    means = low + (high - low) * images.mean(axis=(1, 2))
    np.testing.assert_allclose(given, means[:, ::-1] if channels == "bgr" else means, rtol=1e-4, atol=1e-5)


def test_constants_are_folded():
    openvino = import_openvino()
    image = ops.parameter([-1, 3], np.float32)
    model = openvino.Model([ops.result(ops.add(image, ops.multiply(constant(3), constant(3))))], [image])
    fold_constants(model)
    assert "Multiply" not in {one.get_type_name() for one in model.get_ordered_ops()}
