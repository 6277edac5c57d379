"""MTCNN in OpenVINO: its parts by their definitions, and the whole against the package `mtcnn`."""

import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfv_demo.errors import ModelError
from xfv_demo.faces.compiled_detector import _Crops, _Pyramid, unsuppressed
from xfv_demo.faces.detection import MtcnnDetector

# Of a face's side. The two engines round differently: 8e-6 is the most on LFW and the examples.
NEAR = 2e-5


def pictures(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def covered(given, made):
    """(made, given): how much of each pixel that is given lies under each that is made."""
    edges = np.arange(made + 1) * given / made
    pixels = np.arange(given)
    return np.clip(np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels), 0, None)


class TestPyramid:
    @given(st.integers(24, 210), st.integers(24, 210))
    def test_a_pixel_is_the_mean_of_the_area_under_it(self, height, width):
        image = pictures(height, width)
        pyramid = _Pyramid(height, width)
        levels = list(pyramid(image))
        assert len(levels) == len(pyramid.scales) > 0
        for scale, level in zip(pyramid.scales, levels, strict=True):
            rows, columns = int(height * scale), int(width * scale)
            down, across = covered(height, rows), covered(width, columns)
            mean = (
                np.einsum("rh,hwc,kw->rck", down, image, across, optimize=True)
                * rows
                * columns
                / (height * width)
            )
            assert level.dtype == np.float32
            np.testing.assert_allclose(level, (mean - 127.5) / 128, atol=1e-4)

    def test_levels_shrink_to_the_first_networks_input(self):
        assert _Pyramid(250, 250).scales == pytest.approx([0.6 * 0.709**level for level in range(8)])

    @pytest.mark.parametrize("size", [(1, 5), (10, 10), (20, 300)])
    def test_what_is_too_small_has_no_level(self, size):
        assert list(_Pyramid(*size)(pictures(*size))) == []

    @pytest.mark.slow
    @pytest.mark.parametrize("size", [(250, 250), (37, 500), (1024, 770), (1333, 91)])
    def test_as_tensorflow_has_it(self, size):
        import tensorflow as tf

        image = pictures(*size)
        pyramid = _Pyramid(*size)
        for scale, level in zip(pyramid.scales, pyramid(image), strict=True):
            expected = tf.image.resize((image - 127.5) / 128, np.array(size) * scale, method="area").numpy()
            np.testing.assert_allclose(level.transpose(0, 2, 1), expected, atol=2e-6)


