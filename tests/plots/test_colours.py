"""Colours against the palettes' definitions, the blends against formulas pixel by pixel, and the figure."""

import base64
import colorsys
import io
import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.colors import to_rgb
from matplotlib.transforms import Bbox
from PIL import Image
from skimage.color import rgb2lab

from xfv_demo.plots.colours import (
    PALETTES,
    WEIGHTS,
    blend_alpha,
    blend_published,
    colour_bar,
    colour_map,
    enlarge,
    map_on_photo,
    png_bytes,
    png_data_uri,
    shared_scale,
)
from xfv_demo.plots.pair_figure import PairMaps, figure_png, pair_figure
from xfv_demo.types import AlignedFace, Face, Verification

DIVERGING = [key for key, palette in PALETTES.items() if palette.sign == 0]
WHITE_GREY = to_rgb("#f7f7f7")

# ColorBrewer's eleven classes of PiYG.
PIYG = (
    *("#8e0152", "#c51b7d", "#de77ae", "#f1b6da", "#fde0ef", "#f7f7f7"),
    *("#e6f5d0", "#b8e186", "#7fbc41", "#4d9221", "#276419"),
)

# Machado, Oliveira and Fernandes (TVCG 2009): linear RGB as seen without the cones for red, for green.
WITHOUT_RED = [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
]
WITHOUT_GREEN = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
]

finite_maps = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=5),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


ALL_CONES = np.eye(3)


def lab_as_seen(colours, simulation):
    """CIELAB of (N, 3) colours by somebody's cones."""
    colours = colours.astype(float)
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.transpose(simulation)).clip(0, 1)
    seen = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    return rgb2lab(seen[np.newaxis])[0]


def colour_of(value, palette="piyg", scale=1.0):
    return colour_map([[value]], scale=scale, palette=palette)[0, 0]


@pytest.fixture
def photo(rng):
    return rng.random((112, 112, 3), dtype=np.float32)


@pytest.fixture
def signed_map(rng):
    """Without spikes, so that it survives being enlarged."""
    waves = np.sin(np.linspace(0, 9, 112))
    return (waves * waves[:, np.newaxis] * rng.uniform(0.5, 1)).astype(np.float32)


