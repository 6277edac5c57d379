"""Small networks as ONNX files, whose embeddings can be worked out on paper."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

POOL = (
    helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
    helper.make_node("Flatten", ["pooled"], ["embedding"]),
)


def write_network(
    path,
    shape=("N", 3, 112, 112),
    *,
    nodes=POOL,
    inputs=("image",),
    element_type=TensorProto.FLOAT,
    outputs=(("embedding", ("N", 3)),),
    input_name=None,
    constants=None,
):
    """Writes a network; unless told otherwise, one that gives the mean of each channel.

    Returns:
        The path.
    """
    if input_name:
        nodes = (helper.make_node("Identity", [input_name], ["image"]), *nodes)
        inputs = (input_name,)
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(name, element_type, shape) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name, sides in outputs],
        [numpy_helper.from_array(np.int64(numbers), name) for name, numbers in (constants or {}).items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
