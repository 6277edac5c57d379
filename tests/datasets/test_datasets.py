"""Labelled sets: small made-up ones, mangled ones, hostile pickles, and LFW itself where it is at hand."""

import contextlib
import copyreg
import gzip
import io
import itertools
import os
import pickle
import pickletools
import struct
import subprocess
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfv_demo.datasets import insightface_bin, sources
from xfv_demo.datasets.csv_pairs import read_pairs_csv
from xfv_demo.datasets.insightface_bin import PairListReader, read_insightface_bin
from xfv_demo.datasets.labelled_images import LabelledImages
from xfv_demo.datasets.lfw import read_lfw
from xfv_demo.datasets.opening import open_dataset
from xfv_demo.datasets.pairs import PairSet
from xfv_demo.datasets.people import read_people, read_people_folder
from xfv_demo.datasets.sources import FolderImages, MemoryImages, unpacked
from xfv_demo.errors import DatasetError

ROOT = Path(__file__).resolve().parents[2]

# Two folds of two genuine and two impostor pairs.
PAIRS = """2\t2
Ann_A\t1\t2
Ann_A\t1\t3
Ann_A\t1\tBob_B\t1
Ann_A\t2\tBob_B\t2
Cid_C\t1\t2
Dee_D\t1\t2
Cid_C\t1\tDee_D\t1
Cid_C\t2\tDee_D\t2
"""
PEOPLE = {"Ann_A": 3, "Bob_B": 2, "Cid_C": 2, "Dee_D": 2, "Eve_E": 1}
KEYS = [f"{name}/{name}_{number:04d}.jpg" for name, count in PEOPLE.items() for number in range(1, count + 1)]
USED = [key for key in KEYS if not key.startswith("Eve")]


def content(key):
    """What stands for an image: nothing decodes it here."""
    return b"\xff\xd8\xff" + key.encode()


def write_tree(root, keys=KEYS):
    for key in keys:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(Path(key).as_posix()))
    return root


def tar_bytes(members, mode="w"):
    """A tar of (path, bytes) or (TarInfo, bytes), in that order."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for path, data in members:
            info = path if isinstance(path, tarfile.TarInfo) else tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def zip_bytes(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def write_lfw_archive(path, prefix="lfw-deepfunneled/", keys=KEYS):
    members = [(prefix + key, content(key)) for key in reversed(keys)]
    path.write_bytes(tar_bytes(members, "w" if path.suffix == ".tar" else "w:gz"))
    return path


@pytest.fixture
def lfw_folder(tmp_path):
    """A folder as LFW's, with the images in folders."""
    write_tree(tmp_path / "lfw-deepfunneled")
    (tmp_path / "pairs.txt").write_text(PAIRS)
    return tmp_path


def refusal(function, *args, **options):
    """The message of a refusal, after what holds of all of them."""
    with pytest.raises(DatasetError) as caught:
        function(*args, **options)
    message = str(caught.value)
    assert message.isprintable()
    assert message.endswith((".", "?"))
    assert len(message) < 600
    for trace in ("Traceback", "Error", "0x", "<_io"):
        assert trace not in message
    return message


def assert_sound(pairs):
    """What holds of every set of pairs."""
    assert isinstance(pairs, PairSet)
    assert len(pairs) == pairs.genuine_pairs + pairs.impostor_pairs > 0
    assert len(set(pairs.images)) == len(pairs.images)
    for array in (pairs.first, pairs.second, pairs.genuine, pairs.folds):
        assert array.shape == (len(pairs),)
        assert not array.flags.writeable
    assert (pairs.first != pairs.second).all()
    assert set(np.concatenate([pairs.first, pairs.second])) <= set(range(len(pairs.images)))


def named(pairs):
    """The pairs by their keys."""
    return [
        (pairs.images[first], pairs.images[second], bool(genuine), int(fold))
        for first, second, genuine, fold in zip(
            pairs.first, pairs.second, pairs.genuine, pairs.folds, strict=True
        )
    ]


def made_up(genuine, folds, source=None):
    """A set of pairs of which each has two images of its own."""
    count = len(genuine)
    return PairSet(
        name="made-up",
        source=source or MemoryImages("made-up", {}),
        images=tuple(f"image {index}" for index in range(2 * count)),
        first=np.arange(count),
        second=np.arange(count) + count,
        genuine=np.array(genuine, dtype=bool),
        folds=np.array(folds),
    )


class TestSources:
    @pytest.fixture(params=["folder", "tgz", "tar", "memory"])
    def source(self, request, tmp_path):
        if request.param == "folder":
            return FolderImages(write_tree(tmp_path / "photos"))
        if request.param == "memory":
            return MemoryImages("photos", {key: content(key) for key in KEYS})
        path = write_lfw_archive(tmp_path / f"photos.{request.param}", prefix="")
        return FolderImages(unpacked(path), path)

    def test_each_image_comes_once(self, source):
        asked = [KEYS[3], KEYS[0], KEYS[3], KEYS[5]]
        streamed = list(source.stream(iter(asked)))
        assert sorted(streamed) == sorted((key, content(key)) for key in set(asked))

    def test_nothing_asked_nothing_given(self, source):
        assert list(source.stream([])) == []

    def test_may_be_read_again(self, source):
        assert dict(source.stream(KEYS)) == dict(source.stream(KEYS))

    def test_missing_images_are_counted_and_the_first_named(self, source):
        lost = [f"Nobody/{number}.jpg" for number in range(5)]
        message = refusal(lambda: list(source.stream([*lost, KEYS[0]])))
        assert source.name in message
        assert "5 of 6 images not found" in message
        assert '"Nobody/0.jpg", "Nobody/1.jpg", "Nobody/2.jpg", …' in message
        assert "Nobody/3" not in message

    def test_source_may_be_left_early(self, source):
        stream = source.stream(KEYS)
        next(stream)
        stream.close()


class TestFolderImages:
    def test_refuses_before_the_first_image(self, tmp_path):
        source = FolderImages(write_tree(tmp_path))
        with pytest.raises(DatasetError):
            next(source.stream([KEYS[0], "nobody.jpg"]))

    def test_folders_and_pipes_are_missing(self, tmp_path):
        write_tree(tmp_path)
        os.mkfifo(tmp_path / "pipe.jpg")
        wild = ["Ann_A", "pipe.jpg", "zero\0byte", "x" * 5000, KEYS[0]]
        assert FolderImages(tmp_path).missing(wild) == wild[:-1]
        assert "4 of 5" in refusal(lambda: list(FolderImages(tmp_path).stream(wild)))

    def test_huge_files_are_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sources, "MAX_FILE_BYTES", 10)
        message = refusal(lambda: list(FolderImages(write_tree(tmp_path)).stream(KEYS)))
        assert f'"{KEYS[0]}" is larger than' in message