class TestColours:
    @pytest.mark.parametrize("palette", ["piyg", "orange-blue"])
    @pytest.mark.parametrize("scale", [1e-6, 1, 7])
    def test_zero_is_neutral_whatever_the_scale(self, palette, scale):
        np.testing.assert_allclose(colour_of(0, palette, scale), WHITE_GREY, atol=1e-6)

    @pytest.mark.parametrize("palette", ["greens", "reds"])
    def test_zero_is_pale_in_palettes_of_one_side(self, palette):
        assert colour_of(0, palette).min() > 0.9

    def test_piyg_is_at_half_of_map_plus_one(self):
        """Within half a step of the palette's table, which does not hold the classes themselves."""
        classes = np.array([to_rgb(colour) for colour in PIYG])
        shown = colour_map([np.linspace(-1, 1, 11)], scale=1, palette="piyg")[0]
        np.testing.assert_allclose(shown, classes, atol=0.012)
        np.testing.assert_allclose(shown[[0, 5, 10]], classes[[0, 5, 10]], atol=1e-6)

    @given(st.floats(0.02, 1))
    def test_for_is_green_and_against_is_pink(self, size):
        red, green, blue = colour_of(size)
        assert green > max(red, blue)
        red, green, blue = colour_of(-size)
        assert green < min(red, blue)
        # The other palette, for which green and pink are no help.
        assert np.argmax(colour_of(size, "orange-blue")) == 2
        assert np.argmax(colour_of(-size, "orange-blue")) == 0

    def test_orange_and_blue_are_equally_dark(self):
        lightness = rgb2lab(colour_bar("orange-blue", width=101, height=1))[0, :, 0]
        np.testing.assert_allclose(lightness, lightness[::-1], atol=0.5)

    @pytest.mark.parametrize("simulation", [WITHOUT_RED, WITHOUT_GREEN])
    def test_orange_and_blue_stay_apart_without_a_kind_of_cones(self, simulation):
        against, speaks_for = lab_as_seen(PALETTES["orange-blue"].table[[0, -1]], simulation)
        assert np.linalg.norm(against - speaks_for) > 85

    def test_the_scale_has_the_end_colours_and_so_has_all_beyond(self):
        for palette in DIVERGING:
            table = PALETTES[palette].table
            for value, end in ((3, -1), (300, -1), (-3, 0), (-300, 0)):
                np.testing.assert_array_equal(colour_of(value, palette, scale=3), table[end])

    def test_palettes_of_one_side_hide_the_other(self):
        for palette, hidden in (("greens", -1), ("reds", 1)):
            np.testing.assert_array_equal(colour_of(hidden, palette), colour_of(0, palette))
            np.testing.assert_array_equal(colour_of(-hidden, palette), PALETTES[palette].table[-1])

    @pytest.mark.parametrize("palette", PALETTES)
    @given(finite_maps)
    def test_any_map_becomes_colours(self, palette, wild):
        before = wild.copy()
        scale = shared_scale(wild)
        colours = colour_map(wild, scale=scale, palette=palette)
        assert (colours.shape, colours.dtype) == ((*wild.shape, 3), np.float32)
        assert colours.min() >= 0
        assert colours.max() <= 1
        np.testing.assert_array_equal(wild, before)

    @pytest.mark.parametrize("palette", PALETTES)
    def test_bar_goes_from_against_to_for(self, palette):
        bar = colour_bar(palette, width=9, height=2)
        low, high = {0: (-1, 1), 1: (0, 1), -1: (0, -1)}[PALETTES[palette].sign]
        np.testing.assert_array_equal(bar[1, 0], colour_of(low, palette))
        np.testing.assert_array_equal(bar[1, -1], colour_of(high, palette))
        assert bar.shape == (2, 9, 3)

    @pytest.mark.parametrize("bad", [[[np.nan]], [[np.inf]], [1.0], [[]], np.zeros((2, 2, 3))])
    def test_refuses_what_is_no_map(self, bad):
        for function in (shared_scale, lambda bad: colour_map(bad, scale=1)):
            with pytest.raises(ValueError, match="finite"):
                function(bad)

    @pytest.mark.parametrize("scale", [0, -1, np.nan, np.inf])
    def test_refuses_what_is_no_scale(self, scale):
        with pytest.raises(ValueError, match="scale"):
            colour_of(1, scale=scale)

    def test_names_the_palettes_that_there_are(self):
        with pytest.raises(ValueError, match=r"'jet'.*piyg, orange-blue"):
            colour_of(1, "jet")

    def test_tables_cannot_be_written_to(self):
        with pytest.raises(ValueError, match="read-only"):
            PALETTES["piyg"].table[0] = 0


class TestWeights:
    """Colours of maps that say how much a place counts, whichever way."""

    def test_go_straight_from_the_neutral_grey_to_purple(self):
        shown = colour_map([[0, 0.25, 0.5, 1]], scale=1, palette=WEIGHTS)[0]
        grey, purple = np.array(WHITE_GREY), np.array(to_rgb("#4b0092"))
        shares = np.array([0, 0.25, 0.5, 1])[:, np.newaxis]
        np.testing.assert_allclose(shown, grey + shares * (purple - grey), atol=1e-5)

    @pytest.mark.parametrize("simulation", [ALL_CONES, WITHOUT_RED, WITHOUT_GREEN])
    def test_grow_darker_all_the_way_and_end_unlike_any_evidence(self, simulation):
        bar = lab_as_seen(colour_bar(WEIGHTS, width=33, height=1)[0], simulation)
        assert (np.diff(bar[:, 0]) < -1).all()
        for palette in PALETTES.values():
            evidence = lab_as_seen(palette.table, simulation)
            assert np.linalg.norm(evidence - bar[-1], axis=1).min() > 25, palette.key

    def test_are_no_choice(self):
        assert WEIGHTS not in PALETTES

    @pytest.mark.parametrize("blend", ["published", "alpha"])
    def test_leave_the_photo_its_greys_where_nothing_counts(self, photo, blend):
        weights = np.zeros((112, 112))
        weights[40:60] = 0.02
        shown = map_on_photo(photo, weights, scale=0.02, palette=WEIGHTS, blend=blend)
        plain = map_on_photo(photo, 0 * weights, scale=0.02, blend=blend)
        np.testing.assert_allclose(shown[weights == 0], plain[weights == 0], atol=1e-5)
        # Purple: most of it blue, least green, on average over the photo's own colours.
        red, green, blue = shown[weights > 0].mean(axis=0)
        assert blue > red > green

    def test_a_method_of_weights_takes_no_other_palette(self, maps):
        weights = PairMaps("Attention", maps.probe, maps.reference, is_evidence=False)
        for chosen in PALETTES:
            assert weights.palette(chosen) == WEIGHTS
            assert maps.palette(chosen) == chosen