class TestCrops:
    def test_the_whole_image_is_itself(self):
        image = pictures(24, 24)
        crop = _Crops(image)(np.array([[0.0, 0, 24, 24]]), 24)
        np.testing.assert_allclose(crop[0], (image - 127.5) / 128, atol=1e-6)

    def test_beyond_the_edge_is_nothing(self):
        image = np.full((30, 40, 3), 255, np.uint8)
        crop = _Crops(image)(np.array([[-40.0, 0, 40, 30]]), 21)[0]
        # Samples lie from -39 to 39 pixels.
        assert (crop[:, :10] == 0).all()
        assert (crop[:, 11:] == np.float32(127.5 / 128)).all()

    @given(
        st.tuples(st.integers(2, 40), st.integers(2, 40)),
        st.tuples(*[st.floats(-20, 50, width=16)] * 4),
        st.sampled_from([24, 48]),
    )
    def test_each_pixel_lies_between_four(self, size, box, side):
        image = pictures(*size)
        crop = _Crops(image)(np.array([box]), side)[0]
        normalized = (image - 127.5) / 128
        for row, column in ((0, 0), (side // 2, 5), (side - 1, side - 1), (3, side // 3)):
            y, x = (
                (begin + (end - begin) * place / (side - 1)) * (length - 1) / length
                for begin, end, place, length in zip(
                    box[1::-1], box[3:1:-1], (row, column), size, strict=True
                )
            )
            on_the_edge = min(abs(y), abs(y - size[0] + 1), abs(x), abs(x - size[1] + 1)) < 1e-3
            if on_the_edge:
                continue
            expected = np.zeros(3)
            if 0 < y < size[0] - 1 and 0 < x < size[1] - 1:
                top, left = math.floor(y), math.floor(x)
                down, across = np.array([1 - (y - top), y - top]), np.array([1 - (x - left), x - left])
                expected = np.einsum("ijc,i,j", normalized[top : top + 2, left : left + 2], down, across)
            np.testing.assert_allclose(crop[row, column], expected, atol=1e-4)

    @pytest.mark.slow
    def test_as_tensorflow_has_it(self, rng):
        import tensorflow as tf

        image = pictures(90, 131)
        corners = rng.uniform(-40, 120, (200, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(-5, 90, (200, 1))], axis=1)
        # On the edges too, where the last digit decides.
        boxes[:60] = boxes[:60].round()
        boxes[:20, 2:] = [131, 90]
        boxes[10:30, :2] = 0
        shares = boxes[:, [1, 0, 3, 2]] / [90, 131, 90, 131]
        expected = tf.image.crop_and_resize(
            ((image - 127.5) / 128)[None], shares, [0] * 200, (24, 24)
        ).numpy()
        np.testing.assert_allclose(_Crops(image)(boxes, 24), expected, atol=1e-6)


class TestSuppression:
    def test_what_is_suppressed_suppresses(self):
        """The second overlaps the first and the third the second alone: greedily, the third would be kept."""
        boxes = np.array([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
        assert unsuppressed(boxes, np.array([0.9, 0.8, 0.7]), 0.4).tolist() == [0]
        assert unsuppressed(boxes, np.array([0.7, 0.8, 0.9]), 0.4).tolist() == [2]

    def test_of_the_smaller_box(self):
        boxes = np.array([[0.0, 0, 10, 10], [2, 2, 4, 4]])
        scores = np.array([0.9, 0.8])
        assert unsuppressed(boxes, scores, 0.7).tolist() == [0, 1]
        assert unsuppressed(boxes, scores, 0.7, of_smaller=True).tolist() == [0]

    @given(
        st.lists(st.tuples(*[st.integers(0, 12)] * 4), max_size=30),
        st.sampled_from([0.0, 0.5, 0.7]),
        st.booleans(),
        st.integers(1, 7),
    )
    def test_by_its_definition(self, boxes, threshold, of_smaller, at_once):
        boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], np.float64).reshape(-1, 4)
        scores = np.random.default_rng(1).permutation(len(boxes)).astype(np.float32)

        def area(left, top, right, bottom):
            return max(right - left, 0) * max(bottom - top, 0)

        def overlap(one, other):
            common = area(*np.maximum(one[:2], other[:2]), *np.minimum(one[2:], other[2:]))
            areas = area(*one), area(*other)
            whole = min(areas) if of_smaller else sum(areas) - common
            return common / whole if whole else 0

        expected = [
            one
            for one in np.argsort(-scores)
            if not any(
                scores[other] > scores[one] and overlap(boxes[one], boxes[other]) > threshold
                for other in range(len(boxes))
            )
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("xfv_demo.faces.compiled_detector._OVERLAPS_AT_ONCE", at_once)
            assert unsuppressed(boxes, scores, threshold, of_smaller=of_smaller).tolist() == expected


@pytest.fixture(scope="module")
def compiled():
    from xfv_demo.faces.compiled_detector import CompiledMtcnn

    return CompiledMtcnn()


@pytest.fixture(scope="module")
def package():
    from xfv_demo.faces.tensorflow_detector import TensorFlowMtcnn

    return TensorFlowMtcnn()


def assert_same_rows(given, expected):
    assert given.dtype == expected.dtype
    assert given.shape == expected.shape
    sides = np.maximum(expected[:, 3:4] - expected[:, 1:2], 1)
    np.testing.assert_allclose(given[:, 5], expected[:, 5], atol=NEAR)
    np.testing.assert_allclose(given[:, :5] / sides, expected[:, :5] / sides, atol=NEAR)
    np.testing.assert_allclose(given[:, 6:] / sides, expected[:, 6:] / sides, atol=NEAR)


@pytest.mark.slow
class TestAgainstThePackage:
    @pytest.mark.parametrize(
        "size", [None, (1024, 1024), (250, 275), (97, 106), (61, 67), (40, 44), (500, 37)]
    )
    def test_the_same_rows(self, compiled, package, photos, size):
        found = 0
        for photo in photos.values():
            image = cv2.resize(photo, size, interpolation=cv2.INTER_AREA) if size else photo
            expected = package.detect(image)
            assert_same_rows(compiled.detect(image), expected)
            found += len(expected)
        assert found > 0 or size == (500, 37)

    @pytest.mark.parametrize("size", [(1, 5), (10, 10), (12, 300), (24, 24), (25, 25), (37, 500), (250, 250)])
    def test_no_face_no_row(self, compiled, package, size):
        for image in (pictures(*size), np.full((*size, 3), 200, np.uint8)):
            assert package.detect(image).shape == compiled.detect(image).shape == (0, 16)

    def test_cuts_look_the_same(self, compiled, package, rng):
        cuts = rng.integers(0, 256, (13, 48, 48, 3), dtype=np.uint8)
        for given_, expected in zip(compiled.confirm(cuts), package.confirm(cuts), strict=True):
            np.testing.assert_allclose(given_, expected, atol=NEAR)

    def test_the_detector_finds_the_same(self, detector, photos):
        by_tensorflow = MtcnnDetector(engine="tensorflow")
        assert by_tensorflow.fingerprint == detector.fingerprint
        photo = np.ascontiguousarray(np.rot90(photos["obama2"]))
        for one, other in zip(detector.detect(photo), by_tensorflow.detect(photo), strict=True):
            side = other.box[2] - other.box[0]
            np.testing.assert_allclose(one.landmarks, other.landmarks, atol=NEAR * side)
            assert one.rotation == other.rotation == 90
            assert one.certainty == pytest.approx(other.certainty, abs=1e-3)

    @pytest.mark.lfw
    def test_images_of_lfw(self, compiled, package, lfw):
        from xfv_demo.datasets.lfw import read_lfw
        from xfv_demo.faces.images import read_photo

        pairs = read_lfw(lfw)
        faces = 0
        for _, content in pairs.source.stream(pairs.images[:: len(pairs.images) // 100][:100]):
            image = read_photo(content)
            expected = package.detect(image)
            assert_same_rows(compiled.detect(image), expected)
            faces += len(expected)
        assert faces > 100


@pytest.mark.slow
class TestEngines:
    def test_no_tensorflow_is_imported(self, run_python, examples):
        program = (
            "import sys\n"
            "for name in ('tensorflow', 'keras', 'mtcnn'): sys.modules[name] = None\n"
            "from xfv_demo import MtcnnDetector, read_photo\n"
            "detector = MtcnnDetector()\n"
            "for name in sys.argv[1:]: assert detector.detect(read_photo(name)), name\n"
            "assert detector.notice is None\n"
        )
        done = run_python("-c", program, *sorted(examples.glob("*.jpg")))
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""

    def test_without_openvino_tensorflow_finds_them_and_it_is_said(self, monkeypatch, photos, caplog):
        monkeypatch.setitem(sys.modules, "openvino", None)
        detector = MtcnnDetector()
        assert detector.detect(photos["obama"])
        assert "TensorFlow" in detector.notice
        assert detector.notice in caplog.messages
        with pytest.raises(ImportError):
            MtcnnDetector(engine="openvino").detect(photos["obama"])

    def test_networks_that_openvino_cannot_run_are_told_of(self, monkeypatch, photos):
        import openvino

        def fail(*_):
            raise RuntimeError("Exception from src/somewhere.cpp:1:\nno such layer\n")

        monkeypatch.setattr(openvino.Core, "compile_model", fail)
        with pytest.raises(ModelError, match="OpenVINO cannot run MTCNN's networks: no such layer"):
            MtcnnDetector(engine="openvino").detect(photos["obama"])
        assert MtcnnDetector().detect(photos["obama"])

    def test_one_thread_finds_the_same(self, detector, photos):
        one = MtcnnDetector(threads=1).detect(photos["obama"])[0]
        np.testing.assert_allclose(one.landmarks, detector.detect(photos["obama"])[0].landmarks, atol=5e-3)

    def test_eight_threads_find_what_one_does(self, photos):
        images = [cv2.resize(photo, (250, 250 + 8 * one)) for one in range(4) for photo in photos.values()]
        detector = MtcnnDetector()
        with ThreadPoolExecutor(8) as pool:
            # Not loaded yet: they load it together, too.
            together = list(pool.map(detector.detect, images))
        for faces, image in zip(together, images, strict=True):
            alone = detector.detect(image)
            assert len(faces) == len(alone)
            for one, other in zip(faces, alone, strict=True):
                np.testing.assert_array_equal(one.landmarks, other.landmarks)
                assert one.certainty == other.certainty

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    @pytest.mark.parametrize("loaded", ["before", "after"])
    def test_a_fork(self, run_python, examples, loaded):
        program = (
            "import os, sys\n"
            "from xfv_demo import MtcnnDetector, XfvError, read_photo\n"
            "detector, photo = MtcnnDetector(threads=1), read_photo(sys.argv[1])\n"
            "if sys.argv[2] == 'before': detector.detect(photo)\n"
            "if not os.fork():\n"
            "    status = 1\n"
            "    try: status = 0 if detector.detect(photo) and sys.argv[2] == 'after' else 2\n"
            "    except XfvError as error:\n"
            "        status = 0 if sys.argv[2] == 'before' and 'forked' in str(error) else 3\n"
            "    finally: os._exit(status)\n"
            "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        )
        done = run_python("-c", program, examples / "obama.jpg", loaded)
        assert done.returncode == 0, done.stderr


def test_an_engine_that_is_none_is_refused():
    with pytest.raises(ValueError, match='must be one of auto, openvino, tensorflow, not "onnx"'):
        MtcnnDetector(engine="onnx")
