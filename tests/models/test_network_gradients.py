"""Gradients of networks in OpenVINO, against central differences of what the networks give."""

import numpy as np
import pytest

from xfv_demo.models.network_file import fold_constants
from xfv_demo.models.network_gradients import GradientNetwork, with_unit_length
from xfv_demo.runtime.openvino import import_openvino

pytestmark = pytest.mark.slow

CHANNELS, ROWS, COLUMNS = 4, 6, 5
FLAT = CHANNELS * ROWS * COLUMNS
# Half the step of the central differences. Any two of the input's numbers are further apart, and none lies as
# near to a place where a function has a kink.
STEP = 0.005
openvino = import_openvino()
ops = openvino.opset14


def constant(*shape, seed=1):
    return ops.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def ints(*values):
    return np.array(values, np.int64)


def batch_norm(data):
    gamma, beta, mean = (constant(CHANNELS, seed=seed) for seed in (2, 3, 4))
    variance = ops.constant(np.linspace(0.5, 2, CHANNELS, dtype=np.float32))
    return ops.batch_norm_inference(data, gamma, beta, mean, variance, epsilon=1e-3)


def convolution(stride=1, begin=1, end=1, dilation=1, side=3, auto_pad=None):
    def apply(data):
        both = [stride] * 2, [begin] * 2, [end] * 2, [dilation] * 2
        filters = constant(3, CHANNELS, side, side)
        return ops.convolution(data, filters, *both, **({"auto_pad": auto_pad} if auto_pad else {}))

    return apply


def depthwise(data):
    return ops.group_convolution(data, constant(2, 3, 2, 3, 3), [2, 1], [1, 0], [0, 2], [1, 1])


def pooling(kind, stride=2, begin=0, end=0, side=2, rounding="floor", auto_pad="explicit", exclude_pad=True):
    def apply(data):
        both = [stride] * 2, [begin] * 2, [end] * 2, [side] * 2
        if kind == "max":
            strides, begins, ends, kernel = both
            return ops.max_pool(data, strides, [1, 1], begins, ends, kernel, rounding, auto_pad).output(0)
        return ops.avg_pool(data, *both, exclude_pad, rounding, auto_pad)

    return apply


def squeezed_and_excited(data):
    gate = ops.sigmoid(
        ops.multiply(ops.reduce_mean(data, ints(2, 3), keep_dims=True), constant(1, CHANNELS, 1, 1))
    )
    return ops.multiply(data, gate)


def attention(data):
    rows = ops.reshape(data, ints(0, CHANNELS, ROWS * COLUMNS), special_zero=True)
    weights = ops.softmax(ops.matmul(rows, rows, False, True), -1)
    return ops.matmul(weights, rows, False, False)


def shuffled(data):
    apart = ops.reshape(data, ints(0, 2, 2, ROWS, COLUMNS), special_zero=True)
    return ops.reshape(ops.transpose(apart, ints(0, 2, 1, 3, 4)), ints(0, CHANNELS, ROWS, COLUMNS), True)


def parts_swapped(data):
    first, second = ops.split(data, np.int64(1), 2).outputs()
    return ops.concat([second, ops.multiply(first, np.float32(2))], 1)


def one_part(data):
    return ops.variadic_split(data, np.int64(2), ints(2, 1, 3)).output(2)


def flat(data):
    return ops.reshape(data, ints(0, FLAT), special_zero=True)


def positive(data):
    return ops.add(ops.multiply(data, np.float32(0.3)), np.float32(2))