class TestSharedScale:
    def test_is_the_largest_absolute_value_of_all_maps(self):
        assert shared_scale([[1, -3]], [[2.0]]) == 3

    def test_percentile_leaves_spikes_out(self):
        """Of 0, 1, ... 100 the 99th percentile is 99."""
        assert shared_scale([np.arange(0, -51, -1)], [np.arange(51, 101)], percentile=99) == pytest.approx(99)

    def test_a_map_that_is_mostly_zero_still_shows(self):
        mostly = np.zeros((112, 112))
        mostly[0, 0] = -0.5
        assert shared_scale(mostly, percentile=99) == 0.5

    def test_zeros_have_scale_one(self):
        assert shared_scale(np.zeros((2, 2))) == 1

    @pytest.mark.parametrize("percentile", [0, -1, 101, np.nan])
    def test_refuses_other_percentiles(self, percentile):
        with pytest.raises(ValueError, match="percentile"):
            shared_scale([[1]], percentile=percentile)

    def test_refuses_no_map(self):
        with pytest.raises(ValueError, match="at least one map"):
            shared_scale()


class TestBlends:
    def test_published_against_the_formula(self, rng):
        """Hue of the map (HLS), lightness of the photo (HLS), saturation of the map's HSV; by colorsys."""
        photo = rng.random((16, 16, 3), dtype=np.float32)
        photo[0] = np.linspace(0, 1, 16)[:, np.newaxis]
        coloured = colour_map(rng.uniform(-1.2, 1.2, (16, 16)), scale=1)
        coloured[-1] = rng.random((16, 3))
        expected = [
            colorsys.hls_to_rgb(
                colorsys.rgb_to_hls(*map_pixel)[0],
                colorsys.rgb_to_hls(*photo_pixel)[1],
                colorsys.rgb_to_hsv(*map_pixel)[1],
            )
            for photo_pixel, map_pixel in zip(
                photo.reshape(-1, 3).tolist(), coloured.reshape(-1, 3).tolist(), strict=True
            )
        ]
        np.testing.assert_allclose(blend_published(photo, coloured).reshape(-1, 3), expected, atol=2e-5)

    def test_published_without_evidence_is_the_photo_in_grey(self, photo):
        shown = map_on_photo(photo, np.zeros((112, 112)), scale=1)
        lightness = (photo.max(axis=2) + photo.min(axis=2)) / 2
        np.testing.assert_allclose(shown, np.repeat(lightness[..., np.newaxis], 3, axis=2), atol=1e-5)

    def test_alpha_of_one_strength(self, photo, rng):
        coloured = rng.random(photo.shape, dtype=np.float32)
        np.testing.assert_array_equal(blend_alpha(photo, coloured, 0), photo)
        np.testing.assert_allclose(blend_alpha(photo, coloured, 1), coloured, atol=1e-7)
        mixed = blend_alpha(photo, coloured, 0.25)
        np.testing.assert_allclose(mixed, 0.75 * photo + 0.25 * coloured, atol=1e-6)

    def test_alpha_by_evidence(self):
        """On black, under white, what is seen is the opacity."""
        black, white = np.zeros((1, 5, 3), np.float32), np.ones((1, 5, 3), np.float32)
        evidence = [[-4, -1, 0, 2, 8]]
        seen = blend_alpha(black, white, 0.8, evidence, scale=4)[0, :, 0]
        np.testing.assert_allclose(seen, [0.8, 0.2, 0, 0.4, 0.8], atol=1e-6)
        seen = blend_alpha(black, white, 0.8, evidence)[0, :, 0]
        np.testing.assert_allclose(seen, [0.4, 0.1, 0, 0.2, 0.8], atol=1e-6)

    def test_refuses_images_that_do_not_fit(self, photo):
        wrong = [photo[:5], photo * 255, photo[..., 0], (photo * 255).astype(np.uint8), photo * np.nan]
        for other, blend in itertools.product(wrong, (blend_published, blend_alpha)):
            with pytest.raises(ValueError, match=r"image|shape"):
                blend(photo, other)
        with pytest.raises(ValueError, match="strength"):
            blend_alpha(photo, photo, 1.5)
        with pytest.raises(ValueError, match="does not fit"):
            blend_alpha(photo, photo, 1, np.zeros((5, 5)))


