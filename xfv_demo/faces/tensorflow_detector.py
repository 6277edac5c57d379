"""The package `mtcnn` itself, on TensorFlow: the reference, and the way where OpenVINO is not installed."""

import functools

import numpy as np
from numpy.typing import NDArray

from xfv_demo.faces.mtcnn_weights import ignoring_closed_files, weights_file
from xfv_demo.types import Photo


class TensorFlowMtcnn:
    """MTCNN's three networks as the package runs them.

    Args:
        threads: How many TensorFlow may use, where it has not started any yet; None leaves it to it.
    """

    def __init__(self, threads: int | None = None) -> None:
        import tensorflow as tf
        from mtcnn import MTCNN
        from mtcnn.stages import StageONet, StagePNet, StageRNet

        if threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        with ignoring_closed_files():
            stages = [
                StagePNet(weights=str(weights_file("pnet"))),
                StageRNet(weights=str(weights_file("rnet"))),
                StageONet(weights=str(weights_file("onet"))),
            ]
        for stage, side in zip(stages, (None, 24, 48), strict=True):
            # Called as Keras models, layer by layer, the networks spend most of their time between layers:
            # 59 ms for an LFW image on one thread, against 27 ms as graphs, with the same numbers.
            signature = [tf.TensorSpec((None, side, side, 3), tf.float32)]
            stage._model = tf.function(functools.partial(stage.model, training=False), signature)
        self._mtcnn = MTCNN(stages=stages)

    def detect(self, image: Photo) -> NDArray[np.float64]:
        """Finds faces; see `CompiledMtcnn.detect`."""
        # The smallest face stays at mtcnn's default of 20 pixels: with any other its image pyramid goes on
        # to levels smaller than the network's input, which fails and is reported as "no faces".
        rows = self._mtcnn.detect_faces(image, output_type="numpy", box_format="xyxy")
        # Where it finds none early, its rows have no columns for landmarks.
        return np.asarray(rows) if len(rows) else np.empty((0, 16))

    def confirm(self, cuts: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Asks the last network; see `CompiledMtcnn.confirm`."""
        _, landmarks, probabilities = self._mtcnn.get_stage(stage_id=3)._model(
            (cuts.astype(np.float32) - 127.5) / 128
        )
        return probabilities.numpy(), landmarks.numpy()
