"""The benchmark of explanations: what competes, what is kept, and the table that follows."""

import datetime
import itertools
import json
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from xfv_demo import EXPLAINERS
from xfv_demo.batch.cache import MeasurementStore
from xfv_demo.errors import DatasetError, XfvError
from xfv_demo.evaluation.explanations import run
from xfv_demo.evaluation.explanations.comparison import compare
from xfv_demo.evaluation.explanations.figures import curves_figure, save_benchmark_figures, tradeoff_figure
from xfv_demo.evaluation.explanations.measurements import (
    MeasuredPairs,
    Measurement,
    block_means,
    measure_methods,
)
from xfv_demo.evaluation.explanations.methods import (
    BASELINES,
    CENTRE_PRIOR,
    COMPARED_METHODS,
    RANDOM,
    AttributionRequest,
    AttributionRunner,
    check_compared_methods,
)
from xfv_demo.evaluation.explanations.patch_lfw import PatchedPair, PatchLfw
from xfv_demo.evaluation.explanations.report import BenchmarkReport, default_methods
from xfv_demo.evaluation.explanations.run import run_benchmark, time_methods
from xfv_demo.evaluation.explanations.sanity import Sanity, check_sanity, shuffled_weights
from xfv_demo.evaluation.explanations.tables import benchmark_table, carried_differences, markdown
from xfv_demo.metrics import faithfulness

THRESHOLD = 0.36


class LeftHalf:
    """Embeds the left half's mean colour, and a constant that keeps it from being nothing."""

    name = "left half"
    engine = "numpy"
    sha256 = None
    fingerprint = "left half"

    def __init__(self):
        self.images = 0

    def embed(self, images):
        self.images += len(images)
        colour = images[:, :, :56].mean(axis=(1, 2)) - 0.5
        vectors = np.concatenate([colour, np.full((len(images), 1), 0.05)], axis=1)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def patched_set(aligned, count=8):
    """Genuine and impostor pairs of the example photos; the faces as they are, the patches drawn."""
    names = ["obama", "obama2", "obama3", "biden"]
    images = {f"{name}/{name}.png": np.rint(255 * aligned[name]).astype(np.uint8) for name in names}
    keys = list(images)
    rng = np.random.default_rng(5)
    pairs = []
    for number, (one, other) in enumerate(itertools.islice(itertools.permutations(range(4), 2), count)):
        genuine = 3 not in (one, other)
        corners = rng.integers(0, 96, (27, 2))
        donor = keys[3] if genuine else keys[other]
        pairs.append(PatchedPair(keys[one], keys[other], donor, genuine, number % 2, corners))
    return PatchLfw("examples", 0, tuple(pairs), images)


@pytest.fixture(scope="module")
def patch_lfw(aligned):
    return patched_set(aligned)


@pytest.fixture
def store(tmp_path):
    with closing(MeasurementStore(tmp_path / "outcomes.sqlite")) as store:
        yield store