KINDS = {
    "add": lambda x: ops.add(x, constant(1, CHANNELS, 1, 1)),
    "subtract": lambda x: ops.subtract(constant(1, CHANNELS, 1, 1), x),
    "with itself": lambda x: ops.subtract(ops.multiply(x, x), ops.add(x, x)),
    "divide": lambda x: ops.divide(x, positive(x)),
    "constant divided": lambda x: ops.divide(np.float32(3), positive(x)),
    "squared difference": lambda x: ops.squared_difference(x, ops.reduce_mean(x, ints(1), keep_dims=True)),
    "broadcast": lambda x: ops.multiply(x, ops.reduce_sum(x, ints(2, 3), keep_dims=True)),
    "maximum": lambda x: ops.maximum(x, ops.multiply(x, np.float32(0.1))),
    "minimum": lambda x: ops.minimum(ops.multiply(x, np.float32(0.1)), x),
    "power": lambda x: ops.power(positive(x), np.float32(-0.5)),
    "negative": lambda x: ops.negative(x),
    "abs": lambda x: ops.abs(x),
    "exp": lambda x: ops.exp(x),
    "log": lambda x: ops.log(positive(x)),
    "sqrt": lambda x: ops.sqrt(positive(x)),
    "erf": lambda x: ops.erf(x),
    "tanh": lambda x: ops.tanh(x),
    "sigmoid": lambda x: ops.sigmoid(x),
    "relu": lambda x: ops.relu(x),
    "relu6": lambda x: ops.clamp(x, -1, 1.51),
    "softplus": lambda x: ops.softplus(x),
    "hsigmoid": lambda x: ops.hsigmoid(ops.multiply(x, np.float32(1.9))),
    "prelu": lambda x: ops.prelu(x, constant(CHANNELS)),
    "prelu of one slope": lambda x: ops.prelu(x, constant(1)),
    "elu": lambda x: ops.elu(x, 0.7),
    "swish": lambda x: ops.swish(x),
    "swish of another slope": lambda x: ops.swish(x, np.float32(1.7)),
    "hswish": lambda x: ops.hswish(ops.multiply(x, np.float32(1.9))),
    "gelu": lambda x: ops.gelu(x, "erf"),
    "softmax": lambda x: ops.softmax(x, 1),
    "normalize": lambda x: ops.normalize_l2(x, ints(1), 1e-3, "add"),
    "normalize at most": lambda x: ops.normalize_l2(x, ints(1, 2, 3), 1e-6, "max"),
    "sum": lambda x: ops.reduce_sum(x, ints(1, -1), keep_dims=False),
    "mean": lambda x: ops.reduce_mean(x, ints(2, 3), keep_dims=False),
    "length": lambda x: ops.reduce_l2(x, ints(1), keep_dims=True),
    "dense": lambda x: ops.matmul(flat(x), constant(FLAT, 3), False, False),
    "dense turned": lambda x: ops.matmul(flat(x), constant(3, FLAT), False, True),
    # Square, so that only the numbers tell which way round it was taken.
    "dense of a square": lambda x: ops.matmul(flat(x), constant(FLAT, FLAT), False, False),
    "rows first": lambda x: ops.matmul(x, constant(COLUMNS, COLUMNS), False, False),
    "columns": lambda x: ops.matmul(constant(ROWS, ROWS), x, False, False),
    "turned columns": lambda x: ops.matmul(constant(ROWS, ROWS), x, True, False),
    "both turned": lambda x: ops.matmul(constant(3, COLUMNS), x, False, True),
    "first turned": lambda x: ops.matmul(x, constant(1, CHANNELS, ROWS, 3), True, False),
    "attention": attention,
    "batch norm": batch_norm,
    "turned": lambda x: ops.transpose(x, ints(0, 3, 1, 2)),
    "squeeze": lambda x: ops.squeeze(ops.unsqueeze(x, ints(2)), ints(2)),
    "channels in another order": lambda x: ops.gather(x, ints(2, 0, 3, 1), np.int64(1)),
    "shuffled": shuffled,
    "parts swapped": parts_swapped,
    "one part": one_part,
    "pad": lambda x: ops.pad(x, ints(0, 1, 0, 2), ints(0, 0, 1, 1), "constant", np.float32(7)),
    "convolution": convolution(),
    "convolution of a point": convolution(begin=0, end=0, side=1),
    "convolution with strides": convolution(stride=2),
    "convolution that leaves the edge": convolution(stride=2, begin=0, end=0),
    "convolution with unlike pads": convolution(stride=2, begin=0, end=1),
    "convolution of another pad": convolution(stride=2, auto_pad="same_upper"),
    "convolution dilated": convolution(dilation=2, begin=2, end=2),
    "group convolution": depthwise,
    "max pooling": pooling("max"),
    "max pooling that overlaps": pooling("max", side=3, begin=1, end=1),
    "max pooling beyond the edge": pooling("max", side=3, rounding="ceil"),
    "max pooling of a point": pooling("max", side=1),
    "mean pooling": pooling("mean"),
    "mean pooling without pads": pooling("mean", side=3, begin=1, end=1),
    "mean pooling with pads": pooling("mean", side=3, begin=1, end=1, exclude_pad=False),
    "mean pooling of another pad": pooling("mean", side=3, auto_pad="same_upper"),
    "squeezed and excited": squeezed_and_excited,
}  # fmt: skip


def network(kind):
    x = ops.parameter([-1, CHANNELS, ROWS, COLUMNS], np.float32)
    made = kind(x)
    made = made.output(0) if hasattr(made, "output") else made
    # Rows of numbers, which no operation adds up or leaves alone alike.
    width = int(np.prod([side.get_length() for side in list(made.partial_shape)[1:]]))
    rows = ops.reshape(made, ints(0, width), special_zero=True)
    model = openvino.Model([ops.result(ops.multiply(rows, constant(1, width, seed=9)))], [x])
    fold_constants(model)
    return model


