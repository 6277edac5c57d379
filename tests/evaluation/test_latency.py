"""The benchmark: that it measures the published procedure, and what it makes of its measurements."""

import json
import os
import pickle
import sys
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from xfv_demo import XfvError
from xfv_demo.errors import ModelError
from xfv_demo.evaluation.latency import measure, published
from xfv_demo.evaluation.latency.measure import measure_speed
from xfv_demo.evaluation.latency.published import published_maps
from xfv_demo.evaluation.latency.report import MethodTiming, SpeedReport, StartTiming, Timing
from xfv_demo.evaluation.latency.startup import Start, time_process
from xfv_demo.evaluation.latency.tables import speed_table
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.explainers.occlusion import OcclusionExplainer

pytestmark = pytest.mark.slow

COMPARISONS = ("all", "reference", "paired")


class Projection:
    """Random projections of the image, averaged over blocks of 4 x 4 pixels; not of length 1."""

    def __init__(self):
        self._weights = np.random.default_rng(7).standard_normal((28 * 28 * 3, 32)).astype(np.float32)
        self.batches = []

    def embed(self, images):
        self.batches.append(len(images))
        return images.reshape(len(images), 28, 4, 28, 4, 3).mean(axis=(2, 4)).reshape(len(images), -1) @ (
            self._weights
        )


@pytest.fixture
def pair(rng):
    return tuple(rng.random((2, 112, 112, 3), np.float32))


