"""A data set is fetched by its name, whole or not at all, and goes on after a break."""

import errno
import hashlib
import io
import random
import tarfile
import zipfile
from dataclasses import replace

import filelock
import pytest

from tests.file_server import FileServer
from xfv_demo.datasets import fetching
from xfv_demo.datasets.fetching import FETCHABLE_SETS, fetch_dataset, find_dataset
from xfv_demo.datasets.opening import open_dataset
from xfv_demo.datasets.people import read_people
from xfv_demo.errors import DatasetError

PAIRS = "1\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\n"
PHOTOS = {"Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", "Bob/Bob_0001.jpg"}
# Does not compress, so that half an archive lacks half of the photos.
BYTES = random.Random(0).randbytes(200_000)


def as_tgz(names=PHOTOS):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name in sorted(names):
            info = tarfile.TarInfo(f"lfw/{name}")
            info.size = len(BYTES)
            archive.addfile(info, io.BytesIO(BYTES))
    return file.getvalue()


def as_zip(names=PHOTOS):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in sorted(names):
            archive.writestr(f"lfw_original_imgs_min_qual0.85variant11/{name}", BYTES)
    return file.getvalue()


TGZ, ZIP = as_tgz(), as_zip()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


@pytest.fixture
def server(monkeypatch):
    """Serves what the package takes for LFW and for XQLFW."""
    files = {
        "pairs.txt": PAIRS.encode(),
        "lfw.tgz": TGZ,
        "xqlfw_pairs.txt": PAIRS.encode(),
        "xqlfw.zip": ZIP,
    }
    with FileServer(files) as server:
        for name, fetchable in FETCHABLE_SETS.items():
            local = {
                part: replace(
                    file,
                    url=server.url(file.name),
                    size=len(files[file.name]),
                    sha256=file.sha256 and hashlib.sha256(files[file.name]).hexdigest(),
                )
                for part, file in (("pairs", fetchable.pairs), ("images", fetchable.images))
            }
            monkeypatch.setitem(FETCHABLE_SETS, name, replace(fetchable, **local))
        yield server


def fetch(name="lfw", **options):
    return fetch_dataset(name, **options)


def refusal(name="lfw"):
    with pytest.raises(DatasetError) as failure:
        fetch(name)
    message = str(failure.value)
    assert "\n" not in message
    assert find_dataset(name) is None
    return message


def lies_in(cache):
    return {path.name for path in (cache / "datasets").iterdir() if path.suffix != ".lock"}


@pytest.mark.parametrize(
    ("name", "listed"),
    [("lfw", "pairs.txt"), ("xqlfw", "xqlfw_pairs.txt")],
)
def test_what_is_fetched_is_what_its_reader_takes(server, cache, name, listed):
    told = []
    folder = fetch(name, progress=lambda *numbers: told.append(numbers))
    pairs = open_dataset(folder)
    assert (pairs.name, len(pairs), set(pairs.images)) == (name, 2, PHOTOS)
    assert dict(pairs.source.stream(["Ann/Ann_0001.jpg"])) == {"Ann/Ann_0001.jpg": BYTES}
    assert read_people(folder).people == ("Ann", "Bob")
    size = len(server.files[FETCHABLE_SETS[name].images.name])
    assert told[-1] == (size, size)
    # No archive and no half is left beside it.
    assert {path.name for path in folder.iterdir()} == {listed, *(one.name for one in folder.glob("lfw*"))}
    assert lies_in(cache) <= {name, f"{name}.sha256"}


def test_the_second_time_no_server_is_asked(server):
    folder = fetch()
    server.asked.clear()
    assert fetch() == folder
    assert server.asked == []


@pytest.mark.parametrize("name", ["lfw", "xqlfw"])
def test_a_fetch_goes_on_after_a_break(server, name):
    file = FETCHABLE_SETS[name].images.name
    half = len(server.files[file]) // 2
    server.break_off[file] = half
    message = refusal(name)
    assert f"{file}: the connection was cut off; check the network" in message
    assert f"`python -m xfv_demo fetch {name}` again, which goes on with what has come" in message
    server.asked.clear()
    told = []
    assert len(open_dataset(fetch(name, progress=lambda *numbers: told.append(numbers)))) == 2
    # The list of pairs was whole and is not asked for again.
    ((asked, sent),) = server.asked
    assert asked == file
    kept = int(sent.removeprefix("bytes=").removesuffix("-"))
    # Chunks that had not come whole are gone.
    assert half - (1 << 16) <= kept <= half
    assert told[0][0] > kept
    assert told[-1] == (len(server.files[file]),) * 2


def test_a_server_without_ranges_sends_all_again(server):
    server.break_off["lfw.tgz"] = len(TGZ) // 2
    refusal()
    server.knows_ranges = False
    assert len(open_dataset(fetch())) == 2


def test_a_break_between_the_last_byte_and_the_check_is_none(server, cache):
    work = cache / "datasets" / ".fetch-lfw"
    work.mkdir(parents=True)
    (work / "lfw.tgz.part").write_bytes(TGZ)
    assert len(open_dataset(fetch())) == 2


def test_what_is_left_of_another_file_is_refused_once(server, cache):
    work = cache / "datasets" / ".fetch-lfw"
    work.mkdir(parents=True)
    (work / "lfw.tgz.part").write_bytes(b"of another file")
    assert "lfw.tgz: what came is not the file of sha256" in refusal()
    assert len(open_dataset(fetch())) == 2