def files_in(folder):
    """The contents of all files by their paths, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestUnpacked:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
        return tmp_path / "cache" / "datasets"

    def assert_nothing_is_left(self, cache):
        assert not cache.exists() or list(cache.iterdir()) == []

    @pytest.mark.parametrize("ending", ["tgz", "tar"])
    def test_once(self, tmp_path, cache, ending, monkeypatch):
        path = write_lfw_archive(tmp_path / f"lfw.{ending}")
        folder = unpacked(path)
        assert files_in(folder) == {key: content(key) for key in KEYS}
        assert folder.is_relative_to(cache)
        monkeypatch.setattr(tarfile, "open", None)
        assert unpacked(path) == folder
        # Another name for the same bytes; and folders that only their owner can look into.
        assert unpacked(path.rename(tmp_path / f"other.{ending}")) == folder
        assert [one.stat().st_mode & 0o077 for one in cache.iterdir()] == [0]

    def test_other_bytes_under_the_name_are_another_set(self, tmp_path):
        first = unpacked(write_lfw_archive(tmp_path / "lfw.tar", keys=KEYS[:3]))
        assert unpacked(write_lfw_archive(tmp_path / "lfw.tar")) != first

    def test_images_and_the_names_of_what_is_left_out(self, tmp_path):
        members = [
            ("./lfw/Ann/1.jpg", b"one"),
            ("lfw/Ann/.2.jpg", b"hidden"),
            ("lfw/Ann/notes.txt", b"long"),
            ("lfw/.git/3.jpg", b"hidden"),
            ("lfw/Ann/Thumbs.db", b"of a system"),
            ("README.txt", b"read me"),
        ]
        path = tmp_path / "lfw.tar"
        path.write_bytes(tar_bytes(members))
        folder = unpacked(path)
        assert folder.name == "lfw"
        assert files_in(folder) == {"Ann/1.jpg": b"one", "Ann/notes.txt": b""}

    @pytest.mark.parametrize("share", [0.001, 0.3, 0.7, 0.9])
    @pytest.mark.parametrize("ending", ["tgz", "tar"])
    def test_cut_off_anywhere(self, tmp_path, cache, share, ending):
        path = write_lfw_archive(tmp_path / f"lfw.{ending}", prefix="")
        (tmp_path / "pairs.txt").write_text(PAIRS)
        data = path.read_bytes()
        if ending == "tar":  # what follows the last image is padding
            data = data[: data.rindex(content(KEYS[0])) + len(content(KEYS[0]))]
        path.write_bytes(data[: int(len(data) * share)])
        message = refusal(read_lfw, path)
        assert "cut off" in message or "not found" in message
        if "cut off" in message:
            self.assert_nothing_is_left(cache)

    def test_nothing_but_regular_files_within(self, tmp_path, cache):
        members = []
        kinds = {
            "link": tarfile.SYMTYPE,
            "hard": tarfile.LNKTYPE,
            "null": tarfile.CHRTYPE,
            "pipe": tarfile.FIFOTYPE,
        }
        for name, kind in kinds.items():
            info = tarfile.TarInfo(f"{name}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            members.append((info, b""))
        # A link to a folder outside, and a file that would go through it.
        out = tarfile.TarInfo("out")
        out.type, out.linkname = tarfile.SYMTYPE, str(tmp_path)
        members += [(out, b""), ("out/through.jpg", b"through"), ("../../over.jpg", b"over")]
        members += [
            ("a/../../../over.jpg", b"over"),
            (f"{tmp_path}/absolute.jpg", b"abs"),
            ("real.jpg", b"real"),
        ]
        path = tmp_path / "odd.tar"
        path.write_bytes(tar_bytes(members))
        held = files_in(unpacked(path))
        absolute = str(tmp_path).strip("/") + "/absolute.jpg"
        assert held == {"real.jpg": b"real", "out/through.jpg": b"through", absolute: b"abs"}
        assert not any(one.is_symlink() for one in cache.rglob("*"))
        assert sorted(one.name for one in tmp_path.iterdir()) == ["cache", "odd.tar"]

    def test_permissions_of_members_are_not_taken(self, tmp_path):
        info = tarfile.TarInfo("a.jpg")
        info.mode = 0o6777
        path = tmp_path / "set.tar"
        path.write_bytes(tar_bytes([(info, b"a")]))
        assert (unpacked(path) / "a.jpg").stat().st_mode & 0o7111 == 0

    def test_first_of_several_members_of_a_name(self, tmp_path):
        path = tmp_path / "twice.tar"
        path.write_bytes(tar_bytes([("a.jpg", b"one"), ("./a.jpg", b"two"), ("b.jpg", b"b")]))
        assert files_in(unpacked(path)) == {"a.jpg": b"one", "b.jpg": b"b"}

    def test_a_file_where_a_folder_is_needed(self, tmp_path, cache):
        path = tmp_path / "odd.tar"
        path.write_bytes(tar_bytes([("a.jpg", b"one"), ("a.jpg/b.jpg", b"two")]))
        assert "cannot be unpacked" in refusal(unpacked, path)
        self.assert_nothing_is_left(cache)

    def test_bombs_are_refused(self, tmp_path, cache, monkeypatch):
        monkeypatch.setattr(sources, "MAX_FILE_BYTES", 1000)
        path = tmp_path / "bomb.tgz"
        path.write_bytes(tar_bytes([("a.jpg", bytes(2000))], "w:gz"))
        assert '"a.jpg" is larger than' in refusal(unpacked, path)
        monkeypatch.setattr(sources, "_GROWTH_ALLOWED", 100_000)
        for members in (
            [(f"{number}.jpg", bytes(1000)) for number in range(100)],
            [("notes.txt", bytes(200_000))],
            [(f"{number}.jpg", b"") for number in range(300)],
        ):
            path.write_bytes(tar_bytes(members, "w:gz"))
            assert "far more than photos do" in refusal(unpacked, path)
            path.write_bytes(tar_bytes(members))  # The same, uncompressed, is as large as it says.
            assert unpacked(path)
        assert len(list(cache.iterdir())) == 3

    def test_a_header_that_asks_for_memory(self, tmp_path, cache):
        """A long name or extended header is read whole: no more of it than an archive may unpack to."""
        for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            info = tarfile.TarInfo("a.jpg")
            info.type, info.size = kind, 1 << 32
            path = tmp_path / "bomb.tgz"
            with gzip.open(path, "wb", 1) as file:
                file.write(info.tobuf(tarfile.GNU_FORMAT))
                for _ in range(100):
                    file.write(bytes(1 << 20))
            assert "far more than photos do" in refusal(unpacked, path)
        self.assert_nothing_is_left(cache)

    def test_files_with_holes_are_left_out(self, tmp_path):
        """They are as large as they say without a byte of it in the archive."""
        info = tarfile.TarInfo("holes.jpg")
        info.pax_headers = {
            "GNU.sparse.map": "0,4",
            "GNU.sparse.size": str(200 << 20),
            "GNU.sparse.name": "h.jpg",
        }
        path = tmp_path / "holes.tar"
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            info.size = 4
            archive.addfile(info, io.BytesIO(b"hole"))
            archive.addfile(tarfile.TarInfo("real.jpg"))
        path.write_bytes(file.getvalue())
        assert files_in(unpacked(path)) == {"real.jpg": b""}

    def test_no_archive(self, tmp_path, cache):
        path = tmp_path / "lfw.tgz"
        assert "was not found" in refusal(unpacked, path)
        for data in (b"", b"no archive", gzip.compress(b"no tar")):
            path.write_bytes(data)
            assert "no tar archive" in refusal(unpacked, path)
        path.unlink()
        path.mkdir()
        assert "is no file" in refusal(unpacked, path)
        self.assert_nothing_is_left(cache)

    def test_a_cache_that_cannot_be_written(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XFV_CACHE", str(tmp_path / "file"))
        message = refusal(unpacked, write_lfw_archive(tmp_path / "lfw.tgz"))
        assert "cannot be unpacked" in message
        assert "XFV_CACHE" in message

    def test_a_run_that_ends_midway_leaves_no_half(self, tmp_path, cache, monkeypatch):
        path = write_lfw_archive(tmp_path / "lfw.tgz")
        with monkeypatch.context() as patch:
            patch.setattr("shutil.copyfileobj", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                unpacked(path)
        self.assert_nothing_is_left(cache)
        # Not even one that was killed: what it left has another name.
        (cache / ".killed" / "images").mkdir(parents=True)
        assert files_in(unpacked(path)) == {key: content(key) for key in KEYS}

    def test_two_at_once(self, tmp_path, monkeypatch):
        path = write_lfw_archive(tmp_path / "lfw.tgz")
        unpack = sources.unpack

        def slowly(archive, folder):
            unpack(archive, folder)
            monkeypatch.setattr(sources, "unpack", unpack)
            unpacked(path)

        monkeypatch.setattr(sources, "unpack", slowly)
        assert files_in(unpacked(path)) == {key: content(key) for key in KEYS}

    def test_a_zip(self, tmp_path):
        members = {
            "lfw/Ann/1.jpg": b"one",
            "lfw/Ann/.2.jpg": b"hidden",
            "lfw/.git/3.jpg": b"hidden",
            "lfw/Ann/notes.txt": b"no photo",
            "lfw/../../../4.jpg": b"leads out",
            "/lfw/Ann/5.jpg": b"absolute",
        }
        path = tmp_path / "lfw.zip"
        path.write_bytes(zip_bytes(members))
        assert files_in(unpacked(path)) == {"Ann/1.jpg": b"one", "Ann/5.jpg": b"absolute"}
        assert list(tmp_path.rglob("4.jpg")) == []

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"<html>Log in first</html>", id="page"),
            pytest.param(b"cut", id="cut"),
            pytest.param(b"flip", id="checksum"),
            pytest.param(b"lock", id="password"),
        ],
    )
    def test_a_zip_that_is_none(self, tmp_path, cache, data):
        whole = zip_bytes({"Ann/1.jpg": b"one two three"})
        headers = bytearray(whole)
        for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            headers[headers.index(mark) + flags] |= 1  # encrypted
        made = {b"cut": whole[:-10], b"flip": whole.replace(b"two", b"TWO"), b"lock": bytes(headers)}
        path = tmp_path / "lfw.zip"
        path.write_bytes(made.get(data, data))
        assert "no zip archive" in refusal(unpacked, path)
        self.assert_nothing_is_left(cache)

    def test_zips_that_are_bombs(self, tmp_path, cache, monkeypatch):
        monkeypatch.setattr(sources, "MAX_FILE_BYTES", 1000)
        path = tmp_path / "bomb.zip"
        path.write_bytes(zip_bytes({"a.jpg": bytes(1001)}))
        assert '"a.jpg" is larger than' in refusal(unpacked, path)
        monkeypatch.setattr(sources, "_GROWTH_ALLOWED", 1500)
        monkeypatch.setattr(sources, "_LARGEST_GROWTH", 0.5)
        path.write_bytes(zip_bytes({f"{number}.jpg": bytes(1000) for number in range(5)}))
        assert "far more than photos do" in refusal(unpacked, path)
        self.assert_nothing_is_left(cache)

    @pytest.mark.slow
    @settings(max_examples=100, deadline=None)
    @given(data=st.data())
    def test_mangled(self, tmp_path_factory, data):
        path = tmp_path_factory.getbasetemp() / "mangled.tar"
        archive = mangled(data, tar_bytes([(key, content(key)) for key in KEYS[:4]])[:6000])
        path.write_bytes(gzip.compress(archive) if data.draw(st.booleans()) else archive)
        read_or_refuse(unpacked, path)


class TestPairSet:
    def test_counts(self):
        pairs = made_up([True, True, False], [0, 0, 1])
        assert_sound(pairs)
        assert (len(pairs), pairs.genuine_pairs, pairs.impostor_pairs) == (3, 2, 1)

    def test_arrays_are_its_own(self):
        genuine = np.array([True, False])
        pairs = made_up(genuine, [0, 0])
        genuine[0] = False
        assert pairs.genuine.tolist() == [True, False]
        with pytest.raises(ValueError, match="read-only"):
            pairs.first[0] = 1

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"first": [0, 1, 2]}, "one length"),
            ({"first": [[0, 1]]}, "first must be a list of integers"),
            ({"first": [0.0, 1.0]}, "first must be a list of integers"),
            ({"genuine": [1, 0]}, "genuine must be a list of booleans"),
            ({"first": [0, 4]}, "does not have"),
            ({"second": [-1, 3]}, "does not have"),
            ({"second": [2, 1]}, 'pair 2 is an image with itself, "b"'),
            ({"folds": [0, -1]}, "from 0"),
            ({"images": ("a", "b", "c", "a")}, "twice"),
            ({"first": [], "second": [], "genuine": [], "folds": []}, "no pairs"),
        ],
    )
    def test_refuses(self, change, words):
        values = {
            "images": ("a", "b", "c", "d"),
            "first": [0, 1],
            "second": [2, 3],
            "genuine": [True, False],
            "folds": [0, 0],
        }
        source = MemoryImages("odd", {})
        assert words in refusal(PairSet, name="odd", source=source, **(values | change))


class TestSubset:
    def test_equal_shares_of_classes_and_folds(self):
        pairs = made_up(np.tile(np.repeat([True, False], 30), 10), np.repeat(np.arange(10), 60))
        small = pairs.subset(100)
        assert_sound(small)
        for fold in range(10):
            assert small.genuine[small.folds == fold].tolist() == [True] * 5 + [False] * 5
        assert small.subset(100) is small
        assert named(small) == named(pairs.subset(100))
        # At even distances: of 30 pairs, the middles of five stretches of six.
        assert [key for key, *_ in named(small)[:5]] == [f"image {index}" for index in (3, 9, 15, 21, 27)]

    def test_keeps_pairs_and_only_their_images(self):
        pairs = made_up([True, False] * 50, np.arange(100) // 10)
        small = pairs.subset(20)
        assert set(named(small)) < set(named(pairs))
        assert len(small.images) == 40
        assert small.source is pairs.source

    def test_scarce_classes_give_all_they_have(self):
        small = made_up([True] * 3 + [False] * 97, np.zeros(100, dtype=int)).subset(50)
        assert (small.genuine_pairs, small.impostor_pairs) == (3, 47)

    def test_fold_numbers_stay(self):
        assert set(made_up([True, False] * 3, [0, 0, 4, 4, 7, 7]).subset(4).folds) == {0, 4}

    def test_all_and_none(self):
        pairs = made_up([True, False], [0, 0])
        assert pairs.subset(2) is pairs
        assert pairs.subset(3) is pairs
        assert "at least 1" in refusal(pairs.subset, 0)

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=40), st.integers(1, 40))
    def test_any_set(self, labels, count):
        genuine, folds = zip(*labels, strict=True)
        pairs = made_up(genuine, folds)
        small = pairs.subset(count)
        assert_sound(small)
        assert len(small) == min(count, len(pairs))
        kept = [pairs.images.index(first) for first, *_ in named(small)]
        assert kept == sorted(set(kept))
        # No class is favoured unless the other one has no more to give.
        scarce = min(pairs.genuine_pairs, pairs.impostor_pairs)
        fewer = min(small.genuine_pairs, small.impostor_pairs)
        assert fewer == scarce or abs(small.genuine_pairs - small.impostor_pairs) <= 1


class TestReadLfw:
    def test_pairs_as_listed(self, lfw_folder):
        pairs = read_lfw(lfw_folder)
        assert_sound(pairs)
        assert (pairs.name, pairs.aligned, pairs.source.name) == ("lfw", False, "lfw-deepfunneled")
        assert set(pairs.images) == set(USED)
        assert named(pairs) == [
            ("Ann_A/Ann_A_0001.jpg", "Ann_A/Ann_A_0002.jpg", True, 0),
            ("Ann_A/Ann_A_0001.jpg", "Ann_A/Ann_A_0003.jpg", True, 0),
            ("Ann_A/Ann_A_0001.jpg", "Bob_B/Bob_B_0001.jpg", False, 0),
            ("Ann_A/Ann_A_0002.jpg", "Bob_B/Bob_B_0002.jpg", False, 0),
            ("Cid_C/Cid_C_0001.jpg", "Cid_C/Cid_C_0002.jpg", True, 1),
            ("Dee_D/Dee_D_0001.jpg", "Dee_D/Dee_D_0002.jpg", True, 1),
            ("Cid_C/Cid_C_0001.jpg", "Dee_D/Dee_D_0001.jpg", False, 1),
            ("Cid_C/Cid_C_0002.jpg", "Dee_D/Dee_D_0002.jpg", False, 1),
        ]
        assert dict(pairs.source.stream(pairs.images)) == {key: content(key) for key in USED}

    @pytest.mark.parametrize("tree", ["", "lfw", "lfw_funneled", "LFW images"])
    def test_finds_the_images(self, tmp_path, tree):
        write_tree(tmp_path / tree)
        (tmp_path / "pairs.txt").write_text(PAIRS)
        (tmp_path / "notes").mkdir()
        assert len(read_lfw(tmp_path)) == 8

    def test_pairs_beside_the_folder(self, lfw_folder):
        assert named(read_lfw(lfw_folder / "lfw-deepfunneled")) == named(read_lfw(lfw_folder))

    @pytest.mark.parametrize("ending", [".tgz", ".tar.gz", ".tar"])
    @pytest.mark.parametrize("prefix", ["lfw-deepfunneled/", "", "./lfw/", "a/b/"])
    def test_archive_in_a_folder_or_by_itself(self, tmp_path, ending, prefix):
        path = write_lfw_archive(tmp_path / f"lfw{ending}", prefix)
        (tmp_path / "pairs.txt").write_text(PAIRS)
        for data in (tmp_path, path, str(path)):
            pairs = read_lfw(data)
            assert pairs.source.name == path.name
            assert dict(pairs.source.stream(pairs.images)) == {key: content(key) for key in USED}

    def test_images_go_before_the_archive(self, lfw_folder):
        write_lfw_archive(lfw_folder / "lfw-deepfunneled.tgz")
        assert isinstance(read_lfw(lfw_folder).source, FolderImages)

    def test_which_of_several_is_not_guessed(self, lfw_folder):
        write_tree(lfw_folder / "lfw")
        message = refusal(read_lfw, lfw_folder)
        assert '"lfw", "lfw-deepfunneled"' in message
        assert read_lfw(lfw_folder / "lfw").source.name == "lfw"

    def test_several_archives(self, tmp_path):
        (tmp_path / "pairs.txt").write_text(PAIRS)
        write_lfw_archive(tmp_path / "lfw.tgz")
        write_lfw_archive(tmp_path / "lfw-funneled.tgz")
        assert "several times" in refusal(read_lfw, tmp_path)
        both = [("lfw/" + key, b"") for key in KEYS] + [("lfw2/" + key, b"") for key in KEYS]
        (tmp_path / "lfw.tgz").write_bytes(tar_bytes(both, "w:gz"))
        message = refusal(read_lfw, tmp_path / "lfw.tgz")
        assert 'lfw.tgz" holds LFW several times ("lfw", "lfw2")' in message

    def test_view_1_is_one_fold(self, lfw_folder):
        lines = "2\nAnn_A 1 2\nCid_C 1 2\nAnn_A 1 Bob_B 1\nCid_C 1 Dee_D 1\n"
        (lfw_folder / "pairsDevTest.txt").write_text(lines)
        pairs = read_lfw(lfw_folder, lfw_folder / "pairsDevTest.txt")
        assert pairs.name == "lfw-pairsDevTest"
        assert (pairs.folds == 0).all()
        assert pairs.genuine.tolist() == [True, True, False, False]

    def test_windows_line_ends_and_byte_order_mark(self, lfw_folder):
        (lfw_folder / "pairs.txt").write_bytes(
            b"\xef\xbb\xbf" + PAIRS.replace("\n", "\r\n").encode() + b"\r\n"
        )
        assert len(read_lfw(lfw_folder)) == 8

    @pytest.mark.parametrize(
        ("number", "line"),
        [
            (2, "Ann_A\t1"),
            (2, "Ann_A\t1\t2\t3"),
            (3, "Ann_A\t1\tBob_B\t1"),
            (3, "Ann_A\t1\tone"),
            (3, "Ann_A\t1\t1"),
            (3, "Ann_A\t0\t1"),
            (3, "Ann_A\t-1\t1"),
            (3, "Ann_A\t1\t\N{SUPERSCRIPT TWO}"),
            (3, "../Ann_A\t1\t2"),
            (5, "Ann_A\t1\t2"),
            (5, "Ann_A\t1\tAnn_A\t2"),
            (9, "a\\b\t1\tBob_B\t2"),
        ],
    )
    def test_malformed_lines_are_named(self, lfw_folder, number, line):
        lines = PAIRS.splitlines()
        lines[number - 1] = line
        (lfw_folder / "pairs.txt").write_text("\n".join(lines))
        assert f'"pairs.txt", line {number} must' in refusal(read_lfw, lfw_folder)

    @pytest.mark.parametrize("first", ["", "ten", "2 2 2", "0 2", "2 -2", "9999999999", "Ann_A 1 2"])
    def test_malformed_first_line(self, lfw_folder, first):
        (lfw_folder / "pairs.txt").write_text(first + PAIRS[3:])
        assert '"pairs.txt", line 1' in refusal(read_lfw, lfw_folder)

    def test_empty_list(self, lfw_folder):
        (lfw_folder / "pairs.txt").write_text("")
        assert '"pairs.txt", line 1' in refusal(read_lfw, lfw_folder)

    @pytest.mark.parametrize("text", [PAIRS[:-40], PAIRS + PAIRS[4:], "999999999 999999999\n"])
    def test_too_few_or_many_lines(self, lfw_folder, text):
        (lfw_folder / "pairs.txt").write_text(text)
        assert "announces" in refusal(read_lfw, lfw_folder)

    def test_missing_images_are_named(self, lfw_folder):
        (lfw_folder / "lfw-deepfunneled" / USED[0]).unlink()
        (lfw_folder / "lfw-deepfunneled" / USED[4]).unlink()
        message = refusal(read_lfw, lfw_folder)
        assert f'2 of 9 images not found, "{USED[0]}", "{USED[4]}"' in message
        path = write_lfw_archive(lfw_folder / "lfw.tgz", keys=USED[1:])
        assert f'"lfw.tgz": 1 of 9 images not found, "{USED[0]}"' in refusal(read_lfw, path)

    def test_cut_off_archive(self, tmp_path):
        path = write_lfw_archive(tmp_path / "lfw.tgz")
        path.write_bytes(path.read_bytes()[:-30])
        (tmp_path / "pairs.txt").write_text(PAIRS)
        assert "cut off" in refusal(read_lfw, tmp_path)

    def test_says_what_is_expected(self, tmp_path):
        assert "was not found; give the folder that holds lfw-deepfunneled/" in refusal(
            read_lfw, tmp_path / "nowhere"
        )
        assert "no pairs.txt in it or beside it" in refusal(read_lfw, tmp_path)
        (tmp_path / "pairs.txt").write_text(PAIRS)
        assert "holds no images of LFW" in refusal(read_lfw, tmp_path)
        assert "is no archive of LFW" in refusal(read_lfw, tmp_path / "pairs.txt")
        (tmp_path / "lfw.tgz").write_bytes(tar_bytes([("a.jpg", b"")], "w:gz"))
        assert "holds no images of LFW" in refusal(read_lfw, tmp_path)
        assert '"other.txt" was not found' in refusal(read_lfw, tmp_path, "other.txt").replace(
            str(tmp_path) + "/", ""
        )

    @settings(max_examples=100, deadline=None)
    @given(data=st.data())
    def test_mangled_list(self, tmp_path_factory, data):
        root = tmp_path_factory.getbasetemp() / "mangled-lfw"
        if not root.exists():
            write_tree(root)
        (root / "pairs.txt").write_bytes(mangled(data, PAIRS.encode()))
        read_or_refuse(read_lfw, root)


class TestReadPairsCsv:
    LINES = (
        "first,second,genuine\n"
        "Ann_A/Ann_A_0001.jpg,Ann_A/Ann_A_0002.jpg,1\n"
        "Ann_A/Ann_A_0001.jpg,./Bob_B/Bob_B_0001.jpg,0\n"
    )

    def read(self, folder, text, encoding="utf-8"):
        write_tree(folder)
        path = folder / "my pairs.csv"
        path.write_bytes(text.encode(encoding))
        return read_pairs_csv(path)

    def test_reads(self, tmp_path):
        pairs = self.read(tmp_path, self.LINES)
        assert_sound(pairs)
        assert pairs.name == "my pairs"
        assert named(pairs) == [
            (KEYS[0], KEYS[1], True, 0),
            (KEYS[0], "Bob_B/Bob_B_0001.jpg", False, 0),
        ]
        assert dict(pairs.source.stream(pairs.images))[KEYS[1]] == content(KEYS[1])

    def test_columns_in_any_order_and_others(self, tmp_path):
        text = f' Genuine ,note,FOLD,second,first\r\nsame,"a, b",3,{KEYS[0]},{KEYS[1]}\r\n,,,,\r\n\r\n'
        text += f'different,,1,"{KEYS[0]}",{KEYS[4]}\r\n'
        pairs = self.read(tmp_path, text, "utf-8-sig")
        assert named(pairs) == [(KEYS[1], KEYS[0], True, 1), (KEYS[4], KEYS[0], False, 0)]

    def test_absolute_paths(self, tmp_path):
        write_tree(tmp_path)
        first, second = tmp_path / KEYS[0], tmp_path / KEYS[1]
        pairs = self.read(tmp_path / "lists", f"first,second,genuine\n{first},../{KEYS[1]},true\n")
        assert [data for _, data in pairs.source.stream(pairs.images)] == [
            first.read_bytes(),
            second.read_bytes(),
        ]

    @pytest.mark.parametrize("word", ["1", "true", "TRUE", "yes", "Same", "genuine"])
    def test_words_for_genuine(self, tmp_path, word):
        assert self.read(tmp_path, f"first,second,genuine\n{KEYS[0]},{KEYS[1]},{word}\n").genuine.all()

    @pytest.mark.parametrize("word", ["0", "false", "No", "different", "impostor"])
    def test_words_for_impostor(self, tmp_path, word):
        assert not self.read(tmp_path, f"first,second,genuine\n{KEYS[0]},{KEYS[1]},{word}\n").genuine.any()

    def test_each_class_is_dealt_out_in_order(self, tmp_path):
        # 36 pairs of 9 images: 25 genuine, 11 impostor.
        pairs = list(itertools.combinations(KEYS[:9], 2))
        lines = [f"{one},{other},{int(index < 25)}" for index, (one, other) in enumerate(pairs)]
        read = self.read(tmp_path, "\n".join(["first,second,genuine", *lines]))
        for genuine, size in ((True, 25), (False, 11)):
            folds = read.folds[read.genuine == genuine]
            assert folds.tolist() == sorted(folds.tolist())
            assert set(folds) == set(range(10))
            assert set(np.bincount(folds)) == {size // 10, size // 10 + 1}

    def test_no_fold_lacks_a_class(self, tmp_path):
        pairs = list(itertools.combinations(KEYS[:9], 2))
        lines = [f"{one},{other},{int(index < 3)}" for index, (one, other) in enumerate(pairs)]
        read = self.read(tmp_path, "\n".join(["first,second,genuine", *lines]))
        assert set(read.folds) == {0, 1, 2}
        assert read.folds[read.genuine].tolist() == [0, 1, 2]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", 'lacks the column "first"'),
            ("a.jpg,b.jpg,1\n", 'lacks the column "first"'),
            ("first,second\na.jpg,b.jpg\n", 'lacks the column "genuine"'),
            ("first;second;genuine\na.jpg;b.jpg;1\n", 'lacks the column "first"'),
            ("first,second,genuine,first\n", 'the column "first" twice'),
            ("first,second,genuine\n", "holds no pairs"),
            ("first,second,genuine\na.jpg,b.jpg\n", "line 2 has 2 cells"),
            ("first,second,genuine\n\na,b.jpg,c.jpg,1\n", "line 3 has 4 cells"),
            ("first,second,genuine\na.jpg,,1\n", "line 2 lacks the path"),
            ("first,second,genuine\na.jpg,b.jpg,maybe\n", 'line 2: "maybe"'),
            ("first,second,genuine\na.jpg,b.jpg,\n", 'line 2: ""'),
            ("first,second,genuine,fold\na.jpg,b.jpg,1,one\n", 'line 2: the fold "one"'),
            ("first,second,genuine,fold\na.jpg,b.jpg,1,-1\n", 'line 2: the fold "-1"'),
            ("first,second,genuine\na.jpg,./a.jpg,1\n", 'line 2: "a.jpg" is paired with itself'),
            ("first,second,genuine\na.jpg,b.jpg,1\nb.jpg,a.jpg,0\n", "line 3 gives the pair of line 2 again"),
            ('first,second,genuine\na.jpg,"b.jpg"x,1\n', "line 2 is no line of a CSV"),
            ('first,second,genuine\na.jpg,"b.jpg', "line 2 is no line of a CSV"),
            (
                "first,second,genuine\na.jpg,b.jpg,1\n",
                '2 of 2 images not found, "a.jpg", "b.jpg"; paths count',
            ),
            ("first,second,genuine\na\0.jpg,b.jpg,1\n", "images not found"),
            ("first,second,genuine\n" + "a" * 200_000, "line 2 is no line of a CSV"),
        ],
    )
    def test_refuses(self, tmp_path, text, words):
        message = refusal(self.read, tmp_path, text)
        assert message.startswith('"my pairs.csv"')
        assert words in message

    def test_other_files(self, tmp_path):
        assert "UTF-8" in refusal(self.read, tmp_path, self.LINES, "utf-16")
        assert "was not found" in refusal(read_pairs_csv, tmp_path / "none.csv")
        assert "is no file" in refusal(read_pairs_csv, tmp_path)

    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_mangled(self, tmp_path_factory, data):
        root = tmp_path_factory.getbasetemp() / "mangled-csv"
        if not root.exists():
            write_tree(root)
        path = root / "pairs.csv"
        path.write_bytes(mangled(data, self.LINES.encode()))
        read_or_refuse(read_pairs_csv, path)


class TestRequire:
    @staticmethod
    def pairs(genuine, folds):
        count = len(genuine)
        return PairSet(
            name="few",
            source=MemoryImages("few", {}),
            images=tuple(map(str, range(2 * count))),
            first=np.arange(count),
            second=np.arange(count, 2 * count),
            genuine=np.array(genuine, bool),
            folds=np.array(folds),
        )

    def test_counts_each_class(self):
        pairs = self.pairs([1, 1, 1, 0, 0], [0, 1, 0, 1, 0])
        pairs.require(2)
        message = refusal(pairs.require, 3)
        assert message == '"few" has 3 genuine and 2 impostor pairs; at least 3 of each are needed.'

    def test_counts_what_the_poorest_fold_leaves(self):
        pairs = self.pairs([1, 0, 1, 0, 1, 0, 0], [0, 0, 1, 1, 2, 2, 2])
        pairs.require(2, outside_folds=True)
        assert refusal(lambda: pairs.require(3, outside_folds=True)) == (
            '"few" has, without fold 1 of its 3, 2 genuine and 3 impostor pairs; at least 3 of each are '
            "needed."
        )

    def test_one_class(self):
        assert "4 genuine and 0 impostor pairs" in refusal(self.pairs([1] * 4, [0, 0, 1, 1]).require, 1)


class TestReadPeopleFolder:
    def test_reads_in_order(self, tmp_path):
        root = write_tree(tmp_path / "friends", ["b/2.JPG", "b/10.png", "a/x.jpeg", "c d/é.webp"])
        images = read_people_folder(root)
        assert images.name == "friends"
        assert images.people == ("a", "b", "c d")
        assert images.images == ("a/x.jpeg", "b/10.png", "b/2.JPG", "c d/é.webp")
        assert images.person.tolist() == [0, 1, 1, 2]
        assert dict(images.source.stream(images.images))["b/2.JPG"] == content("b/2.JPG")

    @pytest.mark.parametrize(
        "suffix",
        ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif", "heic", "heif", "avif"],
    )
    def test_suffixes(self, tmp_path, suffix):
        assert len(read_people_folder(write_tree(tmp_path, [f"a/1.{suffix}", f"a/2.{suffix.upper()}"]))) == 2

    def test_leaves_out_what_is_no_image(self, tmp_path):
        write_tree(
            tmp_path,
            ["a/1.jpg", "a/.2.jpg", "a/3.txt", "a/jpg", ".b/1.jpg", "loose.jpg", "c/d/1.jpg", "e/1.md"],
        )
        (tmp_path / "empty").mkdir()
        (tmp_path / "a" / "folder.jpg").mkdir()
        images = read_people_folder(tmp_path)
        assert images.people == ("a",)
        assert images.images == ("a/1.jpg",)

    def test_names_what_it_leaves_out_but_for_what_systems_put_there(self, tmp_path):
        quiet = ["a/Thumbs.db", "a/._1.jpg", "a/.DS_Store", "a/desktop.ini", "pairs.csv", "README.md"]
        write_tree(tmp_path / "friends", ["a/1.jpg", *quiet])
        assert read_people_folder(tmp_path / "friends").notice is None
        write_tree(tmp_path / "friends", ["a/2.jxl", "b/IMG_3", "b/4.CR2", "me.jpg"])
        images = read_people_folder(tmp_path / "friends")
        assert images.images == ("a/1.jpg",)
        assert images.left_out == ("me.jpg", "a/2.jxl", "b/4.CR2", "b/IMG_3")
        assert images.notice.startswith('"friends": 4 files left out, "me.jpg", "a/2.jxl", "b/4.CR2", …;')
        assert ".avif" in images.notice
        assert images.notice.isprintable()
        assert images.of({"a"}).notice == images.notice

    def test_a_folder_of_others_says_what_it_holds(self, tmp_path):
        message = refusal(read_people_folder, write_tree(tmp_path, ["a/1.jxl", "b/2.svg"]))
        assert 'holds no images of people, but "a/1.jxl", "b/2.svg"' in message
        assert ".heic" in message

    def test_says_what_is_expected(self, tmp_path):
        for path in (tmp_path / "nowhere", tmp_path, write_tree(tmp_path, ["1.jpg"]) / "1.jpg"):
            assert "one folder for each person" in refusal(read_people_folder, path)


class TestReadPeople:
    def assert_lfw(self, images):
        assert images.people == tuple(PEOPLE)
        assert len(images) == len(KEYS)
        assert images.person.tolist() == list(np.repeat(np.arange(len(PEOPLE)), list(PEOPLE.values())))
        found = dict(images.source.stream(images.images))
        assert [found[key] for key in images.images] == [content(key) for key in KEYS]

    @pytest.mark.parametrize("ending", [".tgz", ".tar"])
    def test_an_archive_or_a_folder_that_holds_one(self, tmp_path, ending):
        path = write_lfw_archive(tmp_path / f"lfw-deepfunneled{ending}")
        (tmp_path / "pairs.txt").write_text(PAIRS)
        for place in (path, tmp_path):
            self.assert_lfw(read_people(place))
            assert read_people(place).name == "lfw"

    def test_lfws_own_folder_and_the_one_around_it(self, lfw_folder):
        self.assert_lfw(read_people(lfw_folder))
        self.assert_lfw(read_people(lfw_folder / "lfw-deepfunneled"))

    def test_any_folder_of_people(self, tmp_path):
        assert read_people(write_tree(tmp_path, ["b/1.jpg", "a/1.jpg", "a/2.jpg"])).people == ("a", "b")

    def test_what_is_not_an_image_of_a_person_is_left_out(self, tmp_path):
        keys = ["Ann_A/1.jpg", "Ann_A/notes.txt", "Bob_B/1.png", "Bob_B/._1.png"]
        images = read_people(write_lfw_archive(tmp_path / "lfw.tgz", keys=keys))
        assert images.people == ("Ann_A", "Bob_B")
        assert len(images) == 2
        assert [key.rpartition("/")[2] for key in images.left_out] == ["notes.txt"]

    def test_says_what_is_expected(self, tmp_path):
        loose = write_lfw_archive(tmp_path / "lfw.tgz", prefix="", keys=["1.jpg"])
        for path in (loose, tmp_path / "nowhere", tmp_path / "lfw2.tgz"):
            assert "one folder for each person" in refusal(read_people, path)


class TestSome:
    def test_some_people(self):
        images = TestLabelledImages().people(2, 1, 3)
        some = images.of({"person 2", "person 0", "nobody"})
        assert some.people == ("person 0", "person 2")
        assert some.images == ("0/0", "0/1", "2/3", "2/4", "2/5")
        assert some.person.tolist() == [0, 0, 1, 1, 1]
        assert "holds no images" in refusal(images.of, {"nobody"})

    def test_some_pairs(self, lfw_folder):
        pairs = read_lfw(lfw_folder)
        some = pairs.where(pairs.folds == 1)
        assert_sound(some)
        assert named(some) == [pair for pair in named(pairs) if pair[3] == 1]
        assert "holds no pairs" in refusal(pairs.where, pairs.folds == 7)

    def test_whom_pairs_show(self, lfw_folder):
        assert read_lfw(lfw_folder).people[2:5] == (
            ("Ann_A", "Bob_B"),
            ("Ann_A", "Bob_B"),
            ("Cid_C", "Cid_C"),
        )
        assert set(made_up([True, False], [0, 1]).people) == {("", "")}


class TestLabelledImages:
    def people(self, *sizes):
        person = np.repeat(np.arange(len(sizes)), sizes)
        images = tuple(f"{one}/{index}" for index, one in enumerate(person))
        names = tuple(f"person {index}" for index in range(len(sizes)))
        return LabelledImages("crowd", MemoryImages("crowd", {}), images, person, names)

    def drawn(self, sizes, count, folds=10, seed=0):
        pairs = self.people(*sizes).pairs(count, np.random.default_rng(seed), folds)
        assert_sound(pairs)
        seen = set()
        for first, second, genuine, _ in named(pairs):
            assert (first.split("/")[0] == second.split("/")[0]) == genuine
            seen.add(frozenset((first, second)))
        assert len(seen) == len(pairs)
        assert pairs.genuine_pairs == pairs.impostor_pairs
        assert (np.diff(pairs.folds) >= 0).all()
        assert set(np.concatenate([pairs.first, pairs.second])) == set(range(len(pairs.images)))
        return pairs

    def people_by_fold(self, pairs):
        by_fold = {}
        for first, second, _, fold in named(pairs):
            by_fold.setdefault(fold, set()).update(key.split("/")[0] for key in (first, second))
        return [by_fold[fold] for fold in sorted(by_fold)]

    def test_people_are_disjoint_between_folds(self):
        pairs = self.drawn([1] * 100 + [2] * 50 + [30] * 20, 400)
        by_fold = self.people_by_fold(pairs)
        assert len(by_fold) == 10
        assert sum(map(len, by_fold)) == len(set().union(*by_fold))
        for fold in range(10):
            assert np.bincount(pairs.genuine[pairs.folds == fold]).tolist() == [20, 20]

    def test_no_person_fills_the_set(self):
        pairs = self.drawn([500] + [4] * 40, 200, folds=1)
        shown = [first.split("/")[0] for first, _, genuine, _ in named(pairs) if genuine]
        assert max(shown.count(one) for one in set(shown)) == 3  # 100 pairs of 41 people
        meetings = [frozenset(key.split("/")[0] for key in pair[:2]) for pair in named(pairs) if not pair[2]]
        assert len(set(meetings)) == 100

    def test_same_seed_same_pairs(self):
        sizes = [3] * 30
        assert named(self.drawn(sizes, 60, seed=5)) == named(self.drawn(sizes, 60, seed=5))
        assert named(self.drawn(sizes, 60, seed=5)) != named(self.drawn(sizes, 60, seed=6))

    def test_takes_what_there_is(self):
        # Three genuine pairs and one: as many impostor pairs are taken.
        assert len(self.drawn([3, 2, 1, 1], 1000, folds=1)) == 8
        # Fewer impostor pairs than genuine ones.
        assert len(self.drawn([10, 1], 1000, folds=1)) == 20

    def test_takes_every_pair_if_asked_for(self):
        pairs = self.drawn([4, 4], 24, folds=1)
        assert (len(pairs), pairs.genuine_pairs) == (24, 12)

    def test_few_people_make_few_folds(self):
        by_fold = self.people_by_fold(self.drawn([5] * 6, 60))
        assert len(by_fold) == 3
        assert not set.intersection(*by_fold)

    def test_too_few_people_are_shared_between_folds(self):
        for sizes in ([9, 9], [9, 9, 9], [9, 1, 1, 1, 1, 1, 1, 1, 1, 1]):
            pairs = self.drawn(sizes, 18)
            assert np.bincount(pairs.folds).max() == 2
            for fold in range(9):
                assert sorted(pairs.genuine[pairs.folds == fold]) == [False, True]

    def test_odd_and_least_counts(self):
        assert len(self.drawn([3] * 10, 7)) == 6
        assert len(self.drawn([3] * 10, 2)) == 2

    def test_people_without_images_do_not_count(self):
        one = LabelledImages("c", MemoryImages("c", {}), ("a", "b"), np.array([1, 1]), ("x", "y", "z"))
        assert "one person only" in refusal(one.pairs, 2, np.random.default_rng(0))

    def test_many_people(self):
        assert len(self.drawn([1] * 3000 + [2] * 3000 + [400] * 5, 6000, folds=1)) == 6000

    def test_refuses(self):
        rng = np.random.default_rng(0)
        assert "one person only" in refusal(self.people(5).pairs, 10, rng)
        assert "no person twice" in refusal(self.people(1, 1, 1).pairs, 10, rng)
        assert "ask for 2 pairs" in refusal(self.people(3, 3).pairs, 1, rng)
        assert "ask for 2 pairs" in refusal(self.people(3, 3).pairs, 2, rng, folds=0)
        assert "no images" in refusal(self.people)
        source = MemoryImages("odd", {})
        assert "for each image" in refusal(LabelledImages, "odd", source, ("a",), [0, 0], ("x",))
        assert "comes twice" in refusal(LabelledImages, "odd", source, ("a", "a"), [0, 0], ("x",))
        assert "does not have" in refusal(LabelledImages, "odd", source, ("a",), [1], ("x",))

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(1, 6), min_size=2, max_size=25), st.integers(2, 60), st.integers(1, 12))
    def test_any_crowd(self, sizes, count, folds):
        if max(sizes) < 2:
            return
        pairs = self.drawn(sizes, count, folds)
        by_fold = self.people_by_fold(pairs)
        assert 1 <= len(by_fold) <= folds
        multiple = sum(size > 1 for size in sizes)
        if min(folds, multiple, len(sizes) // 2, count // 2) > 1:
            assert sum(map(len, by_fold)) == len(set().union(*by_fold))
        assert len(pairs) <= count


# insightface's .bin


def python_2_pickle(images, labels):
    """What Python 2's pickle.dump((images, labels), file, pickle.HIGHEST_PROTOCOL) writes of str and bool."""
    memo = itertools.count()

    def kept():
        return b"q" + bytes([next(memo)]) if next(memo) < 200 else b""

    def text(data):
        short = b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))
        return short + data + kept()

    listed = b"]" + kept() + b"(" + b"".join(map(text, images)) + b"e"
    flags = b"]" + kept() + b"(" + b"".join(b"\x88" if label else b"\x89" for label in labels) + b"e"
    return b"\x80\x02" + listed + flags + b"\x86" + kept() + b"."