class TestPublishedProcedure:
    def test_gives_what_the_explainer_gives(self, pair):
        """Two implementations of the same paper, of which one embeds everything three times."""
        *_, ours = OcclusionExplainer.stream_all(Projection(), *pair)
        published = dict(published_maps(Projection().embed, *pair))
        assert tuple(published) == COMPARISONS
        for comparison, (probe, reference) in published.items():
            assert probe.dtype == np.float32
            np.testing.assert_allclose(probe, ours[comparison].probe_map, atol=1e-4)
            np.testing.assert_allclose(reference, ours[comparison].reference_map, atol=1e-4)

    def test_takes_three_passes_in_batches_of_64(self, pair):
        embedder = Projection()
        list(published_maps(embedder.embed, *pair))
        one_pass = [2]
        for masks in (441, 400, 289):
            one_pass += 2 * ([64] * (masks // 64) + [masks % 64])
        assert embedder.batches == 3 * one_pass

    def test_leaves_photos_as_they_are(self, pair, monkeypatch):
        monkeypatch.setattr(published, "PATCH_SIZES", (28,))
        before = [photo.copy() for photo in pair]
        list(published_maps(Projection().embed, *pair))
        np.testing.assert_array_equal(pair, before)

    def test_has_a_map_of_zeros_where_nothing_tells(self, pair, monkeypatch):
        monkeypatch.setattr(published, "PATCH_SIZES", (28,))
        for _, maps in published_maps(lambda images: np.ones((len(images), 4), np.float32), *pair):
            np.testing.assert_array_equal(maps, np.zeros((2, 112, 112)))


def maps_at(similarity, keys=COMPARISONS):
    """Maps that correlate this much with those of similarity 1: a mix of two patterns that do not."""
    rows, columns = np.mgrid[-1:1:112j, -1:1:112j]
    mixed = similarity * rows + np.sqrt(1 - similarity**2) * columns
    return {key: np.stack([mixed, rows]).astype(np.float32) for key in keys}


def run_of(*steps):
    """A run with steps at 1, 2, ... seconds."""
    return measure._Run(
        "by hand", [(float(second), maps) for second, maps in enumerate(steps, 1)], 10.0, 20.0
    )


class TestTiming:
    def test_alike_counts_from_where_it_stays(self):
        """Alike at 2 s, not at 3 s, and from 4 s on for good."""
        run = run_of(*map(maps_at, (0.5, 0.96, 0.94, 0.951, 0.99, 1)))
        timing = run.timing("quick", maps_at(1))
        assert (timing.first_map, timing.alike, timing.total, timing.steps) == (1, 4, 6, 6)
        assert (timing.procedure, timing.engine) == ("quick", "by hand")
        assert (timing.loaded_memory, timing.peak_memory) == (10, 20)

    def test_alike_from_the_start(self):
        assert run_of(maps_at(0.96), maps_at(1)).timing("quick", maps_at(1)).alike == 1

    def test_one_step_is_all(self):
        timing = run_of(maps_at(1)).timing("quick", maps_at(1))
        assert timing.first_map == timing.alike == timing.total == 1

    def test_alike_only_when_all_comparisons_are_there(self):
        """As the published procedure shows its maps: one comparison after another, each final."""
        steps = [maps_at(1, COMPARISONS[:count]) for count in (1, 2, 3)]
        timing = run_of(*steps).timing("published", maps_at(1))
        assert (timing.first_map, timing.alike, timing.total) == (1, 3, 3)

    def test_a_single_map_that_differs_is_enough(self):
        differs = maps_at(1)
        differs["paired"] = maps_at(0.9)["paired"]
        assert run_of(maps_at(1), differs, maps_at(1)).timing("quick", maps_at(1)).alike == 3

    def test_an_even_map_is_like_no_other(self):
        """It has no correlation; the first step of a model that tells little looks like this."""
        zeros = {key: np.zeros_like(maps) for key, maps in maps_at(1).items()}
        with np.errstate(all="raise"):
            assert run_of(zeros, maps_at(1)).timing("quick", maps_at(1)).alike == 2
            assert run_of(zeros).timing("quick", maps_at(1)).agreement == 0
            assert run_of(zeros).timing("quick", zeros).agreement == 1

    def test_agreement_is_the_lowest_correlation_with_the_published_maps(self):
        published = maps_at(1)
        published["reference"] = maps_at(0.8)["reference"]
        assert run_of(maps_at(1)).timing("quick", published).agreement == pytest.approx(0.8, abs=1e-3)


def timing(procedure, total, memory=500.0):
    return Timing(procedure, "by hand", 0.5, 1.5, total, 36, memory, memory, 0.99987)


@pytest.fixture
def report():
    return SpeedReport(
        models={
            "small": (timing("published", 50.0), timing("OpenVINO bfloat16", 4.0)),
            "/a/folder/[bold]": (timing("published", 1200.0), timing("TensorFlow", 600.0, memory=None)),
        },
        methods={
            "small": (
                MethodTiming("occlusion", "by hand", 0.5, 4.0, 36),
                MethodTiming("grid", "by hand", 0.02, 0.02, 1),
                MethodTiming("fggb", "by hand", 1.25, 160.0, 12),
            ),
            "/a/folder/[bold]": (MethodTiming("occlusion", "by hand", 0.5, 8.0, 36),),
        },
        processors=2,
        machine="x86_64",
        versions={"numpy": "2"},
        left_out=("small, OpenVINO: not installed",),
        starts={
            "small": (
                StartTiming("verify", 1.25, 1.5, 350.0, 3),
                StartTiming("explain --methods occlusion", 4.0, 4.25, None, 3),
            )
        },
    )


class TestReport:
    def test_as_json(self, report):
        document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert [one["speedup"] for one in document["models"]["small"]] == [1, 12.5]
        assert [one["speedup"] for one in document["models"]["/a/folder/[bold]"]] == [1, 2]
        assert document["models"]["small"][1]["procedure"] == "OpenVINO bfloat16"
        assert document["models"]["/a/folder/[bold]"][1]["peak_memory"] is None
        assert document["methods"]["small"][1] == {
            "method": "grid", "engine": "by hand", "first_map": 0.02, "total": 0.02, "steps": 1,
            "of_occlusion": 0.005,
        }  # fmt: skip
        assert [one["of_occlusion"] for one in document["methods"]["small"]] == [1, 0.005, 40]
        assert document["starts"]["small"][0] == {
            "command": "verify", "first_output": 1.25, "total": 1.5, "peak_memory": 350.0, "runs": 3,
        }  # fmt: skip
        assert document["left_out"] == ["small, OpenVINO: not installed"]
        assert (document["processors"], document["machine"]) == (2, "x86_64")

    def test_as_a_table_that_fits_a_terminal(self, report):
        console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
        console.print(speed_table(report))
        text = console.export_text()
        lines = [line.split() for line in text.splitlines()]
        assert ["published", "0.50", "1.50", "50.00", "1.0", "x", "36", "500", "0.99987"] in lines
        assert ["OpenVINO", "bfloat16", "0.50", "1.50", "4.00", "12.5", "x", "36", "500", "0.99987"] in lines
        assert ["TensorFlow", "0.50", "1.50", "600", "2.0", "x", "36", "-", "0.99987"] in lines
        assert ["occlusion", "0.50", "4.00", "1.00", "x", "36", "by", "hand"] in lines
        assert ["grid", "0.02", "0.02", "0.01", "x", "1", "by", "hand"] in lines
        assert ["fggb", "1.25", "160", "40.00", "x", "12", "by", "hand"] in lines
        assert ["verify", "1.25", "1.50", "350", "3"] in lines
        assert ["explain", "--methods", "occlusion", "4.00", "4.25", "-", "3"] in lines
        assert "small" in text
        assert "/a/folder/[bold]" in text.replace("\n", "").replace(" ", "")
        assert "…" not in text


class InThisProcess:
    """In place of a pool: runs what it is given here, with all that goes there and back pickled."""

    def __init__(self, *_, **__):
        self.work = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *given):
        future = Future()
        try:
            function, given = pickle.loads(pickle.dumps((function, given)))
            future.set_result(pickle.loads(pickle.dumps(function(*given))))
        except Exception as error:
            future.set_exception(pickle.loads(pickle.dumps(error)))
        return future


def save_model(folder, outputs=lambda embedding: {"embedding": embedding}, count=None):
    """A SavedModel that averages blocks of 8 x 8 pixels and projects them to 6 dimensions."""
    import tensorflow as tf

    weights = np.random.default_rng(3).standard_normal((14 * 14 * 3, 6)).astype(np.float32)

    def embed(faces):
        blocks = tf.nn.avg_pool2d(faces, 8, 8, "VALID")
        return outputs(tf.reshape(blocks, [count or -1, 14 * 14 * 3]) @ weights)

    spec = tf.TensorSpec((count, 112, 112, 3), tf.float32, name="faces")
    module = tf.Module()
    tf.saved_model.save(module, str(folder), tf.function(embed, input_signature=[spec]))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def here(monkeypatch, pair):
    """The benchmark without its processes, on a pair of noise."""
    monkeypatch.setattr(measure, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(measure, "_example_pair", given := Given(pair))
    monkeypatch.setattr(measure, "time_process", Given(Start(0.5, 1.0, 100.0)))
    return given


class Given:
    """A function that gives a value, and can be pickled."""

    def __init__(self, value):
        self._value = value

    def __call__(self, *_):
        return self._value


class Refused(Given):
    """A procedure that this machine has not."""

    def __call__(self, *_):
        raise ModelError(self._value)


class TestMeasuring:
    def test_a_model_from_end_to_end(self, here, model):
        shown = []
        report = measure_speed([str(model)], progress=lambda done, total: shown.append((done, total)))
        timings = report.models[str(model)]
        *procedures, without = report.left_out
        assert len(timings) + len(procedures) == 4
        assert [one.procedure for one in timings[:3]] == ["published", "TensorFlow", "OpenVINO"]
        assert timings[0].engine.endswith("saved_model.load")
        assert timings[0].steps == 3
        assert timings[0].agreement == 1
        for one in timings[1:]:
            assert one.steps >= 30
            assert 0 <= one.first_map <= one.alike <= one.total
            assert one.agreement > (0.999 if "bfloat16" in one.procedure else 0.99999)
        runs = 4 + len(EXPLAINERS) + 3
        assert shown == [(done, runs) for done in range(runs + 1)]
        assert report.processors == os.cpu_count()
        # The pooled pixels are its grid, and what follows is affine; but nobody trained an xCos head on it.
        assert "there is no xCos head" in without
        methods = report.methods[str(model)]
        assert [one.method for one in methods] == [name for name in measure._METHODS if name != "xcos"]
        assert methods[0].method == "occlusion"
        for one in methods:
            assert 0 <= one.first_map <= one.total
            single = ("xssab", "grid", "fggb", "integrated-gradients", "frequency")
            assert (one.steps == 1) == (one.method in single)
            assert one.engine == timings[2].engine
        commands = ("verify", "explain", "explain --methods occlusion")
        assert report.starts == {
            str(model): tuple(StartTiming(name, 0.5, 1.0, 100.0, 3) for name in commands)
        }

    def test_a_model_named_twice_is_measured_once(self, here, model, monkeypatch):
        run = measure._run_published(model, here())
        monkeypatch.setattr(measure, "_time_method", Given(MethodTiming("grid", "by hand", 1.0, 1.0, 1)))
        for name in ("_run_published", "_run_tensorflow", "_run_float32", "_run_bfloat16"):
            monkeypatch.setattr(measure, name, Given(run))
        shown = []
        report = measure_speed([str(model)] * 2, progress=lambda done, total: shown.append((done, total)))
        assert list(report.models) == [str(model)]
        assert shown[-1] == (4 + len(EXPLAINERS) + 3,) * 2
        assert list(report.methods) == [str(model)]

    def test_goes_without_what_the_machine_has_not(self, here, model, monkeypatch):
        for name in ("_run_float32", "_run_bfloat16"):
            monkeypatch.setattr(measure, name, Refused("OpenVINO is not installed"))
        monkeypatch.setattr(measure, "_time_method", Given(MethodTiming("grid", "by hand", 1.0, 1.0, 1)))
        report = measure_speed([str(model)])
        assert [one.procedure for one in report.models[str(model)]] == ["published", "TensorFlow"]
        assert report.left_out == tuple(
            f"{model}, {name}: OpenVINO is not installed" for name in ("OpenVINO", "OpenVINO bfloat16")
        )

    @pytest.mark.parametrize("needed", ["_run_published", "_run_tensorflow"])
    def test_does_not_go_without_tensorflow(self, here, model, monkeypatch, needed):
        monkeypatch.setattr(measure, needed, Refused("its weights are broken"))
        with pytest.raises(ModelError, match="its weights are broken"):
            measure_speed([str(model)])

    def test_does_not_go_without_occlusion(self, here, model, monkeypatch):
        run = measure._run_published(model, here())
        for name in ("_run_published", "_run_tensorflow", "_run_float32", "_run_bfloat16"):
            monkeypatch.setattr(measure, name, Given(run))
        monkeypatch.setattr(measure, "_time_method", Refused("its weights are broken"))
        with pytest.raises(ModelError, match="its weights are broken"):
            measure_speed([str(model)])

    def test_refuses_wrong_names_before_any_work(self, monkeypatch):
        monkeypatch.setattr(measure, "ProcessPoolExecutor", lambda *_, **__: pytest.fail("work was begun"))
        with pytest.raises(ModelError, match="nonsense"):
            measure_speed(["resnet50", "nonsense"])
        with pytest.raises(XfvError, match="no model was asked for"):
            measure_speed([])


class TestProcesses:
    def test_errors_come_back_and_a_lost_process_is_told_of(self):
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
            with pytest.raises(ModelError, match="'nowhere' is neither a model's name"):
                measure._result(pool, "a model", measure.locate_model, "nowhere")
            with pytest.raises(XfvError, match=r"small, OpenVINO: .*want of memory"):
                measure._result(pool, "small, OpenVINO", os._exit, 1)

    def test_want_of_memory_is_told_of(self):
        with pytest.raises(XfvError, match="want of memory; close other programs"):
            measure._result(InThisProcess(), "a model", bytearray, 2**62)

    def test_memory_is_measured_where_the_system_tells(self):
        now, most = measure._memory()
        if not os.path.exists("/proc/self/status"):  # noqa: PTH110
            assert now is most is None
        else:
            assert 10 < now <= most

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            ("Name:\tpython\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n", (1.0, 2.0)),
            ("Name:\todd:\tname\nVmRSS:\t  1536 kB\n", (1.5, None)),
            ("", (None, None)),
            (None, (None, None)),
        ],
        ids=["Linux", "a container that tells less", "nothing", "no such file"],
    )
    def test_memory_as_systems_tell_it(self, monkeypatch, status, expected):
        def read_text(_path):
            if status is None:
                raise FileNotFoundError(2, "No such file or directory")
            return status

        monkeypatch.setattr(measure.Path, "read_text", read_text)
        assert measure._memory() == expected