class TestContenders:
    def test_every_explainer_competes(self):
        competing = {one.method for one in COMPARED_METHODS.values()} - set(BASELINES)
        # Whose maps are no places in the face.
        assert competing == set(EXPLAINERS) - {"frequency"}

    def test_a_method_stands_for_all_its_variants(self):
        keys = [one.key for one in check_compared_methods(["occlusion", "grid"])]
        assert keys == [
            *("occlusion-all", "occlusion-reference", "occlusion-paired", "occlusion-covered", "grid"),
            *BASELINES,
        ]
        assert [one.key for one in check_compared_methods(["occlusion-all"])] == ["occlusion-all", *BASELINES]

    def test_an_unknown_one_is_named(self):
        with pytest.raises(XfvError, match='no explanation method "lime"'):
            check_compared_methods(["grid", "lime"])

    def test_maps_are_the_explainers_own(self, embedder, aligned):
        probe, reference = aligned["obama"], aligned["obama2"]
        chosen = check_compared_methods(["xssab", "grid", "xcos"])
        makers = AttributionRunner(embedder, THRESHOLD, chosen)
        question = AttributionRequest(probe, reference, True, np.random.default_rng(0))
        maps = makers.maps(question, [one.key for one in chosen])
        assert set(maps) == {one.key for one in chosen}
        for method, settings in (("xssab", {"threshold": THRESHOLD}), ("grid", {}), ("xcos", {})):
            explanation = EXPLAINERS[method](embedder, **settings).explain(probe, reference)
            # One photo is differentiated there, two are here: 1.8e-6 apart on some processors.
            np.testing.assert_allclose(maps[method], explanation.probe_map, atol=1e-5)
        # Smoothing takes the speckle and leaves the sum.
        assert maps["xssab-smooth"].std() < maps["xssab"].std() / 2
        assert not makers.refused

    def test_one_pass_of_occlusion_serves_three(self, aligned):
        model = LeftHalf()
        makers = AttributionRunner(model, THRESHOLD, check_compared_methods(["occlusion"]))
        question = AttributionRequest(aligned["obama"], aligned["biden"], False, np.random.default_rng(0))
        maps = makers.maps(question, list(COMPARED_METHODS))
        passes = model.images
        for comparison in ("all", "reference", "paired"):
            explanation = EXPLAINERS["occlusion"](LeftHalf(), comparison).explain(
                aligned["obama"], aligned["biden"]
            )
            np.testing.assert_allclose(maps[f"occlusion-{comparison}"], explanation.probe_map, atol=1e-6)
        # 1,130 masks and the covered geometry's 225 + 169, of two photos, and both as they are.
        assert passes == 2 * (1130 + 1) + 2 * (225 + 169 + 1)
        # All of the evidence lies where the model looks.
        assert np.abs(maps["occlusion-covered"][:, 84:]).max() < 1e-3

    def test_what_a_model_lacks_is_said(self, aligned):
        makers = AttributionRunner(
            LeftHalf(), THRESHOLD, check_compared_methods(["xssab", "grid", "corrrise"])
        )
        assert [one.key for one in makers.contenders] == ["corrrise", *BASELINES]
        assert set(makers.refused) == {"xssab", "xssab-smooth", "grid"}
        assert "embedding_gradients" in makers.refused["xssab"]

    def test_the_prior_knows_the_verdict_and_the_place_of_faces_alone(self, aligned, rng):
        makers = AttributionRunner(LeftHalf(), THRESHOLD, check_compared_methods([]))
        accepted, rejected = (
            makers.maps(AttributionRequest(aligned["obama"], aligned["biden"], verdict, rng), BASELINES)[
                CENTRE_PRIOR
            ]
            for verdict in (True, False)
        )
        np.testing.assert_array_equal(accepted, -rejected)
        assert accepted.min() >= 0
        assert accepted[70, 56] > 0.9
        assert accepted[:10, :10].max() < 0.1

    def test_random_maps_come_from_the_seed(self, aligned):
        makers = AttributionRunner(LeftHalf(), THRESHOLD, check_compared_methods([]))
        one, again, other = (
            makers.maps(
                AttributionRequest(aligned["obama"], aligned["biden"], True, np.random.default_rng(seed)),
                [RANDOM],
            )[RANDOM]
            for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(one, again)
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.05


class TestOutcomes:
    def test_numbers_come_back(self, rng):
        sizes = (
            faithfulness.REPLACEMENT_SHARES.size,
            faithfulness.DELETION_SHARES.size,
            faithfulness.DELETION_SHARES.size,
            1,
        )
        parts = [rng.random(size, np.float32) for size in sizes]
        outcome = Measurement(*parts, *rng.random((2, 28, 28), np.float32))
        again = Measurement.from_numbers(outcome.numbers)
        for name in ("replaced", "deleted", "inserted", "found", "patched_map", "clean_map"):
            np.testing.assert_array_equal(getattr(again, name), getattr(outcome, name))

    def test_block_means_on_paper(self):
        values = np.arange(112 * 112, dtype=np.float32).reshape(112, 112)
        assert block_means(values).shape == (28, 28)
        assert block_means(values)[0, 0] == pytest.approx(values[:4, :4].mean())
        assert block_means(values)[5, 9] == pytest.approx(values[20:24, 36:40].mean())

    def test_curves_begin_at_the_patched_and_end_at_the_whole(self, patch_lfw, embedder, store):
        makers = AttributionRunner(embedder, THRESHOLD, check_compared_methods(["grid"]))
        measured = measure_methods(patch_lfw, embedder, makers, THRESHOLD, store)
        every = measured.rows(list(measured.outcomes))
        assert every.all()
        for key in measured.outcomes:
            np.testing.assert_allclose(measured.of(key, "replaced", every)[:, 0], measured.patched, atol=1e-5)
            for part, place in (("deleted", 0), ("inserted", -1)):
                np.testing.assert_allclose(measured.of(key, part, every)[:, place], measured.clean, atol=1e-5)
        expected = [embedder.embed(np.stack(patch_lfw.faces(pair))) for pair in patch_lfw.pairs]
        np.testing.assert_allclose(measured.patched, [one[1] @ one[2] for one in expected], atol=1e-5)

    def test_a_second_run_measures_nothing_and_says_the_same(self, patch_lfw, store):
        model = LeftHalf()
        makers = AttributionRunner(model, THRESHOLD, check_compared_methods(["corrrise"]))
        first = measure_methods(patch_lfw, model, makers, THRESHOLD, store, slow_rows={0, 5})
        before, calls = model.images, []
        again = measure_methods(
            patch_lfw, model, makers, THRESHOLD, store, slow_rows={0, 5}, progress=lambda *n: calls.append(n)
        )
        assert model.images - before == 3 * len(patch_lfw)
        assert (first.kept, again.kept) == (0, 2 * len(patch_lfw) + 2)
        assert calls[-1] == (len(patch_lfw), len(patch_lfw))
        for key in first.outcomes:
            rows = first.rows([key])
            assert rows.sum() == (2 if key == "corrrise" else len(patch_lfw))
            np.testing.assert_array_equal(first.of(key, "replaced", rows), again.of(key, "replaced", rows))

    def test_killed_in_the_middle_it_goes_on(self, patch_lfw, store):
        model = LeftHalf()
        makers = AttributionRunner(model, THRESHOLD, check_compared_methods([]))

        def stop(done, _all):
            if done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            measure_methods(patch_lfw, model, makers, THRESHOLD, store, progress=stop)
        assert measure_methods(patch_lfw, model, makers, THRESHOLD, store).kept == 3 * len(BASELINES)

    def test_another_threshold_is_another_work(self, patch_lfw, store):
        model = LeftHalf()
        makers = AttributionRunner(model, THRESHOLD, check_compared_methods([]))
        measure_methods(patch_lfw, model, makers, THRESHOLD, store)
        assert measure_methods(patch_lfw, model, makers, 0.5, store).kept == 0


def made_up(areas, pairs=40, seed=0):
    """Outcomes whose errors last until a share that differs by contender, and a little by pair."""
    rng = np.random.default_rng(seed)
    genuine = np.arange(pairs) % 2 == 0
    wrong = np.where(genuine, 0.1, 0.9)
    outcomes = {}
    for key, share in areas.items():
        ends = np.clip(share + 0.1 * rng.standard_normal(pairs), 0, 1)
        rows = []
        for row in range(pairs):
            erring = ends[row] > faithfulness.REPLACEMENT_SHARES
            replaced = np.where(erring, wrong[row], 1 - wrong[row]).astype(np.float32)
            whole = np.full(21, 1 - wrong[row], np.float32)
            maps = rng.random((2, 28, 28), np.float32)
            rows.append(Measurement(replaced, whole, whole, np.array([0.6], np.float32), *maps))
        outcomes[key] = tuple(rows)
    right = np.where(genuine, 0.9, 0.1).astype(np.float32)
    return MeasuredPairs(genuine, right, wrong.astype(np.float32), outcomes, 0)


def report_of(measured):
    compared = compare(
        measured, 0.5,
        seconds={"grid": 0.02, "xcos": 0.06, "occlusion-all": 2.8},
        sanity={"grid": Sanity(0.1, 0.3, 1.0, None)},
    )  # fmt: skip
    about = {
        "model": "made | up",
        "model_sha256": None,
        "engine": "numpy",
        "dataset": "examples",
        "seed": 0,
        "threshold": 0.5,
        "left_out": 0,
        "sanity_pairs": 3,
        "refused": {},
        "kept": 0,
        "seconds": 1.5,
        "date": datetime.date(2026, 11, 22),
        "command": "python -m xfv_demo evaluate patch-lfw",
        "versions": {"numpy": "2"},
    }
    return BenchmarkReport(**vars(compared), **about)


@pytest.fixture(scope="module")
def measured():
    return made_up({"grid": 0.5, "xcos": 0.2, "occlusion-all": 0.21, RANDOM: 0.7, CENTRE_PRIOR: 0.9})


@pytest.fixture(scope="module")
def report(measured):
    return report_of(measured)


class TestTable:
    def test_the_best_comes_first_and_the_worst_last(self, report):
        keys = [one.key for one in report.contenders]
        assert set(keys[:2]) == {"xcos", "occlusion-all"}
        assert keys[2:] == ["grid", RANDOM, CENTRE_PRIOR]

    def test_rates_and_areas(self, report, measured):
        assert (report.clean.fmr, report.clean.fnmr) == (0, 0)
        assert (report.patched.fmr, report.patched.fnmr) == (1, 1)
        every = np.ones(40, bool)
        for one in report.contenders:
            curves = faithfulness.error_curves(measured.of(one.key, "replaced", every), measured.genuine, 0.5)
            assert one.common.fmr.value == pytest.approx(curves.fmr_area)
            assert one.common.fnmr.value == pytest.approx(curves.fnmr_area)
            assert one.common.replacement.value == pytest.approx((curves.fmr_area + curves.fnmr_area) / 2)
            assert one.common.deletion.value == one.common.insertion.value == 1
            assert one.common.found.value == pytest.approx(0.6)
            interval = one.common.replacement.interval
            assert interval.low < one.common.replacement.value < interval.high
            assert one.curves.fmr == pytest.approx(curves.fmr)

    def test_differences_have_their_sign(self, report):
        # The better first: its area is the smaller one.
        by_names = {(apart.one, apart.other): apart.replacement for apart in report.differences}
        assert ("grid", "xcos") not in by_names
        apart = by_names["xcos", "grid"]
        assert apart.interval.low < apart.value < apart.interval.high < 0
        areas = {one.key: one.common.replacement.value for one in report.contenders}
        assert apart.value == pytest.approx(areas["xcos"] - areas["grid"])

    def test_what_the_intervals_carry_in_words(self, report):
        best, *_, last = carried_differences(report.differences)
        other = next(one.title for one in report.contenders[:2] if not best.startswith(one.title))
        assert best.endswith(
            f"is better than Grid cells; Random; and Centre prior. It cannot be told from {other}."
        )
        assert last == "Random is better than Centre prior."

    def test_agreement_is_1_with_itself_and_about_0_of_noise(self, report):
        for one, row in report.agreement.items():
            assert row[one] == pytest.approx(1)
            assert all(abs(value) < 0.1 for other, value in row.items() if other != one)

    def test_slow_ones_are_compared_on_their_pairs_quick_ones_measured_on_all(self, measured):
        few = {**measured.outcomes, "occlusion-all": tuple(
            one if row < 12 else None for row, one in enumerate(measured.outcomes["occlusion-all"])
        )}  # fmt: skip
        of_few = report_of(MeasuredPairs(measured.genuine, measured.clean, measured.patched, few, 0))
        for one in of_few.contenders:
            assert one.common.pairs.total == 12
            assert one.every.pairs.total == (12 if one.key == "occlusion-all" else 40)
        assert {one.one for one in of_few.quick_differences} | {
            one.other for one in of_few.quick_differences
        } == {one.key for one in of_few.contenders} - {"occlusion-all"}
        # As all were measured on all pairs before, with the same bootstrap.
        (before,) = (
            one for one in report_of(measured).differences if (one.one, one.other) == ("grid", RANDOM)
        )
        (now,) = (one for one in of_few.quick_differences if (one.one, one.other) == ("grid", RANDOM))
        for name in ("replacement", "deletion", "insertion", "found"):
            one, other = getattr(now, name), getattr(before, name)
            assert one.value == pytest.approx(other.value)
            assert one.interval.low == pytest.approx(other.interval.low)
            assert one.interval.high == pytest.approx(other.interval.high)
        quick = markdown(of_few).partition("| quick map |")[2]
        assert "| Grid cells |" in quick
        assert "Occlusion" not in quick.partition("\n\n")[0]

    def test_pairs_of_one_kind_will_not_do(self, measured):
        with pytest.raises(DatasetError, match="two genuine and two impostor"):
            compare(
                MeasuredPairs(np.ones(40, bool), measured.clean, measured.patched, measured.outcomes, 0), 0.5,
                seconds={}, sanity={},
            )  # fmt: skip

    def test_what_the_head_knows_is_told_apart(self, measured):
        unseen = np.arange(40) < 10
        compared = compare(measured, 0.5, seconds={}, sanity={}, unseen=unseen)
        assert {one.unseen.pairs.total for one in compared.contenders} == {10}
        none = compare(measured, 0.5, seconds={}, sanity={}, unseen=np.zeros(40, bool))
        assert {one.unseen for one in none.contenders} == {None}


def test_a_page_explains_by_the_best_and_by_the_best_that_is_there_at_once(report):
    best = COMPARED_METHODS[report.contenders[0].key].method
    # xCos is quick too and better than the grid, but needs a head.
    assert default_methods(report.contenders) == (best, "grid")
    assert default_methods([report.result("grid"), report.result(RANDOM)]) == ("grid",)


class TestWords:
    def test_json_is_plain(self, report, tmp_path):
        report.save(tmp_path / "report.json")
        read = json.loads((tmp_path / "report.json").read_text())
        assert read["format"] == "xfv-demo explanation benchmark"
        assert [one["key"] for one in read["contenders"]] == [one.key for one in report.contenders]
        assert read["contenders"][2]["sanity"]["noise"] is None
        assert read["date"] == "2026-11-22"

    def test_terminal_and_markdown_have_every_contender(self, report):
        assert benchmark_table(report).row_count == 5
        text = markdown(report)
        for one in report.contenders:
            assert f"| {one.title} | {one.common.fmr.value:.3f} |" in text
        # All were measured on the same pairs, so nothing more is to be said of the quick ones.
        assert "quick map" not in text
        assert "| Grid cells | 0.10 | 0.30 | 1.00 |  |" in text
        assert "`python -m xfv_demo evaluate patch-lfw`" in text

    def test_figures_show_every_contender(self, report, tmp_path):
        (axes,) = tradeoff_figure(report).axes
        drawn = {line.get_gid() for line in axes.lines}
        assert {one.key for one in report.contenders} <= drawn
        dot = next(line for line in axes.lines if line.get_gid() == "grid")
        assert dot.get_xdata()[0] == pytest.approx(0.02)
        assert dot.get_ydata()[0] == pytest.approx(report.result("grid").common.replacement.value)
        for panel, part in zip(
            curves_figure(report).axes, ("fmr", "fnmr", "deletion", "insertion"), strict=True
        ):
            assert {line.get_gid() for line in panel.lines} == {
                f"{part} {one.key}" for one in report.contenders
            }
        written = save_benchmark_figures(report, tmp_path, "x")
        for path in written:
            assert Image.open(path).size[0] == 1095


class TestSanity:
    def test_shuffled_weights_make_another_model(self, embedder, tmp_path, aligned):
        other = shuffled_weights(embedder, tmp_path / "other", 0)
        faces = np.stack([aligned["obama"], aligned["obama2"]])
        assert np.abs(other.embed(faces) - embedder.embed(faces)).max() > 0.1
        # The layers are the same, so are the numbers in them, but not their places.
        assert other.grid_shape == embedder.grid_shape

    def test_what_maps_depend_on(self, embedder, patch_lfw, store):
        chosen = check_compared_methods(["grid"])
        made = []

        def make(model, seed):
            made.append(seed)
            return AttributionRunner(model, THRESHOLD, chosen, corrrise_seed=seed)

        makers = make(embedder, None)
        rows = [row for row, pair in enumerate(patch_lfw.pairs) if pair.genuine][:2]
        checked = check_sanity(patch_lfw, rows, embedder, makers, make, THRESHOLD, store)
        # The prior and the random map know nothing of the weights; the latter is another one each time.
        assert checked[CENTRE_PRIOR].repeated == pytest.approx(1)
        assert abs(checked[RANDOM].repeated) < 0.1
        assert checked[RANDOM].weights == pytest.approx(1)
        grid = checked["grid"]
        assert grid.repeated == pytest.approx(1)
        assert grid.noise > 0.9
        assert abs(grid.weights) < 0.7
        assert grid.reference < 0.9
        # Kept: nothing is made again.
        made.clear()
        assert check_sanity(patch_lfw, rows, embedder, makers, make, THRESHOLD, store) == checked
        assert not made

    def test_no_pairs_no_checks(self, embedder, patch_lfw, store):
        makers = AttributionRunner(embedder, THRESHOLD, check_compared_methods([]))
        assert check_sanity(patch_lfw, [], embedder, makers, AttributionRunner, THRESHOLD, store) == {}


class TestRun:
    def test_all_together(self, embedder, patch_lfw, store):
        parts = []
        report = run_benchmark(
            patch_lfw, embedder, check_compared_methods(["grid", "xcos"]), THRESHOLD, store,
            slow_pairs=4, sanity_pairs=0, command="as a test",
            progress=lambda part: parts.append(part) or (lambda _done, _all: None),
        )  # fmt: skip
        assert parts == ["Measuring", "Checking", "Timing"]
        assert {one.key for one in report.contenders} == {"grid", "xcos", *BASELINES}
        assert all((one.seconds is None) == (one.key in BASELINES) for one in report.contenders)
        assert report.result("xcos").unseen.pairs.total == len(patch_lfw)
        assert report.patched.fnmr >= report.clean.fnmr
        assert json.dumps(report.to_dict())

    def test_a_model_that_nothing_explains_is_refused(self, patch_lfw, store):
        with pytest.raises(XfvError, match=r"no method can explain this model: .*feature_grid"):
            run_benchmark(
                patch_lfw, LeftHalf(), check_compared_methods(["grid"]), THRESHOLD, store,
                slow_pairs=4, sanity_pairs=0,
            )  # fmt: skip

    def test_variants_of_one_pass_share_its_time(self, patch_lfw, monkeypatch):
        ticks = itertools.count()
        monkeypatch.setattr(run.time, "perf_counter", lambda: float(next(ticks)))
        contenders = check_compared_methods(["corrrise", "occlusion-covered"])
        seconds = time_methods(LeftHalf(), patch_lfw, [0, 1], contenders, THRESHOLD)
        assert set(seconds) == {"corrrise", "occlusion-covered"}