def jpegs(count):
    rng = np.random.default_rng(3)
    return [b"\xff\xd8\xff" + rng.bytes(40 * index) for index in range(count)]


@contextlib.contextmanager
def unpickled_values():
    """What the unpickler makes meanwhile, before anything is asked of it."""
    values = []
    original = PairListReader.load

    def load(self):
        values.append(original(self))
        return values[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PairListReader, "load", load)
        yield values


def assert_plain(values):
    """Only plain values, records of arrays, and the few constructors of them, as they were."""
    seen, left = set(), list(values)
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if type(value) in (list, tuple):
            left += value
        elif isinstance(value, insightface_bin._NumpyArray | insightface_bin._NumpyType):
            left += vars(value).values()
            assert vars(value).keys() <= {"type", "shape", "content", "code", "order"}
        elif type(value) is insightface_bin._Bytes:
            assert vars(value).keys() == {"_budget"}
        else:
            constructors = (
                insightface_bin._NDARRAY,
                insightface_bin._dtype,
                insightface_bin._reconstruct,
                insightface_bin._scalar,
                insightface_bin._frombuffer,
            )
            assert any(value is one for one in constructors) or type(value) in (
                bytes, bytearray, str, int, bool, type(None)
            )  # fmt: skip
            assert getattr(value, "__defaults__", None) is None
            assert not getattr(value, "__dict__", None)