class TestMapOnPhoto:
    @pytest.mark.parametrize("blend", ["published", "alpha"])
    def test_strength_zero_is_the_photo(self, photo, signed_map, blend):
        shown = map_on_photo(photo, signed_map, scale=1, blend=blend, strength=0)
        np.testing.assert_array_equal(shown, photo)

    def test_published_is_the_blend_of_the_coloured_map(self, photo, signed_map):
        coloured = colour_map(signed_map, scale=0.7, palette="orange-blue")
        shown = map_on_photo(photo, signed_map, scale=0.7, palette="orange-blue")
        np.testing.assert_array_equal(shown, blend_published(photo, coloured))
        half = map_on_photo(photo, signed_map, scale=0.7, palette="orange-blue", strength=0.5)
        np.testing.assert_allclose(half, (photo + shown) / 2, atol=1e-6)

    def test_alpha_grows_from_the_photo_to_the_end_colours(self):
        """Grey, so that whatever is not grey comes from the map; half of the scale has 0.8 of its colour."""
        grey = np.full((1, 4, 3), 0.5, np.float32)
        shown = map_on_photo(grey, [[0, 1, 2, -2]], scale=2, blend="alpha", strength=0.6)[0]
        colours = np.array([(0, 0, 0), colour_of(0.8), colour_of(1), colour_of(-1)])
        opacity = np.array([0, 0.3, 0.6, 0.6])[:, np.newaxis]
        np.testing.assert_allclose(shown, 0.5 + opacity * (colours - 0.5), atol=1e-6)

    def test_alpha_of_one_side_leaves_the_photo_on_the_other(self, photo, signed_map):
        shown = map_on_photo(photo, signed_map, scale=1, palette="greens", blend="alpha")
        np.testing.assert_array_equal(shown[signed_map <= 0], photo[signed_map <= 0])
        assert (shown[signed_map > 0.1] != photo[signed_map > 0.1]).any(axis=1).all()

    @pytest.mark.parametrize("blend", ["published", "alpha"])
    def test_size(self, photo, signed_map, blend):
        before = photo.copy(), signed_map.copy()
        shown = map_on_photo(photo, signed_map, scale=1, blend=blend, size=250)
        assert (shown.shape, shown.dtype) == ((250, 250, 3), np.float32)
        np.testing.assert_array_equal(photo, before[0])
        np.testing.assert_array_equal(signed_map, before[1])

    def test_refuses_what_it_cannot_show(self, photo, signed_map):
        with pytest.raises(ValueError, match="finite"):
            map_on_photo(photo, signed_map * np.nan, scale=1)
        with pytest.raises(ValueError, match="does not fit"):
            map_on_photo(photo, signed_map[:9], scale=1)
        with pytest.raises(ValueError, match=r"'screen'.*published, alpha"):
            map_on_photo(photo, signed_map, scale=1, blend="screen")
        with pytest.raises(ValueError, match="sides of 0 pixels"):
            map_on_photo(photo, signed_map, scale=1, size=0)
        with pytest.raises(ValueError, match="only finite"):
            enlarge(signed_map * np.nan, 9)

    @given(finite_maps.filter(lambda wild: np.abs(wild).max() < 1e30))
    def test_enlarging_stays_within_the_values(self, wild):
        larger = enlarge(wild, 11)
        assert larger.shape == (11, 11)
        assert larger.min() >= wild.min()
        assert larger.max() <= wild.max()


class TestPng:
    def test_round_trip(self, photo):
        levels = (photo * 255).round().astype(np.uint8)
        for image in (levels, photo):
            decoded = np.asarray(Image.open(io.BytesIO(png_bytes(image))))
            np.testing.assert_array_equal(decoded, levels)

    def test_data_uri_holds_the_png(self, photo):
        kind, _, content = png_data_uri(photo).partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content) == png_bytes(photo)

    @pytest.mark.parametrize("bad", [np.full((2, 2, 3), np.nan), np.full((2, 2, 3), 1.1), np.zeros((2, 2))])
    def test_refuses_other_images(self, bad):
        with pytest.raises(ValueError, match="an image must"):
            png_bytes(bad)


WEIRD = {
    "plain": ("a.jpg", "b.jpg"),
    "formula": ("$x_1$.jpg", "$\\frac{$.jpg"),
    "not in the font": ("\U0001f98a\u4eba.jpg", "half \udcff a\u0007 pair\n.jpg"),
    "long": ("photo " * 40 + ".jpg", "x" * 255),
}


