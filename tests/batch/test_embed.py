"""A whole set's embeddings: the same as one by one, kept, resumed, failures named."""

import io
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xfv_demo import MtcnnDetector, Verifier
from xfv_demo.batch.cache import EmbeddingStore
from xfv_demo.batch.embed import embed_images, measure_pairs
from xfv_demo.datasets.pairs import PairSet
from xfv_demo.datasets.sources import FolderImages, MemoryImages
from xfv_demo.errors import XfvError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path):
    with closing(EmbeddingStore(tmp_path / "kept" / "embeddings.sqlite")) as store:
        yield store


def encoded(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def source(examples):
    """Four faces, a wall, and a file that is no image."""
    images = {f"{name}.jpg": (examples / f"{name}.jpg").read_bytes() for name in ("obama", "obama2", "biden")}
    images["wall.png"] = encoded(np.full((200, 200, 3), 128, np.uint8))
    images["notes.jpg"] = b"these are notes"
    return MemoryImages("made up", images)


class MeanColour:
    """Another model."""

    dimensions = 3
    fingerprint = "mean colour"

    def embed(self, images):
        return images.mean(axis=(1, 2))


class LongVectors(MeanColour):
    """An embedder that does not scale, and must not be scaled where what it gives is no single direction."""

    fingerprint = "long vectors"

    def embed(self, images):
        return 7 * super().embed(images)


class NeverAsked(MtcnnDetector):
    """A detector that goes by MTCNN's name and must not be asked."""

    def detect(self, photo):
        raise AssertionError("the faces are known")


KEYS = ["obama.jpg", "wall.png", "obama2.jpg", "notes.jpg", "biden.jpg"]


@pytest.mark.slow
def test_what_the_embedder_gives_is_kept_as_it_is_and_its_length_bears_on_no_distance(source, store):
    keys = ["obama.jpg", "biden.jpg"]
    plain, long = (embed_images(source, keys, one, store, workers=1) for one in (MeanColour(), LongVectors()))
    np.testing.assert_allclose(long.embeddings, 7 * plain.embeddings, rtol=1e-6)
    rows = np.array([0]), np.array([1]), np.array([False]), np.array([0])
    pairs = PairSet("made up", source, tuple(keys), *rows)
    short, stretched = (measure_pairs(pairs, one, store, workers=1) for one in (MeanColour(), LongVectors()))
    np.testing.assert_allclose(stretched.distances, short.distances, atol=1e-6)
    assert 0 < short.distances[0] < 0.2


def test_the_same_as_the_verifier_computes(source, embedder, detector, store, examples):
    made = embed_images(source, KEYS, embedder, store, workers=1)
    verifier = Verifier(embedder, detector=detector)
    for row in (0, 2, 4):
        aligned = verifier.find_candidates(examples / KEYS[row], name=KEYS[row])[0].aligned
        np.testing.assert_allclose(made.embeddings[row], embedder.embed(aligned[None])[0], atol=1e-4)
    assert np.isnan(made.embeddings[[1, 3]]).all()
    assert [failure.photo for failure in made.failures] == ["wall.png", "notes.jpg"]
    assert "no face" in made.failures[0].reason
    assert "not an image" in made.failures[1].reason


def test_a_second_run_starts_no_worker(source, embedder, store, monkeypatch):
    # A file that cannot be decoded is tried again each time, as the next version may be able to.
    keys = [key for key in KEYS if key != "notes.jpg"]
    first = embed_images(source, keys, embedder, store, workers=1)

    def refuse(*_, **__):
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr("xfv_demo.batch.executors.concurrent.futures.ProcessPoolExecutor", refuse)
    calls = []
    again = embed_images(source, keys[::-1], embedder, store, progress=lambda *counts: calls.append(counts))
    np.testing.assert_array_equal(again.embeddings, first.embeddings[::-1])
    assert [failure.photo for failure in again.failures] == ["wall.png"]
    assert calls[-1] == (4, 4)


def test_another_model_finds_the_faces_known(source, embedder, store):
    """Only the embedding is done anew; the kept faces are used as they are."""
    embed_images(source, KEYS, embedder, store, workers=1)

    made = embed_images(source, KEYS, MeanColour(), store, detector=NeverAsked(), workers=1)
    assert np.isfinite(made.embeddings[[0, 2, 4]]).all()


def test_pairs(source, embedder, store):
    pairs = PairSet(
        name="made up",
        source=source,
        images=tuple(KEYS),
        first=np.array([0, 0, 1]),
        second=np.array([2, 4, 4]),
        genuine=np.array([True, False, False]),
        folds=np.array([0, 0, 0]),
    )
    measured = measure_pairs(pairs, embedder, store, workers=1)
    assert measured.distances[0] < 0.45
    assert measured.distances[1] > 0.75
    assert np.isnan(measured.distances[2])
    assert len(measured.failures) == 2


def test_aligned_crops_are_taken_as_they_are(embedder, store, aligned):
    pixels = np.rint(aligned["obama"] * 255).astype(np.uint8)
    large = np.zeros((200, 200, 3), np.uint8)
    source = MemoryImages("crops", {"a.png": encoded(pixels), "large.png": encoded(large)})
    made = embed_images(source, ["a.png", "large.png"], embedder, store, already_aligned=True, workers=1)
    expected = embedder.embed(pixels[None].astype(np.float32) / 255)[0]
    np.testing.assert_allclose(made.embeddings[0], expected, atol=1e-4)
    assert "112 x 112" in made.failures[0].reason


def test_no_image_is_kept(source, embedder, store, tmp_path):
    embed_images(source, KEYS, embedder, store, workers=1)
    kept = sum(path.stat().st_size for path in (tmp_path / "kept").iterdir())
    assert kept < 100_000, "five images give five rows, not pixels"


def test_a_store_that_is_no_database(tmp_path):
    (tmp_path / "embeddings.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(XfvError, match="delete it"):
        EmbeddingStore(tmp_path / "embeddings.sqlite")


KILLED = """
import sys
from contextlib import closing
from xfv_demo import load_embedder
from xfv_demo.datasets.sources import FolderImages
from xfv_demo.batch.cache import EmbeddingStore
from xfv_demo.batch.embed import embed_images
if __name__ == "__main__":
    folder, database = sys.argv[1:]
    keys = sorted(f"{n:03d}.jpg" for n in range(150))
    with closing(EmbeddingStore(database)) as store:
        embed_images(
            FolderImages(folder), keys, load_embedder("mobilefacenet"), store, workers=1,
            progress=lambda done, total: print(done, flush=True),
        )
"""


def children_of(pid):
    """The processes that a process has started; empty where there is no /proc."""
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    return listing.read_text().split() if listing.exists() else []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to see a process's children")
def test_killed_and_started_again_it_goes_on(tmp_path, photos, embedder):
    """150 different pictures of a face; the first run is killed once 64 are done."""
    import cv2

    folder, database, script = tmp_path / "photos", tmp_path / "kept.sqlite", tmp_path / "run.py"
    folder.mkdir()
    face = cv2.resize(photos["obama"][50:450, 300:700], (120, 120), interpolation=cv2.INTER_AREA)
    for number in range(150):
        picture = face.copy()
        picture[0, 0] = (number, 0, 0)
        Image.fromarray(picture).save(folder / f"{number:03d}.jpg", quality=95)
        # A mark behind the end of the picture makes the files differ even where the pixels do not.
        with (folder / f"{number:03d}.jpg").open("ab") as file:
            file.write(number.to_bytes(2, "big"))
    script.write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, script, folder, database],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline().strip() == "64"
    workers = children_of(process.pid)
    assert workers
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "workers outlive the process that started them"
        time.sleep(0.1)
    counts = []
    with closing(EmbeddingStore(database)) as store:
        keys = sorted(f"{number:03d}.jpg" for number in range(150))
        made = embed_images(
            FolderImages(folder),
            keys,
            embedder,
            store,
            workers=1,
            progress=lambda done, _: counts.append(done),
        )
    assert np.isfinite(made.embeddings).all()
    # What was kept is counted one by one at the start; the rest comes in batches.
    assert counts[:64] == list(range(1, 65))
    assert counts[-1] == 150