class TestReadInsightfaceBin:
    IMAGES = jpegs(24)
    LABELS = [True, True, False] * 4

    def read(self, folder, data):
        path = folder / "lfw.bin"
        path.write_bytes(data)
        return read_insightface_bin(path)

    def assert_read(self, folder, data):
        pairs = self.read(folder, data)
        assert_sound(pairs)
        assert pairs.aligned
        assert pairs.name == "lfw"
        assert pairs.genuine.tolist() == self.LABELS
        assert pairs.folds.tolist() == [0, 0, 1, 1, *range(2, 10)]  # as KFold(10) cuts 12
        streamed = dict(pairs.source.stream(pairs.images))
        for array, start in ((pairs.first, 0), (pairs.second, 1)):
            assert [streamed[pairs.images[place]] for place in array] == self.IMAGES[start::2]
        assert all(type(data) is bytes for data in streamed.values())

    @pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
    @pytest.mark.parametrize(
        "kind",
        [
            bytes,
            bytearray,
            lambda data: np.frombuffer(data, np.uint8),
            lambda data: np.frombuffer(data, np.uint8).copy(),
            lambda data: np.frombuffer(data, np.uint8).reshape(-1, 1),
            lambda data: np.asfortranarray(np.frombuffer(data, np.uint8).reshape(1, -1)),
        ],
        ids=["bytes", "bytearray", "numpy", "writeable", "column", "row"],
    )
    def test_images_of_every_kind(self, tmp_path, protocol, kind):
        self.assert_read(
            tmp_path, pickle.dumps(([kind(data) for data in self.IMAGES], self.LABELS), protocol)
        )

    @pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
    @pytest.mark.parametrize(
        "kind",
        [
            list,
            tuple,
            np.array,
            lambda labels: [int(label) for label in labels],
            lambda labels: [np.bool_(label) for label in labels],
            lambda labels: [np.int64(label) for label in labels],
            lambda labels: np.array(labels, np.uint8),
            lambda labels: np.array(labels, ">i4"),
            lambda labels: np.array(labels, np.int64),
        ],
    )
    def test_labels_of_every_kind(self, tmp_path, protocol, kind):
        self.assert_read(tmp_path, pickle.dumps([tuple(self.IMAGES), kind(self.LABELS)], protocol))

    def test_python_2(self, tmp_path):
        data = python_2_pickle(self.IMAGES, self.LABELS)
        assert pickle.loads(data, encoding="bytes") == (self.IMAGES, self.LABELS)
        self.assert_read(tmp_path, data)

    def test_numpy_1_and_python_2_names(self, tmp_path):
        arrays = [np.frombuffer(data, np.uint8) for data in self.IMAGES]
        data = pickle.dumps((arrays, self.LABELS), 2)
        self.assert_read(tmp_path, data.replace(b"numpy._core.", b"numpy.core."))
        # Python 2 writes the text in a type's and an array's state as str.
        array = (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x04t"
            b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
            b"\x89U\x04\xff\xd8\xffatb"
        )
        pairs = self.read(tmp_path, b"\x80\x02](" + array + array + b"e]\x88a\x86.")
        assert set(dict(pairs.source.stream(pairs.images)).values()) == {b"\xff\xd8\xffa"}

    def test_out_of_pickled_python(self, tmp_path):
        """The pure Python pickler, whose files have other frames, and an optimised one."""
        file = io.BytesIO()
        pickle._Pickler(file, 4).dump((self.IMAGES, self.LABELS))
        self.assert_read(tmp_path, file.getvalue())
        self.assert_read(tmp_path, pickletools.optimize(file.getvalue()))

    def test_images_that_stand_for_each_other(self, tmp_path):
        """One object several times is written once; each place is an image of its own."""
        pairs = self.read(tmp_path, pickle.dumps(([b"one", b"two", b"one", b"one"], [False, True])))
        assert len(pairs.images) == 4

    def test_few_pairs_make_few_folds(self, tmp_path):
        data = pickle.dumps(([b"a", b"b"] * 3, [True, False, True]))
        assert self.read(tmp_path, data).folds.tolist() == [0, 1, 2]

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (None, "no lists"),
            ([], "no lists"),
            (([], [], []), "no lists"),
            (b"ab", "no lists"),
            ("ab", "no lists"),
            (([], []), "no pairs"),
            (([b"a"], [True]), "1 images for 1 labels"),
            (([b"a"] * 4, [True]), "4 images for 1 labels"),
            (([b"a", "b"], [True]), "image 1 is not"),
            (([b"a", 5], [True]), "image 1 is not"),
            (([b"a", None], [True]), "image 1 is not"),
            (([b"a", [b"b"]], [True]), "image 1 is not"),
            (([b"a", np.zeros((112, 112, 3), np.uint8)], [True]), "an array of pixels"),
            (([b"a", np.zeros((4, 4), np.uint8)], [True]), "an array of pixels"),
            (([b"a", np.zeros(4, np.int64)], [True]), "an array of pixels"),
            (([b"a", b"b"], [2]), "neither true nor false"),
            (([b"a", b"b"], [-1]), "neither true nor false"),
            (([b"a", b"b"], [None]), "neither true nor false"),
            (([b"a", b"b"], ["True"]), "neither true nor false"),
            (([b"a", b"b"], [10**800]), "LONG4"),
            (([b"a", b"b"], [2**70]), "neither true nor false"),
            (([b"a", b"b"], [np.array([1, 0])]), "neither true nor false"),
            (([b"a", b"b"], np.array([[1, 0], [0, 1]])), "neither true nor false"),
            (([b"a", b"b"], np.array([7])), "neither true nor false"),
            (([b"a", b"b"], [1.0]), "BINFLOAT"),
            (([b"a", b"b"], np.array([1.0])), "arrays of plain numbers"),
            (([b"a", b"b"], np.array([True], dtype=object)), "arrays of plain numbers"),
            (([b"a", b"b"], np.array(["x"])), "arrays of plain numbers"),
            (([b"a", b"b"], np.zeros(1, [("a", "u1")])), "EMPTY_DICT"),
            (({}, {}), "EMPTY_DICT"),
            (({1}, [True]), "EMPTY_SET"),
            (([np.datetime64("2020-01-01"), b"b"], [True]), "plain numbers"),
            (([range(3), b"b"], [True]), '"builtins.range"'),
            (([Path("a"), b"b"], [True]), "Path"),
        ],
        ids=lambda value: None if isinstance(value, str) and " " in value else "",
    )
    def test_other_values(self, tmp_path, value, words):
        message = refusal(self.read, tmp_path, pickle.dumps(value, 4))
        assert message.startswith('"lfw')
        assert words in message

    def test_self_reference(self, tmp_path):
        images = [b"a"]
        images.append(images)
        assert "image 1 is not" in refusal(self.read, tmp_path, pickle.dumps((images, [True])))

    def test_no_pickle(self, tmp_path):
        for data in (
            b"",
            b"\x80",
            b"PK\x03\x04",
            b"\xff\xd8\xff\xe0",
            bytes(100),
            b"hello",
            b".",
            b"0.",
            b"e.",
        ):
            assert refusal(self.read, tmp_path, data).startswith('"lfw.bin"')
        assert "was not found" in refusal(read_insightface_bin, tmp_path / "none.bin")
        assert "is no file" in refusal(read_insightface_bin, tmp_path)

    def test_text_protocol(self, tmp_path):
        assert refusal(self.read, tmp_path, pickle.dumps((self.IMAGES, self.LABELS), 0))

    def test_cut_off_anywhere(self, tmp_path):
        for data in (
            python_2_pickle(self.IMAGES[:4], [1, 0]),
            pickle.dumps((self.IMAGES[:4], [True, False])),
        ):
            for length in range(len(data)):
                message = refusal(self.read, tmp_path, data[:length])
                assert "cut off or damaged" in message

    @settings(max_examples=400, deadline=None)
    @given(data=st.data(), protocol=st.sampled_from([1, 2, 4, 5, "python 2"]), arrays=st.booleans())
    def test_mangled(self, tmp_path_factory, data, protocol, arrays):
        images, labels = self.IMAGES[:4], [True, False]
        if protocol == "python 2":
            original = python_2_pickle(images, labels)
        else:
            if arrays:
                images = [np.frombuffer(image, np.uint8) for image in images]
            original = pickle.dumps((images, labels), protocol)
        path = tmp_path_factory.getbasetemp() / "mangled.bin"
        path.write_bytes(mangled(data, original))
        read_or_refuse(read_insightface_bin, path)

    @settings(max_examples=400, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    *(bytes([code]) for code in b"(]lap0tsu)}RbNe2.o"),
                    *(bytes([code]) for code in (0x81, 0x85, 0x86, 0x87, 0x88, 0x89, 0x92, 0x93, 0x94, 0x97)),
                    b"U\x01a", b"U\x02u1", b"U\x06latin1", b"C\x02ab", b"X\x02\x00\x00\x00u1", b"q\x00",
                    b"h\x00",
                    b"q\x01", b"h\x01", b"K\x01", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n",
                    b"c_codecs\nencode\n",
                    b"cbuiltins\nbytes\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"cos\nsystem\n",
                    b"cnumpy.core.multiarray\nscalar\n", b"cnumpy.core.numeric\n_frombuffer\n",
                    b"\x96\x01\x00\x00\x00\x00\x00\x00\x00a", b"r\x02\x00\x00\x00", b"I01\n",
                    b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R", b"cnumpy\ndtype\nU\x02u1\x85R",
                    b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02u1\x85R\x89C\x02abtb",
                ]
            ),
            max_size=60,
        )
    )  # fmt: skip
    def test_any_instructions(self, tmp_path_factory, instructions):
        path = tmp_path_factory.getbasetemp() / "instructions.bin"
        path.write_bytes(b"".join(instructions) + b".")
        with unpickled_values() as values:
            read_or_refuse(read_insightface_bin, path)
        assert_plain(values)


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Attribute(Calls):
    """Pickles as a call of getattr on a module; can be called, as pickle wants it of a function."""

    def __init__(self, module, name):
        super().__init__(getattr, Calls(__import__, module.__name__), name)

    def __call__(self):
        raise AssertionError("pickle asks whether it can be called, and calls it not")