@pytest.fixture
def verdict(photo):
    def build(names=WEIRD["plain"], **changes):
        face = Face(np.array([0, 0, 9, 9], np.float32), np.zeros((5, 2), np.float32), 0.99)
        probe, reference = (
            AlignedFace(name, aligned, face, (face,), (100, 100))
            for name, aligned in zip(names, (photo, photo[::-1]), strict=True)
        )
        settings = {
            "model": "mobilefacenet",
            "calibration": "lfw",
            "distance": 0.2215,
            "threshold": 0.607,
            "same_person": True,
            "confidence_method": "xface",
            "confidence": 0.99967,
            **changes,
        }
        return Verification(**settings, probe=probe, reference=reference)

    return build


@pytest.fixture
def maps(signed_map):
    return PairMaps("Occlusion", 0.5 * signed_map, -signed_map)


SENTENCE = (
    "The eyes speak for a match (41 % of the evidence, on balance); the mouth speaks against it (6 %). " * 2
)


@pytest.mark.slow
def place(picture):
    """Where a picture lies in its figure, in pixels from the lower left corner."""
    left, right, bottom, top = picture.get_extent()
    return Bbox([[left + 0.5, bottom + 0.5], [right + 0.5, top + 0.5]])


class TestPairFigure:
    @pytest.mark.parametrize("methods", [1, 5])
    @pytest.mark.parametrize("kind", WEIRD)
    def test_no_words_are_cut_off_or_lie_on_others(self, verdict, maps, methods, kind):
        verification = verdict(
            WEIRD[kind], model="/a/long/path/to/some/model/of/$mine$", calibration="my own set"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure = pair_figure(verification, [maps] * methods, sentence=SENTENCE)
            figure.draw_without_rendering()
        boxes = [(text.get_text(), text.get_window_extent()) for text in figure.texts]
        boxes = [(text, box) for text, box in boxes if text]
        assert len(boxes) > 10
        pictures = [place(picture) for picture in figure.images]
        for text, box in boxes:
            assert box.x0 >= 3, text
            assert box.y0 >= 3, text
            assert box.x1 <= figure.bbox.x1 - 3, text
            assert box.y1 <= figure.bbox.y1 - 3, text
            assert not any(box.padded(-1).overlaps(picture) for picture in pictures), text
        for (one, box), (other, another) in itertools.combinations(boxes, 2):
            assert not box.padded(-1).overlaps(another.padded(-1)), (one, other)

    @pytest.mark.parametrize("blend", ["published", "alpha"])
    def test_pictures_are_the_maps_pixel_by_pixel(self, verdict, maps, blend):
        verification = verdict()
        spiky = PairMaps("Gradients", maps.reference, maps.probe, scale=0.3)
        figure = pair_figure(verification, [maps, spiky], palette="orange-blue", blend=blend)
        drawn = np.asarray(Image.open(io.BytesIO(figure_png(figure))).convert("RGB"))
        assert drawn.shape[1] == 1095
        scale = shared_scale(maps.probe, maps.reference)
        shown = iter(figure.images)
        for face, role in ((verification.probe, "probe"), (verification.reference, "reference")):
            side = round(place(figure.images[0]).width)
            expected = [enlarge(face.aligned, side)] + [
                map_on_photo(
                    face.aligned,
                    getattr(method, role),
                    scale=chosen,
                    palette="orange-blue",
                    blend=blend,
                    size=side,
                )
                for method, chosen in ((maps, scale), (spiky, 0.3))
            ]
            for picture in expected:
                box = place(next(shown))
                top, left = round(len(drawn) - box.y1), round(box.x0)
                cut = drawn[top : top + side, left : left + side]
                np.testing.assert_allclose(cut, picture * 255, atol=1)

    def test_says_the_verdict(self, verdict, maps):
        words = [text.get_text() for text in pair_figure(verdict(), [maps]).texts]
        assert words[:3] == [
            "Same person, over 99.9\u00a0% confident",
            "cosine distance 0.222, below the threshold 0.607",
            "model mobilefacenet, calibrated on lfw",
        ]
        verification = verdict(same_person=False, distance=0.9, confidence=None, calibration=None)
        words = [text.get_text() for text in pair_figure(verification, [maps]).texts]
        assert words[:3] == [
            "Different people",
            "cosine distance 0.900, not below the threshold 0.607",
            "model mobilefacenet",
        ]
        words = [text.get_text() for text in pair_figure(verdict(model="/folder" * 9), [maps]).texts]
        assert words[2] == "model \u2026older/folder/folder/folder/folder, calibrated on lfw"

    def test_rows_have_the_photos_names(self, verdict, maps):
        """As far as the font has their letters: there are no foxes and no halves of surrogate pairs in it."""
        figure = pair_figure(verdict(WEIRD["not in the font"]), [maps])
        words = [text.get_text() for text in figure.texts]
        assert "A: \u25a1\u25a1.jpg" in words
        assert "B: half \u25a1 a\u25a1 pair .jpg" in words

    @pytest.mark.parametrize(
        ("palette", "ends"),
        [
            ("piyg", ["speaks against", "speaks for"]),
            ("greens", ["does not", "speaks for"]),
            ("reds", ["does not", "speaks against"]),
        ],
    )
    def test_says_what_colours_mean(self, verdict, maps, palette, ends):
        figure = pair_figure(verdict(), [maps], palette=palette)
        texts = {text.get_text(): text.get_window_extent() for text in figure.texts}
        assert [words for words in texts if words.startswith(("speaks", "does"))] == ends
        left, right = (texts[words] for words in ends)
        assert left.x1 < right.x0

    @pytest.mark.parametrize("kinds", ["eewe", "we", "w", "eeew", "eeeeewe"])
    def test_bars_stand_below_their_columns(self, verdict, maps, kinds):
        """A bar for each run of columns that are evidence, and that are weights."""
        weights = PairMaps("Attention", np.abs(maps.probe), np.abs(maps.reference), is_evidence=False)
        methods = [{"e": maps, "w": weights}[kind] for kind in kinds]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure = pair_figure(verdict(), methods, sentence=SENTENCE)
            figure.draw_without_rendering()
        columns = 1 + len(kinds)
        boxes = [place(picture) for picture in figure.images]
        tops, bars = boxes[:columns], boxes[2 * columns :]
        runs = [list(run) for _, run in itertools.groupby(range(len(kinds)), key=kinds.__getitem__)]
        assert len(bars) == len(runs)
        for bar, run in zip(bars, runs, strict=True):
            assert bar.x0 == pytest.approx(tops[1 + run[0]].x0, abs=1)
            assert bar.x1 == pytest.approx(tops[1 + run[-1]].x1, abs=1)
        texts = [(text.get_text(), text.get_window_extent()) for text in figure.texts if text.get_text()]
        for words, box in texts:
            assert "\u2026" not in words
            assert not any(box.padded(-1).overlaps(other) for other in boxes), words
        for (one, box), (other, another) in itertools.combinations(texts, 2):
            assert not box.padded(-1).overlaps(another.padded(-1)), (one, other)
        said = " ".join(words for words, _ in texts)
        assert said.count("little") == said.count("much") == kinds.count("w")
        assert said.count("counts") == 2 * kinds.count("w")

    def test_weights_are_drawn_in_their_own_palette(self, verdict, maps):
        weights = PairMaps(
            "Attention", np.abs(maps.probe), np.abs(maps.reference), scale=1, is_evidence=False
        )
        verification = verdict()
        for palette in ("piyg", "greens"):
            figure = pair_figure(verification, [weights], palette=palette)
            drawn = figure.images[1].get_array()
            expected = map_on_photo(
                verification.probe.aligned, weights.probe, scale=1, palette=WEIGHTS, size=len(drawn)
            )
            np.testing.assert_array_equal(drawn, expected)

    def test_same_pair_same_bytes(self, verdict, maps):
        first, second = (figure_png(pair_figure(verdict(), [maps], sentence=SENTENCE)) for _ in range(2))
        assert first == second

    def test_refuses_what_it_cannot_draw(self, verdict, maps):
        with pytest.raises(ValueError, match="at least one method"):
            pair_figure(verdict(), [])
        with pytest.raises(ValueError, match="'jet'"):
            pair_figure(verdict(), [maps], palette="jet")
        with pytest.raises(ValueError, match="finite"):
            pair_figure(verdict(), [PairMaps("x", maps.probe, maps.probe * np.nan)])


def test_pyplot_stays_out(run_python):
    check = "import sys, xfv_demo.plots.colours; print('matplotlib.pyplot' in sys.modules)"
    assert run_python("-c", check).stdout.strip() == "False"
