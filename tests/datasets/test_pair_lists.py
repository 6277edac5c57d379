"""Lists of pairs of other sets than LFW, each in its own form, and whatever else a text may hold."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xfv_demo.datasets.opening import open_dataset
from xfv_demo.datasets.pair_lists import read_pair_list
from xfv_demo.errors import DatasetError

# Of Ann two photos, of Bob two: one genuine pair, and one of two people.
FORMS = {
    "pair_SLLFW.txt": ("{a1}\n{a2}\n{a1}\n{b1}\n", True),
    "pairs_CALFW.txt": ("{a1} 3\n{a2} 3\n{a1} 0\n{b1} 0\n", False),
    "pairs_CPLFW.txt": ("{a1} 1\n{a2} 1\n{a1} 0\n{b1} 0\n", False),
    "pairs_MLFW.txt": ("{a1} {a2} 1\n{a1} {b1} 0\n", False),
    "agedb_30_ann.txt": ("1 {a1} {a2}\n0 {a1} {b1}\n", False),
}


def keys(*, in_folders):
    names = {"a1": ("Ann", 1), "a2": ("Ann", 2), "b1": ("Bob", 1)}
    folder = {key: f"{name}/" if in_folders else "" for key, (name, _) in names.items()}
    return {key: f"{folder[key]}{name}_{number:04d}.jpg" for key, (name, number) in names.items()}


def write_images(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def make(root, name, *, images="images", change=lambda text: text, encoding="utf-8"):
    text, in_folders = FORMS[name]
    given = keys(in_folders=in_folders)
    write_images(root / images, given.values())
    (root / name).write_bytes(change(text.format(**given)).encode(encoding))
    return given


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("pair_SLLFW.txt", "sllfw"),
        ("pairs_CALFW.txt", "calfw"),
        ("pairs_CPLFW.txt", "cplfw"),
        ("pairs_MLFW.txt", "mlfw"),
        ("agedb_30_ann.txt", "agedb_30"),
    ],
)
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: f"name same_person\n{text}",
        lambda text: f"\n{text}\n\n",
        lambda text: text.rstrip("\n"),
        lambda text: f"\ufeff{text}",
    ],
    ids=["plain", "crlf", "heading", "empty lines", "no last line feed", "bom"],
)
def test_each_form_is_read_as_its_set_means_it(tmp_path, name, called, change):
    given = make(tmp_path, name, change=change)
    pairs = open_dataset(tmp_path)
    assert pairs.name == called
    assert [pairs.images[index] for index in pairs.first] == [given["a1"], given["a1"]]
    assert [pairs.images[index] for index in pairs.second] == [given["a2"], given["b1"]]
    assert pairs.genuine.tolist() == [True, False]
    assert dict(pairs.source.stream([given["b1"]])) == {given["b1"]: given["b1"].encode()}
    assert not pairs.aligned


def test_folds_are_the_tenths_of_each_class(tmp_path):
    lines = [f"P{i}_1.jpg {label}\nP{i}_2.jpg {label}" for label in (1, 0) for i in range(300)]
    write_images(tmp_path, [f"P{i}_{j}.jpg" for i in range(300) for j in (1, 2)])
    (tmp_path / "pairs_CPLFW.txt").write_text("\n".join(lines))
    pairs = open_dataset(tmp_path)
    assert pairs.folds.tolist() == 2 * np.repeat(np.arange(10), 30).tolist()


@pytest.mark.parametrize("in_path", [True, False])
def test_a_folder_of_aligned_faces_is_one(tmp_path, in_path):
    """Paths may begin with the folder or not; given is the folder, or what holds it with its list."""
    folder = tmp_path / "cfp_fp_112x112"
    write_images(folder, ["1.jpg", "2.jpg", "3.jpg"])
    prefix = "cfp_fp_112x112/" if in_path else ""
    (tmp_path / "cfp_fp_ann.txt").write_text(f"1 {prefix}1.jpg {prefix}2.jpg\n0 {prefix}1.jpg {prefix}3.jpg")
    for given_path in (folder, tmp_path):
        pairs = open_dataset(given_path)
        assert (pairs.name, pairs.aligned, len(pairs)) == ("cfp_fp", True, 2)


def test_xqlfw_has_lfws_form(tmp_path):
    write_images(tmp_path / "lfw_original_imgs_min_qual0.85variant11", keys(in_folders=True).values())
    (tmp_path / "xqlfw_pairs.txt").write_text("1 1\nAnn 1 2\nAnn 1 Bob 1\n")
    pairs = open_dataset(tmp_path)
    assert (pairs.name, pairs.genuine.tolist()) == ("xqlfw", [True, False])


def test_a_list_beside_lfws_own_is_asked_for_by_name(tmp_path):
    make(tmp_path, "pair_SLLFW.txt", images="lfw")
    (tmp_path / "pairs.txt").write_text("1\nAnn 1 2\nAnn 1 Bob 1\n")
    assert open_dataset(tmp_path).name == "lfw"
    assert open_dataset(tmp_path, pairs_file=tmp_path / "pair_SLLFW.txt").name == "sllfw"


def refused(*given, **options):
    with pytest.raises(DatasetError) as caught:
        open_dataset(*given, **options)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "line", "words"),
    [
        ("pair_SLLFW.txt", "Ann/1.jpg\nAnn/2.jpg\nAnn/1.jpg", 3, "second photo"),
        ("pair_SLLFW.txt", "Ann/1.jpg\nAnn/2.jpg 1", 2, "one photo"),
        ("pair_SLLFW.txt", "1.jpg\n2.jpg", 1, "no person's folder"),
        ("pairs_CALFW.txt", "a.jpg 1\nb.jpg 0", 1, "different numbers"),
        ("pairs_CALFW.txt", "a.jpg 1\nb.jpg one", 2, "a photo and a number"),
        ("pairs_CALFW.txt", "head\n\na.jpg 1\na.jpg 1", 3, "with itself"),
        ("pairs_MLFW.txt", "a.jpg b.jpg 2", 1, "neither 1"),
        ("pairs_MLFW.txt", "a.jpg b.jpg 1\na.jpg b.jpg", 2, "two photos and 0 or 1"),
        ("x_ann.txt", "a.jpg b.jpg c.jpg", 1, "no form"),
        ("x_ann.txt", "1 a.jpg b.jpg", 1, "give the folder of the images"),
    ],
)
def test_a_broken_line_is_named(tmp_path, name, text, line, words):
    (tmp_path / name).write_text(text)
    message = refused(tmp_path)
    assert f'"{name}", line {line}' in message
    assert words in message


def test_a_missing_image_is_named_with_its_line(tmp_path):
    given = make(tmp_path, "pairs_CALFW.txt")
    (tmp_path / "images" / given["b1"]).unlink()
    message = refused(tmp_path)
    assert '"pairs_CALFW.txt", line 4: "Bob_0001.jpg" is not in' in message
    assert "1 of 3 images" in message


def test_images_that_are_there_twice_are_not_chosen_from(tmp_path):
    make(tmp_path, "pairs_MLFW.txt", images="origin")
    make(tmp_path, "pairs_MLFW.txt", images="aligned")
    assert '"aligned", "origin"' in refused(tmp_path)
    pairs = open_dataset(tmp_path / "origin", pairs_file=tmp_path / "pairs_MLFW.txt")
    assert len(pairs) == 2


def test_several_lists_are_not_chosen_from(tmp_path):
    make(tmp_path, "pairs_CALFW.txt")
    make(tmp_path, "pairs_CPLFW.txt")
    assert "--pairs" in refused(tmp_path)


def test_a_list_of_nothing(tmp_path):
    (tmp_path / "some.txt").write_text("name same_person\n")
    with pytest.raises(DatasetError, match=r"some\.txt.* holds no pairs"):
        read_pair_list(tmp_path, tmp_path / "some.txt")


WORDS = st.sampled_from(
    ["a.jpg", "b.jpg", "Ann/1.jpg", "0", "1", "-1", "x", "..", "/", "\x00.jpg", "é.JPG", "1e9"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(WORDS, max_size=4), max_size=6), st.sampled_from(["\n", "\r\n", "\r"]))
def test_any_text_is_a_list_or_refused_in_one_line(tmp_path, lines, end):
    write_images(tmp_path, ["a.jpg", "b.jpg", "Ann/1.jpg"])
    file = tmp_path / "wild.txt"
    file.write_text(end.join(" ".join(words) for words in lines), newline="")
    message = ""
    try:
        pairs = read_pair_list(tmp_path, file)
    except DatasetError as error:
        message = str(error)
    else:
        assert set(pairs.images) <= {"a.jpg", "b.jpg", "Ann/1.jpg"}
    assert message.isprintable()
    assert not message or '"wild.txt"' in message


@given(st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_list_or_refused_in_one_line(tmp_path, content):
    (tmp_path / "wild.txt").write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        read_pair_list(tmp_path, tmp_path / "wild.txt")
    assert str(caught.value).isprintable()