def global_(module, name):
    return f"c{module}\n{name}\n".encode()


def text(string):
    return b"X" + struct.pack("<I", len(string.encode())) + string.encode()


def hostile_pickles(ran):
    """Pickles that leave a file where they are let, by name, and some that only try."""
    command = f"touch {ran}"
    code = f"open({str(ran)!r}, 'w').close()"
    genuine = b"](\x88e\x86."
    live = {
        "os.system": pickle.dumps(([Calls(os.system, command), b""], [True])),
        "os.system, protocol 0": pickle.dumps(Calls(os.system, command), 0),
        "subprocess": pickle.dumps(([Calls(subprocess.call, ["touch", str(ran)])], [True])),
        "eval": pickle.dumps(([Calls(eval, code)], [True])),
        "exec as label": pickle.dumps(([b"", b""], [Calls(exec, code)])),
        "chain": pickle.dumps(([Calls(list, Calls(map, os.system, [command]))], [True])),
        "getattr": pickle.dumps(Calls(Attribute(os, "system"), command)),
        "in a tuple that is dropped": b"\x80\x02" + global_("os", "system") + b"(" + text(command) + b"tR0"
        b"](C\x01aC\x01be" + genuine,
        "STACK_GLOBAL": b"\x80\x04" + text("os") + text("system") + b"\x93" + text(command) + b"\x85R.",
        "dotted STACK_GLOBAL": b"\x80\x04" + text("xfv_demo.datasets.sources") + text("os.system")
        + b"\x93" + text(command) + b"\x85R.",
        "INST": b"(" + b"S" + repr(command).encode() + b"\nios\nsystem\n.",
        "OBJ": b"\x80\x02(" + global_("subprocess", "Popen") + b"]" + text("touch") + b"a"
        + text(str(ran)) + b"ao.",
        "NEWOBJ": b"\x80\x02" + global_("subprocess", "Popen") + b")\x81" + b"0" + global_("os", "system")
        + text(command) + b"\x85R.",
        "build": b"\x80\x02" + global_("builtins", "exec") + text(code) + b"\x85R" + b"}b.",
        "numpy's own pickles": b"\x80\x02" + global_("numpy.core.multiarray", "_reconstruct") + b"("
        + global_("numpy", "ndarray") + b"K\x00\x85C\x01bt" + b"R0" + global_("os", "system") + text(command)
        + b"\x85R.",
        "an array of objects": pickle.dumps(([np.array([Calls(os.system, command)], object)] * 2, [True])),
        "an array's state": b"\x80\x02" + global_("numpy.core.multiarray", "_reconstruct") + b"("
        + global_("numpy", "ndarray") + b"K\x00\x85C\x01btR(K\x01K\x01\x85" + global_("numpy", "dtype")
        + text("O8") + b"K\x00K\x01\x87R(K\x03" + text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
        + b"\x89]"
        + global_("os", "system") + text(command) + b"\x85Ratb.",
        "after the lists": b"\x80\x02](C\x01aC\x01be](\x88e" + global_("os", "system") + text(command)
        + b"\x85R0\x86.",
    }  # fmt: skip
    attempts = {
        "numpy's eval": b"\x80\x02" + global_("numpy.lib._utils_impl", "safe_eval") + text(code) + b"\x85R.",
        "numpy's load": b"\x80\x02" + global_("numpy", "load") + text(str(ran)) + b"\x85R.",
        "a type from text": b"\x80\x02" + global_("numpy", "dtype") + text("u1,O") + b"\x85R.",
        "a type's fields": b"\x80\x02" + global_("numpy", "dtype") + text("u1") + b"\x85R(K\x03"
        + text("|") + b"N" + text("a") + b"\x85}J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb.",
        "a subclass of ndarray": b"\x80\x02" + global_("numpy.core.multiarray", "_reconstruct") + b"("
        + global_("numpy", "memmap") + b"K\x00\x85C\x01btR.",
        "another codec": b"\x80\x02" + global_("_codecs", "encode") + text("a") + text("zlib") + b"\x86R.",
        "a decoder": b"\x80\x02" + global_("_codecs", "decode") + b"C\x01a" + text("zlib") + b"\x86R.",
        "bytes of a length": b"\x80\x02" + global_("builtins", "bytes") + b"J\xff\xff\xff\x7f\x85R.",
        "bytearray of a length": b"\x80\x02" + global_("builtins", "bytearray") + b"J\xff\xff\xff\x7f\x85R.",
        "a function's state": b"\x80\x02" + global_("_codecs", "encode") + b"}" + text("__code__") + b"Nsb.",
        "a function's slots": b"\x80\x02" + global_("_codecs", "encode") + b"N}" + text("__defaults__")
        + b"Ns\x86b.",
        "a list's state": b"\x80\x02]}" + text("__class__") + b"Nsb.",
        "an instance of a class": b"\x80\x02" + global_("numpy", "ndarray") + b")\x81.",
        "calls an array": b"\x80\x02" + global_("numpy", "ndarray") + b"K\x05\x85\x85R.",
        "calls a list": b"\x80\x02])R.",
        "EXT1": b"\x80\x02\x82\x01.",
        "EXT2": b"\x80\x02\x83\x01\x00.",
        "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
        "persistent id": b"Pname\n.",
        "binary persistent id": b"\x80\x02" + text("name") + b"Q.",
        "out of band buffer": b"\x80\x05\x97.",
        "NEWOBJ_EX": b"\x80\x04" + global_("numpy", "ndarray") + b")}\x92.",
        "a name that is no text": b"\x80\x04K\x01K\x02\x93.",
        "a name of two lines": b"\x80\x04" + text("os\nx") + text("system\r\u2028") + b"\x93.",
        "relative import": global_("..os", "system") + b".",
        "private parts": global_("xfv_demo.datasets.insightface_bin", "PairListReader") + b".",
    }  # fmt: skip
    return live, attempts