class TestWholeProcesses:
    def test_first_output_end_and_memory(self):
        """What it wrote before it slept came before what came after; and what it held, it took."""
        program = (
            "import time; held = bytearray(150_000_000); print('first', flush=True); time.sleep(1.5); "
            "print('last')"
        )
        start = time_process([sys.executable, "-c", program])
        assert 0 < start.first_output < start.total
        assert start.total - start.first_output >= 1.4
        assert start.peak_memory is None or start.peak_memory > 140

    def test_memory_is_the_process_s_own(self):
        """Linux counts what the starting process took, which here is a new one, as in the benchmark."""
        programs = (f"held = bytearray({size}); held[::4096] = held[::4096]" for size in (1, 400_000_000))
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
            small, large = (
                measure._result(pool, "some", time_process, [sys.executable, "-c", program]).peak_memory
                for program in programs
            )
        assert small is large is None or (small < 200 and large > 380)

    def test_where_nothing_is_written_the_end_is_the_first_that_is_seen(self):
        start = time_process([sys.executable, "-c", ""])
        assert start.first_output == start.total > 0

    def test_much_on_both_streams_blocks_nothing(self):
        program = "import sys; sys.stderr.write('e' * 10**6); sys.stdout.write('o' * 10**6)"
        assert time_process([sys.executable, "-c", program]).total > 0

    @pytest.mark.parametrize(
        ("program", "reason"),
        [
            ("import sys; print('some'); sys.exit('xfv-demo: the model is broken')", "^the model is broken$"),
            ("import os; os._exit(3)", "it says nothing"),
            ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "it says nothing"),
        ],
        ids=["a line", "nothing", "killed"],
    )
    def test_an_error_is_told_of(self, program, reason):
        with pytest.raises(ModelError, match=reason):
            time_process([sys.executable, "-c", program])

    def test_where_the_system_does_not_tell_the_memory(self, monkeypatch):
        monkeypatch.delattr(os, "wait4", raising=False)
        start = time_process([sys.executable, "-c", "print(1)"])
        assert (start.peak_memory, start.first_output <= start.total) == (None, True)

    def test_the_median_of_several_runs_but_the_first(self, monkeypatch):
        runs = iter([Start(9, 9, 900), Start(1, 3, None), Start(2, 5, 200), Start(4, 4, 100)])
        commands = []

        class Pool:
            def submit(self, _function, command):
                commands.append(command)
                future = Future()
                future.set_result(next(runs))
                return future

        timing = measure._time_command(Pool(), "explain", "some/model", Path("out"))
        assert timing == StartTiming("explain", 2, 4, 150, 3)
        assert commands[0][1:6] == ["-m", "xfv_demo", "explain", "--out", "out"]
        assert commands[0][-2:] == ["--model", "some/model"]
        assert len(commands) == 4

    def test_a_command_that_fails_is_left_out(self, here, model, monkeypatch):
        run = measure._run_published(model, here())
        monkeypatch.setattr(measure, "_time_method", Given(MethodTiming("grid", "by hand", 1.0, 1.0, 1)))
        for name in ("_run_published", "_run_tensorflow", "_run_float32", "_run_bfloat16"):
            monkeypatch.setattr(measure, name, Given(run))
        monkeypatch.setattr(measure, "time_process", Refused("it has no gradients"))
        report = measure_speed([str(model)])
        assert report.starts == {str(model): ()}
        assert report.left_out[0] == f"{model}, verify: it has no gradients"
        assert len(report.left_out) == 3


class TestPublishedEmbedding:
    @pytest.mark.parametrize(
        "odd",
        [
            {"outputs": lambda embedding: {"embedding": embedding, "norm": embedding[:, :1]}},
            {"count": 3},
        ],
        ids=["two outputs", "three images at a time"],
    )
    def test_odd_models_run_as_this_package_runs_them(self, model, tmp_path, rng, odd):
        images = rng.random((5, 112, 112, 3), np.float32)
        plain, engine = measure._published_embedding(model)
        assert engine.endswith("saved_model.load")
        embed, engine = measure._published_embedding(save_model(tmp_path / "odd", **odd))
        assert engine.endswith("float32")
        expected = plain(images) / np.linalg.norm(plain(images), axis=1, keepdims=True)
        np.testing.assert_allclose(embed(images), expected, atol=1e-5)

    def test_a_broken_model_is_named(self, tmp_path):
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "saved_model.pb").write_bytes(b"nothing of the kind")
        with pytest.raises(ModelError, match="broken"):
            measure._published_embedding(tmp_path / "broken")