@pytest.mark.parametrize("file", ["pairs.txt", "lfw.tgz"])
def test_another_sha256_is_refused(server, cache, file):
    good = server.files[file]
    server.files[file] = bytes(len(good))
    assert f"from 127.0.0.1: {file}: what came is not the file of sha256" in refusal()
    assert not list(cache.rglob("*.jpg"))
    server.files[file] = good
    assert len(open_dataset(fetch())) == 2


def test_without_a_published_sha256_the_first_is_noted_and_the_next_must_be_it(server, cache):
    folder = fetch("xqlfw")
    noted = fetching.noted_digests("xqlfw").read_text()
    digest = hashlib.sha256(ZIP).hexdigest()
    assert f"{digest}  xqlfw.zip\n" in noted
    folder.rename(cache / "gone")
    server.files["xqlfw.zip"] = as_zip(PHOTOS | {"Eve/Eve_0001.jpg"})
    message = refusal("xqlfw")
    assert f"not the file of sha256 {digest}" in message
    assert f"if its publishers have changed it, delete {fetching.noted_digests('xqlfw')} first" in message
    server.files["xqlfw.zip"] = ZIP
    assert fetch("xqlfw") == folder
    assert fetching.noted_digests("xqlfw").read_text() == noted


@pytest.mark.parametrize(
    ("file", "data", "words"),
    [
        ("xqlfw.zip", b"<html>Log in first</html>", "no zip archive"),
        ("xqlfw.zip", as_zip(PHOTOS - {"Bob/Bob_0001.jpg"}), '1 of 3 images not found, "Bob/Bob_0001.jpg"'),
        ("xqlfw_pairs.txt", b"<html>Log in first</html>", "is this one of LFW's lists of pairs?"),
    ],
)
def test_what_is_not_in_the_form_of_the_set_is_neither_trusted_nor_kept(server, cache, file, data, words):
    good = server.files[file]
    server.files[file] = data
    assert words in refusal("xqlfw")
    assert not fetching.noted_digests("xqlfw").exists()
    server.files[file] = good
    assert len(open_dataset(fetch("xqlfw"))) == 2


def test_a_file_that_is_far_larger_is_not_listened_to(server):
    server.files["lfw.tgz"] = TGZ * 2
    assert f"the server announces {2 * len(TGZ)} bytes" in refusal()


def test_a_missing_file(server):
    del server.files["lfw.tgz"]
    assert "lfw.tgz: the server answered 404 Not Found" in refusal()


def test_no_network(monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    message = refusal()
    assert message.startswith("lfw could not be fetched from ndownloader.figshare.com: ")
    assert "pairs.txt: no connection; check the network" in message


def test_a_full_disk(server, monkeypatch):
    def fill(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", fill)
        message = refusal()
    assert "no room is left in the cache" in message
    assert "XFV_CACHE" in message
    server.asked.clear()
    assert len(open_dataset(fetch())) == 2
    assert [name for name, _ in server.asked if name == "lfw.tgz"] == []


def test_two_at_once_do_not_write_into_one_file(server, cache):
    (cache / "datasets").mkdir(parents=True)
    with filelock.FileLock(cache / "datasets" / ".fetch-lfw.lock"):
        assert refusal() == "another process is fetching lfw; wait until it is done"
    assert len(open_dataset(fetch())) == 2


def test_an_unknown_name():
    with pytest.raises(DatasetError, match="those are lfw, xqlfw"):
        fetch("megaface")


# ---- by the command line


def test_the_command_shows_the_terms_and_then_the_name_means_the_set(run_here, server, cache):
    done = run_here("fetch", "lfw")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "should not be used to conclude that an algorithm is suitable for any commercial purpose" in said
    assert f"lfw is at {cache / 'datasets' / 'lfw'} to use it: --data lfw" in said
    # As far as the pairs: there are too few of them.
    used = run_here("evaluate", "lfw", "--data", "lfw", "--model", "mobilefacenet")
    assert used.returncode == 2
    assert '"lfw" has, without fold 1 of its 1, 0 genuine and 0 impostor pairs' in used.stderr


def test_the_command_says_that_nobody_vouches_for_xqlfw(run_here, server, cache):
    said = run_here("fetch", "xqlfw").stdout
    assert "no publisher says what sha256" in said
    assert str(cache / "datasets" / "xqlfw.sha256") in said
    assert "no publisher" not in run_here("fetch", "xqlfw").stdout


@pytest.mark.parametrize(
    "command",
    ["calibrate", "evaluate lfw", "evaluate pairs", "evaluate patch-lfw", "evaluate xcos", "train-xcos"],
)
def test_a_set_that_was_not_fetched_ends_in_one_line(run_here, command):
    done = run_here(*command.split(), "--data", "lfw")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "xfv-demo: lfw is not on this machine; run `python -m xfv_demo fetch lfw`\n"


def test_a_folder_of_that_name_is_still_to_be_had(run_here, tmp_path):
    (tmp_path / "lfw").mkdir()
    assert 'or give "./lfw" for the one that lies here' in run_here("calibrate", "--data", "lfw").stderr
    assert "holds no images" in run_here("calibrate", "--data", "./lfw").stderr


def test_fetching_what_cannot_be_fetched_names_what_can(run_here):
    done = run_here("fetch", "megaface")
    assert done.returncode == 2
    assert "take one of arcface-octuplet, lfw, xqlfw" in done.stderr