LIVE, ATTEMPTS = (sorted(group) for group in hostile_pickles("x"))


class TestHostilePickles:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", LIVE)
    def test_nothing_is_run(self, tmp_path, name):
        ran = tmp_path / "ran"
        data = hostile_pickles(ran)[0][name]
        (tmp_path / "lfw.bin").write_bytes(data)
        message = refusal(read_insightface_bin, tmp_path / "lfw.bin")
        assert message.startswith('"lfw.bin"')
        assert not ran.exists()
        # And it would have been: Python's own unpickler runs it.
        with contextlib.suppress(Exception):
            pickle.loads(data)
        for _ in range(100):
            if ran.exists():
                break
            time.sleep(0.01)
        assert ran.exists()

    @pytest.mark.parametrize("name", ATTEMPTS)
    def test_nothing_is_made(self, tmp_path, name):
        (tmp_path / "lfw.bin").write_bytes(hostile_pickles(tmp_path / "ran")[1][name])
        assert refusal(read_insightface_bin, tmp_path / "lfw.bin").startswith('"lfw.bin"')
        assert not (tmp_path / "ran").exists()

    def test_interpreter_sees_no_import_and_no_call(self, tmp_path, run_python):
        """Python's audit events, in a process of its own as a hook cannot be taken away."""
        for group in hostile_pickles(tmp_path / "ran"):
            for number, data in enumerate(group.values()):
                (tmp_path / f"{len(data)}-{number}.bin").write_bytes(data)
        program = """
import sys
from pathlib import Path
from xfv_demo.datasets.insightface_bin import read_insightface_bin
from xfv_demo.errors import DatasetError
files = sorted(Path(sys.argv[1]).glob("*.bin"))
def read():
    for file in files:
        try:
            read_insightface_bin(file)
            print("read", file)
        except DatasetError:
            pass
read()  # once for what Python itself imports late
events = []
sys.addaudithook(lambda event, _: events.append(event))
read()
print(len(files), sorted(set(events)))
"""
        done = run_python("-c", program, tmp_path)
        assert done.stdout == f"{len(LIVE) + len(ATTEMPTS)} ['open']\n"
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("opcode", pickletools.opcodes, ids=lambda opcode: opcode.name)
    def test_every_instruction_there_is(self, tmp_path, opcode):
        """By itself, and on each kind of value that can lie beneath it: nothing but plain values comes."""
        of_names = {"GLOBAL": b"os\nsystem\n", "INST": b"os\nsystem\n"}
        arguments = [of_names.get(opcode.name, b"1\n"), b"\x01" + bytes(7) + b"a", b"\xff" * 8, b""]
        beneath = [
            b"", b"(", b"]", b")", b"N", b"K\x05", b"C\x02ab", text("os") + text("system"), b"(]K\x01",
            b"\x96\x01" + bytes(7) + b"a", b"\x96\x01" + bytes(7) + b"a" + b"(K\x01K\x02",
            *(
                name + state
                for name in (
                    global_("_codecs", "encode"), global_("numpy", "ndarray"), global_("numpy", "dtype"),
                    global_("numpy", "dtype") + text("u1") + b"\x85R", global_("builtins", "bytes"),
                    global_("numpy.core.multiarray", "scalar"),
                )
                for state in (b"", b"N", b")", b"NN\x86", b"]", b"K\x7f\x85", text("os") + b"\x85")
            ),
        ]  # fmt: skip
        known = opcode.name in insightface_bin._OPCODES
        for under in beneath:
            for argument in arguments if opcode.arg else [b""]:
                code = opcode.code.encode("latin-1")
                (tmp_path / "lfw.bin").write_bytes(b"\x80\x04" + under + code + argument + b".")
                with unpickled_values() as values:
                    message = refusal(read_insightface_bin, tmp_path / "lfw.bin")
                assert_plain(values)
                assert known or not values
                assert known or opcode.name in message or "cut off or damaged" in message

    def test_names_past_the_table_are_not_looked_up(self, tmp_path):
        """Neither Python's own look-up nor its persistent ids are asked."""
        for name in ("getattr", "eval", "__import__", "object", "type", "dict", "range"):
            (tmp_path / "lfw.bin").write_bytes(b"\x80\x02" + global_("builtins", name) + b".")
            assert f'"builtins.{name}"' in refusal(read_insightface_bin, tmp_path / "lfw.bin")

    def test_an_extension_that_is_registered(self, tmp_path):
        """Python's unpickler would take it from a cache, past find_class."""
        copyreg.add_extension("os", "system", 240)
        try:
            (tmp_path / "lfw.bin").write_bytes(b"\x80\x02\x82\xf0" + text("true") + b"\x85R.")
            assert "EXT1" in refusal(read_insightface_bin, tmp_path / "lfw.bin")
        finally:
            copyreg.remove_extension("os", "system", 240)