@pytest.fixture
def x():
    values = np.linspace(-2, 2, FLAT, dtype=np.float32)
    return np.random.default_rng(0).permutation(values).reshape(CHANNELS, ROWS, COLUMNS)


@pytest.mark.parametrize("kind", KINDS)
def test_are_what_central_differences_say(kind, x):
    model = network(KINDS[kind])
    run = openvino.Core().compile_model(model.clone(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    steps = STEP * np.eye(FLAT, dtype=np.float32).reshape(FLAT, *x.shape)
    above, below = (run(x + side * steps)[0].astype(np.float64) for side in (1, -1))
    jacobian = (above - below) / (2 * STEP)
    # More than go back at once.
    weights = np.random.default_rng(3).normal(size=(20, jacobian.shape[1])).astype(np.float32)
    given, gradients = GradientNetwork(model)(x, weights)
    np.testing.assert_allclose(given, run(x[None])[0][0], rtol=1e-5, atol=1e-5)
    expected = (weights @ jacobian.T).reshape(20, *x.shape)
    np.testing.assert_allclose(gradients, expected, atol=2e-3 * np.abs(expected).max())


def test_of_length_1(x):
    model = with_unit_length(network(KINDS["convolution"]))
    weights = np.random.default_rng(3).normal(size=(2, int(model.output(0).partial_shape[1].get_length())))
    given, gradients = GradientNetwork(model)(x, np.stack([weights[0], weights[0]]).astype(np.float32))
    assert np.linalg.norm(given) == pytest.approx(1, abs=1e-6)
    _, along = GradientNetwork(model)(x, given[None])
    # What lengthens an embedding does not turn it.
    assert np.abs(along).max() < 1e-5 * np.abs(gradients).max()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (lambda x: ops.ceiling(x), "operation Ceiling, whose gradient is not known here"),
        (lambda x: ops.power(positive(x), x), "operation Power whose settings are not constant"),
        (lambda x: ops.gather(x, ints(0, 1), np.int64(1)), "operation Gather that leaves something out"),
        (lambda x: ops.pad(x, ints(0, 0, 1, 1), ints(0, 0, 1, 1), "reflect"), "Pad that repeats"),
        (
            lambda x: ops.pad(x, ints(0, 0, -1, 0), ints(0, 0, 0, 0), "constant", np.float32(0)),
            "Pad that crops",
        ),
        (lambda x: ops.matmul(flat(x), flat(x), False, True), "product of matrices"),
        (lambda x: ops.gelu(x, "tanh"), "approximated operation Gelu"),
        (lambda x: ops.prelu(x, ops.reduce_mean(x, ints(0, 2, 3), keep_dims=False)), "operation PRelu whose"),
        (lambda x: ops.subtract(x, ops.reduce_mean(x, ints(0, 1), keep_dims=True)), "over several images"),
        (lambda x: ops.multiply(ops.add(constant(1, 3), np.float32(0)), np.float32(1)), "the same for all"),
    ],
)
def test_what_is_not_known_is_said(kind, words):
    x = ops.parameter([-1, CHANNELS, ROWS, COLUMNS], np.float32)
    with pytest.raises(LookupError, match=words):
        GradientNetwork(openvino.Model([ops.result(kind(x))], [x]))


def test_a_fixed_number_of_images():
    x = ops.parameter([3, FLAT], np.float32)
    model = openvino.Model([ops.result(ops.reshape(ops.relu(x), ints(3, FLAT), special_zero=False))], [x])
    with pytest.raises(LookupError, match="takes a fixed number of images, not one"):
        GradientNetwork(model)


class TestCheck:
    def test_right_ones_pass(self, x):
        GradientNetwork(with_unit_length(network(KINDS["convolution"]))).check(x)

    @pytest.mark.parametrize("factor", [-1, 0.9, 1.1])
    def test_wrong_ones_do_not(self, x, factor, monkeypatch):
        made = GradientNetwork(with_unit_length(network(KINDS["convolution"])))
        call = GradientNetwork.__call__
        monkeypatch.setattr(
            GradientNetwork,
            "__call__",
            lambda one, *given: (call(one, *given)[0], factor * call(one, *given)[1]),
        )
        with pytest.raises(LookupError, match="where its gradients promise"):
            made.check(x)

    def test_none_at_all_pass(self, x):
        GradientNetwork(network(lambda one: ops.multiply(one, np.float32(0)))).check(x)

    def test_not_finite(self, x):
        made = GradientNetwork(network(lambda one: ops.sqrt(ops.relu(one))))
        with pytest.raises(LookupError, match="not finite"):
            made.check(x)
