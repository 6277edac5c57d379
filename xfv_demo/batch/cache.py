"""What is kept of faces, embeddings and outcomes between runs."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from xfv_demo.runtime.sqlite_store import Store
from xfv_demo.types import Face, FloatArray


class EmbeddingStore(Store):
    """Keeps faces and embeddings on disk, under the hash of the image's bytes.

    Args:
        path: The file; made where it is missing.

    Raises:
        XfvError: The file cannot be used.
    """

    tables = (
        "faces (image TEXT, detector TEXT, faces TEXT, PRIMARY KEY (image, detector))",
        "embeddings (image TEXT, pipeline TEXT, model TEXT, embedding BLOB, "
        "PRIMARY KEY (image, pipeline, model))",
        "sizes (image TEXT, pipeline TEXT, size REAL, PRIMARY KEY (image, pipeline))",
    )

    def faces(self, image: str, detector: str) -> tuple[Face, ...] | None:
        """The faces found in an image; None where it was not looked at.

        Args:
            image: The hash of the image's bytes.
            detector: The detector's fingerprint.
        """
        with self.reading():
            row = self.database.execute(
                "SELECT faces FROM faces WHERE image = ? AND detector = ?", (image, detector)
            ).fetchone()
        return None if row is None else _faces_from_json(row[0])

    def embedding(self, image: str, pipeline: str, model: str) -> FloatArray | None:
        """The embedding of an image's face; None where it is not kept.

        Args:
            image: The hash of the image's bytes.
            pipeline: How the image became an aligned face.
            model: The hash of the model's files.
        """
        with self.reading():
            row = self.database.execute(
                "SELECT embedding FROM embeddings WHERE image = ? AND pipeline = ? AND model = ?",
                (image, pipeline, model),
            ).fetchone()
        return None if row is None else np.frombuffer(row[0], np.float32)

    def size(self, image: str, pipeline: str) -> float | None:
        """How far apart the eyes of an image's face are, in its pixels; None where that is not kept.

        Args:
            image: The hash of the image's bytes.
            pipeline: How the image became an aligned face.
        """
        with self.reading():
            row = self.database.execute(
                "SELECT size FROM sizes WHERE image = ? AND pipeline = ?", (image, pipeline)
            ).fetchone()
        return None if row is None else float(row[0])

    def keep_faces(self, image: str, detector: str, faces: Sequence[Face]) -> None:
        """Keeps what was found in an image; no face is a finding too."""
        with self.writing():
            self.database.execute(
                "INSERT OR REPLACE INTO faces VALUES (?, ?, ?)", (image, detector, _faces_to_json(faces))
            )

    def keep_embeddings(
        self,
        images: Sequence[str],
        pipeline: str,
        model: str,
        embeddings: FloatArray,
        sizes: Sequence[float],
    ) -> None:
        """Keeps embeddings and the sizes of their faces, one row for each image."""
        rows = [
            (image, pipeline, model, embedding.astype(np.float32).tobytes())
            for image, embedding in zip(images, embeddings, strict=True)
        ]
        with self.writing():
            self.database.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)", rows)
            self.database.executemany(
                "INSERT OR REPLACE INTO sizes VALUES (?, ?, ?)",
                [(image, pipeline, float(size)) for image, size in zip(images, sizes, strict=True)],
            )


def _faces_to_json(faces: Sequence[Face]) -> str:
    rows = [{**vars(face), "box": face.box.tolist(), "landmarks": face.landmarks.tolist()} for face in faces]
    return json.dumps(rows)


def _faces_from_json(text: str) -> tuple[Face, ...]:
    return tuple(
        Face(
            **{
                **row,
                "box": np.array(row["box"], np.float32),
                "landmarks": np.array(row["landmarks"], np.float32),
            }
        )
        for row in json.loads(text)
    )


class MeasurementStore(Store):
    """Keeps numbers on disk, by pair, contender and model.

    Args:
        path: The file; made where it is missing.

    Raises:
        XfvError: The file cannot be used.
    """

    tables = ("outcomes (pair TEXT, work TEXT, model TEXT, numbers BLOB, PRIMARY KEY (pair, work, model))",)

    def numbers(self, pair: str, work: str, model: str) -> FloatArray | None:
        """What is kept; None where nothing is.

        Args:
            pair: A hash of its faces.
            work: What was measured, with all that it depends on.
            model: The embedder's fingerprint.
        """
        with self.reading():
            row = self.database.execute(
                "SELECT numbers FROM outcomes WHERE pair = ? AND work = ? AND model = ?",
                (pair, work, model),
            ).fetchone()
        return None if row is None else np.frombuffer(row[0], np.float32)

    def keep(self, pair: str, numbers: Mapping[str, FloatArray], model: str) -> None:
        """Keeps the numbers of a pair by what was measured, all or none."""
        rows = [(pair, work, model, some.astype(np.float32).tobytes()) for work, some in numbers.items()]
        with self.writing():
            self.database.executemany("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?)", rows)