class TestBombs:
    """Small files that ask for much: refused in little time and memory."""

    MEGABYTE = 1 << 20

    def refused(self, folder, data):
        path = folder / "bomb.bin"
        path.write_bytes(data)
        return refusal(read_insightface_bin, path)

    @pytest.mark.parametrize(
        "data",
        [
            b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc",  # BINBYTES8
            b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b"abc",  # BYTEARRAY8
            b"\x80\x04\x8d" + struct.pack("<Q", (1 << 64) - 1) + b"abc",  # BINUNICODE8
            b"\x80\x03B\xff\xff\xff\xffabc",  # BINBYTES
            b"T\xff\xff\xff\x7fabc",  # BINSTRING
            b"\x80\x02\x8b\xff\xff\xff\x7fabc",  # LONG4
            b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",  # FRAME
            b"\x80\x02]r\xff\xff\xff\x7f.",  # LONG_BINPUT, for which Python makes a table
            b"]p" + b"9" * 6000 + b"\n.",
            b"I" + b"9" * 6000 + b"\n.",
        ],
    )
    def test_lengths_that_are_not_there(self, tmp_path, data):
        self.refused(tmp_path, data)

    def test_one_text_encoded_again_and_again(self, tmp_path):
        make = b"h\x00h\x01R"
        data = b"\x80\x02c_codecs\nencode\nq\x00" + text("a" * self.MEGABYTE) + text("latin1") + b"\x86q\x01("
        assert "more bytes than it holds" in self.refused(tmp_path, data + make * 100_000 + b"t.")

    def test_long_words_asked_for_again_and_again(self, tmp_path):
        make = b"h\x00h\x01R0"
        data = b"\x80\x02c_codecs\nencode\nq\x00" + text("a")
        data += b"B" + struct.pack("<I", self.MEGABYTE) + bytes(self.MEGABYTE) + b"\x86q\x01"
        self.refused(tmp_path, data + make * 100_000 + b".")

    def test_what_can_be_changed_is_not_copied_again_and_again(self, tmp_path):
        """A bytearray, and an array of one: an image of each, unless there are a hundred thousand."""
        raw = b"\x80\x05\x96" + struct.pack("<Q", self.MEGABYTE) + bytes(self.MEGABYTE)
        array = raw + b"q\x07cnumpy.core.numeric\n_frombuffer\n(h\x07cnumpy\ndtype\nX\x02\x00\x00\x00u1\x85R"
        array += b"J" + struct.pack("<I", self.MEGABYTE) + b"\x85NtR"
        for image in (raw, array):
            lists = image + b"q\x08](" + b"h\x08" * 100_000 + b"e](" + b"\x88" * 50_000 + b"e\x86."
            assert "more bytes than it holds" in self.refused(tmp_path, lists)

    def test_places_beyond_what_is_kept(self, tmp_path):
        """Python's unpickler would fill a table of 2^33 places, 64 GB, for these ten bytes."""
        for place in (1000, 0xFFFFFFFF):
            data = b"\x80\x02]r" + struct.pack("<I", place) + b"."
            assert "more instructions" in self.refused(tmp_path, data)

    def test_memory_is_bounded(self, tmp_path, run_python):
        """In a process that may have 256 MB more than it has: every bomb is refused all the same."""
        for index, data in enumerate((
            b"\x80\x02]r\xff\xff\xff\xff.",
            b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
            b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"a.",
            b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"a.",
            b"\x80\x02" + b"]" * (8 * self.MEGABYTE) + b".",
        )):  # fmt: skip
            (tmp_path / f"{index}.bin").write_bytes(data)
        program = """
import resource, sys
from pathlib import Path
from xfv_demo.datasets.insightface_bin import read_insightface_bin
from xfv_demo.errors import DatasetError
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)
for file in sorted(Path(sys.argv[1]).glob("*.bin")):
    try:
        read_insightface_bin(file)
    except DatasetError as error:
        assert "MemoryError" not in repr(error.__cause__), file
        print("refused")
"""
        assert run_python("-c", program, tmp_path).stdout == "refused\n" * 5

    @pytest.mark.slow
    def test_more_instructions_than_images(self, tmp_path):
        assert "more instructions" in self.refused(tmp_path, b"\x80\x02" + b"]" * 1_500_000 + b".")

    @pytest.mark.slow
    def test_deep_nesting(self, tmp_path):
        assert "no lists" in self.refused(tmp_path, b"\x80\x02]" + b"\x85" * 200_000 + b".")
        nested = b"]" + b"\x85" * 100_000
        self.refused(tmp_path, b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".")
        assert "image 0" in self.refused(tmp_path, b"\x80\x02](" + nested + b"C\x01ae](\x88e\x86.")
        assert "labels" in self.refused(tmp_path, b"\x80\x02](C\x01aC\x01be](" + nested + b"e\x86.")
        assert "name" not in self.refused(tmp_path, b"\x80\x02" + nested + nested + b"\x93.")
        self.refused(tmp_path, b"\x80\x02cnumpy\ndtype\n" + nested + b"\x85R.")
        self.refused(tmp_path, b"\x80\x02cnumpy\ndtype\nU\x02u1\x85R(" + nested + nested + b"tb.")

    def test_large_array_as_each_of_many_labels(self, tmp_path):
        """And a long shape: both are looked at anew for each label."""
        kind = b"cnumpy\ndtype\nU\x02u1\x85Rq\x00"
        raw = b"B" + struct.pack("<I", self.MEGABYTE) + bytes(self.MEGABYTE) + b"q\x01"
        shape = b"(" + b"K\x01" * 200_000 + b"tq\x02"
        for array in (
            b"cnumpy.core.multiarray\nscalar\n(h\x00h\x01tRq\x03",
            b"cnumpy.core.numeric\n_frombuffer\n(h\x01h\x00h\x02NtRq\x03",
        ):
            head = b"\x80\x03" + kind + raw + shape + array
            head += b"](C\x01aC\x01be]("
            assert "labels" in self.refused(tmp_path, head + b"h\x03" * 100_000 + b"e\x86.")


class TestOpenDataset:
    def test_lfw(self, lfw_folder):
        assert named(open_dataset(lfw_folder)) == named(read_lfw(lfw_folder))
        assert isinstance(open_dataset(lfw_folder / "lfw-deepfunneled"), PairSet)
        elsewhere = lfw_folder / "lists" / "mine.txt"
        elsewhere.parent.mkdir()
        (lfw_folder / "pairs.txt").rename(elsewhere)
        assert isinstance(open_dataset(lfw_folder / "lfw-deepfunneled"), LabelledImages)
        assert open_dataset(lfw_folder / "lfw-deepfunneled", pairs_file=elsewhere).name == "lfw-mine"
        assert open_dataset(lfw_folder / "lfw-deepfunneled", pairs_file=elsewhere, name="x").name == "x"

    def test_archive(self, tmp_path):
        (tmp_path / "pairs.txt").write_text(PAIRS)
        path = write_lfw_archive(tmp_path / "LFW.TGZ")
        assert len(open_dataset(path)) == 8
        (tmp_path / "pairs.txt").unlink()
        path.rename(tmp_path / "lfw.tgz")
        assert "no pairs.txt" in refusal(open_dataset, tmp_path)

    def test_csv(self, tmp_path):
        write_tree(tmp_path)
        path = tmp_path / "mine.CSV"
        path.write_text(TestReadPairsCsv.LINES)
        assert open_dataset(path).name == "mine"
        assert open_dataset(str(path), name="friends").name == "friends"

    def test_people(self, tmp_path):
        images = open_dataset(write_tree(tmp_path / "friends"), name="others")
        assert isinstance(images, LabelledImages)
        assert images.name == "others"
        assert images.pairs(4, np.random.default_rng(0)).name == "others"

    def test_bin(self, tmp_path):
        (tmp_path / "cfp_fp.bin").write_bytes(pickle.dumps(([b"a", b"b"], [True])))
        assert open_dataset(tmp_path / "cfp_fp.bin").aligned
        assert "goes with a folder of images" in refusal(
            open_dataset, tmp_path / "cfp_fp.bin", pairs_file="pairs.txt"
        )

    def test_refuses(self, tmp_path):
        assert "was not found" in refusal(open_dataset, tmp_path / "nowhere")
        assert "was not found" in refusal(open_dataset, "zero\0byte\nand line")
        (tmp_path / "notes.docx").write_bytes(b"")
        assert "is no data set" in refusal(open_dataset, tmp_path / "notes.docx")
        assert "one folder for each person" in refusal(open_dataset, tmp_path)


def mangled(data, original):
    """Bytes that were cut, overwritten, doubled or swapped in a few places."""
    mangled = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(mangled)))
        end = data.draw(st.integers(start, min(len(mangled), start + 20)))
        mangled[start:end] = data.draw(
            st.one_of(st.binary(max_size=8), st.just(bytes(mangled[start:end] * 2)), st.just(b""))
        )
    return bytes(mangled)


def read_or_refuse(read, path):
    """Either what is read, soundly, or None and one line for the user."""
    try:
        found = read(path)
    except DatasetError as error:
        message = str(error)
    else:
        if isinstance(found, PairSet):
            assert_sound(found)
        return found
    assert message.isprintable()
    assert len(message) < 600
    return None


def person(key):
    return key.split("/")[-2]


@pytest.fixture(scope="module")
def view_2(lfw):
    return read_lfw(lfw)


@pytest.mark.lfw
class TestLabeledFacesInTheWild:
    def test_view_2(self, view_2):
        assert_sound(view_2)
        assert view_2.name == "lfw"
        assert (len(view_2), view_2.genuine_pairs, len(view_2.images)) == (6000, 3000, 7701)
        assert np.bincount(view_2.folds).tolist() == [600] * 10
        assert np.bincount(view_2.folds[view_2.genuine]).tolist() == [300] * 10
        first, second, genuine, fold = named(view_2)[0]
        assert Path(first).name == "Abel_Pacheco_0001.jpg"
        assert Path(second).name == "Abel_Pacheco_0004.jpg"
        assert (genuine, fold) == (True, 0)
        last = [Path(key).name for key in named(view_2)[-1][:2]]
        assert last == ["Slobodan_Milosevic_0002.jpg", "Sok_An_0001.jpg"]
        for first, second, genuine, _ in named(view_2):
            assert (person(first) == person(second)) == genuine

    def test_nobody_is_in_two_folds(self, view_2):
        fold_of = {}
        for first, second, _, fold in named(view_2):
            for key in (first, second):
                assert fold_of.setdefault(person(key), fold) == fold

    def test_view_1(self, lfw):
        train, test = (read_lfw(lfw, lfw / f"pairsDev{part}.txt") for part in ("Train", "Test"))
        assert (train.genuine_pairs, train.impostor_pairs) == (1100, 1100)
        assert (test.genuine_pairs, test.impostor_pairs) == (500, 500)
        people = [{person(key) for key in part.images} for part in (train, test)]
        assert not set.intersection(*people)

    def test_streams_all_images(self, view_2):
        keys = []
        for key, data in view_2.source.stream(view_2.images):
            assert data.startswith(b"\xff\xd8\xff")
            keys.append(key)
        assert sorted(keys) == sorted(view_2.images)

    def test_subset(self, view_2):
        small = view_2.subset(200)
        assert (len(small), small.genuine_pairs) == (200, 100)
        assert np.bincount(small.folds).tolist() == [20] * 10
        assert set(small.images) < set(view_2.images)
