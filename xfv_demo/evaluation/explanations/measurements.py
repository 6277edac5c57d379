"""What becomes of each pair's decision under each contender's maps; kept, so that a run can be gone on with.

What is kept of a pair are similarities and maps averaged over blocks of 4 x 4 pixels, under a hash of its
faces; never the faces.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfv_demo.batch.align import Progress
from xfv_demo.batch.cache import MeasurementStore
from xfv_demo.evaluation.explanations.methods import RANDOM, AttributionRequest, AttributionRunner
from xfv_demo.evaluation.explanations.patch_lfw import PairFaces, PatchedPair, PatchLfw, pair_generator
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.metrics import faithfulness
from xfv_demo.metrics.decision import is_same_by_similarity
from xfv_demo.models.base import Embedder, FingerprintedEmbedder
from xfv_demo.types import FloatArray

# Maps are compared as means over blocks: single pixels of a gradient are noise.
BLOCK = 4
_SIDE = ALIGNED_SIZE // BLOCK
_MAP_SHAPE = (_SIDE, _SIDE)

# To be raised with every change of what an outcome holds or how it comes about.
_REVISION = 1


@dataclass(frozen=True, eq=False)
class Measurement:
    """What one contender's maps do to one pair.

    Attributes:
        replaced: (20,) cosine similarities of the patched pair as pixels are put back.
        deleted: (21,) of the pair without patches as pixels go.
        inserted: (21,) of it as pixels come.
        found: (1,) how well the patched face's map tells the patches' pixels from the others, as
            `faithfulness.localisation_auc` says.
        patched_map: (28, 28) the patched face's map, averaged over blocks of 4 x 4 pixels.
        clean_map: (28, 28) the same without patches.
    """

    replaced: FloatArray
    deleted: FloatArray
    inserted: FloatArray
    found: FloatArray
    patched_map: FloatArray
    clean_map: FloatArray

    @property
    def numbers(self) -> FloatArray:
        """All numbers, one after the other."""
        parts = (
            self.replaced,
            self.deleted,
            self.inserted,
            self.found,
            self.patched_map,
            self.clean_map,
        )
        return np.concatenate([part.ravel() for part in parts])

    @classmethod
    def from_numbers(cls, numbers: FloatArray) -> "Measurement":
        """Of such `numbers`."""
        sizes = (
            faithfulness.REPLACEMENT_SHARES.size,
            faithfulness.DELETION_SHARES.size,
            faithfulness.DELETION_SHARES.size,
            1,
            _SIDE**2,
        )
        replaced, deleted, inserted, found, one, other = np.split(numbers, np.cumsum(sizes))
        return cls(replaced, deleted, inserted, found, one.reshape(_MAP_SHAPE), other.reshape(_MAP_SHAPE))


@dataclass(frozen=True, eq=False)
class MeasuredPairs:
    """The outcomes of a set of pairs.

    Attributes:
        genuine: (P,) bool.
        clean: (P,) cosine similarities without patches.
        patched: (P,) with patches.
        outcomes: By contender, for each pair its outcome, or None where it was not asked for.
        kept: How many outcomes were there from earlier runs.
    """

    genuine: NDArray[np.bool_]
    clean: FloatArray
    patched: FloatArray
    outcomes: Mapping[str, tuple[Measurement | None, ...]]
    kept: int

    def rows(self, contenders: Collection[str]) -> NDArray[np.bool_]:
        """(P,) bool: the pairs that all of some contenders were measured on."""
        return np.array(
            [all(self.outcomes[key][row] for key in contenders) for row in range(len(self.genuine))]
        )

    def of(self, contender: str, part: str, rows: NDArray[np.bool_]) -> FloatArray:
        """One attribute of a contender's outcomes, stacked, over some of the pairs."""
        chosen = [one for one, wanted in zip(self.outcomes[contender], rows, strict=True) if wanted]
        return np.stack([getattr(one, part) for one in chosen])


def measure_methods(
    patch_lfw: PatchLfw,
    embedder: FingerprintedEmbedder,
    makers: AttributionRunner,
    similarity_threshold: float,
    store: MeasurementStore,
    *,
    slow_rows: Collection[int] | None = None,
    progress: Progress | None = None,
) -> MeasuredPairs:
    """Measures all pairs; those that are kept already are not measured again.

    Args:
        patch_lfw: The pairs.
        embedder: The model.
        makers: What makes the maps.
        similarity_threshold: T, on the cosine similarity.
        store: Where outcomes are kept, each pair's as soon as it is done.
        slow_rows: The pairs that slow contenders are measured on; all where None.
        progress: Called with the number of pairs done and of all.

    Returns:
        The outcomes, in the set's order.

    Raises:
        XfvError: The store cannot be used.
        ModelError: The model gives numbers that cannot be used.
    """
    outcomes: dict[str, list[Measurement | None]] = {one.key: [] for one in makers.contenders}
    work = {
        key: f"{fingerprint}; threshold {similarity_threshold:.6f}; {_REVISION}"
        for key, fingerprint in makers.fingerprints.items()
    }
    clean, patched = np.zeros((2, len(patch_lfw)), np.float32)
    kept = 0
    for row, pair in enumerate(patch_lfw.pairs):
        faces = patch_lfw.faces(pair)
        wanted = [
            one.key for one in makers.contenders if slow_rows is None or not one.slow or row in slow_rows
        ]
        digest = pair_digest(faces)
        kept_numbers = {key: store.numbers(digest, work[key], embedder.fingerprint) for key in wanted}
        known = {
            key: Measurement.from_numbers(some) for key, some in kept_numbers.items() if some is not None
        }
        missing = [key for key in wanted if key not in known]
        kept += len(wanted) - len(missing)
        original, with_patches, second = np.asarray(embedder.embed(np.stack(faces)))
        clean[row], patched[row] = original @ second, with_patches @ second
        made = measure_pair(
            faces,
            pair,
            embedder,
            makers,
            missing,
            accepted=(
                is_same_by_similarity(clean[row], similarity_threshold),
                is_same_by_similarity(patched[row], similarity_threshold),
            ),
            seed=patch_lfw.seed,
        )
        if made:
            store.keep(digest, {work[key]: one.numbers for key, one in made.items()}, embedder.fingerprint)
        for key, several in outcomes.items():
            several.append(made.get(key, known.get(key)))
        if progress is not None:
            progress(row + 1, len(patch_lfw))
    every = {key: tuple(several) for key, several in outcomes.items()}
    return MeasuredPairs(patch_lfw.genuine, clean, patched, every, kept)


def measure_pair(
    faces: PairFaces,
    pair: PatchedPair,
    embedder: Embedder,
    makers: AttributionRunner,
    contenders: Sequence[str],
    *,
    accepted: tuple[bool, bool],
    seed: int,
) -> dict[str, Measurement]:
    """Measures one pair.

    Args:
        faces: Its faces.
        pair: The pair itself.
        embedder: The model.
        makers: What makes the maps.
        contenders: Whose outcomes are wanted.
        accepted: Whether the model takes the pair for one person, without patches and with them.
        seed: What the random map and ties are drawn from, with the pair's and the contender's keys.

    Returns:
        The outcome of each.
    """
    if not contenders:
        return {}
    (second,) = embedder.embed(faces.second[None])
    maps = []
    for probe, is_accepted in zip((faces.original, faces.patched), accepted, strict=True):
        rng = pair_generator(seed, pair.key, RANDOM, int(probe is faces.patched))
        maps.append(makers.maps(AttributionRequest(probe, faces.second, is_accepted, rng), contenders))
    outcomes = {}
    for key in contenders:
        clean_map, patched_map = (of_photo[key] for of_photo in maps)
        variants = [
            faithfulness.replacement_variants(
                faces.patched,
                faces.original,
                patched_map,
                accepted=accepted[1],
                rng=pair_generator(seed, pair.key, key, "replacement"),
            ),
            *faithfulness.deletion_variants(
                faces.original,
                clean_map,
                accepted=accepted[0],
                rng=pair_generator(seed, pair.key, key, "deletion"),
            ),
        ]
        similarities = embedder.embed(np.concatenate(variants)) @ second
        ends = np.cumsum([len(several) for several in variants])[:-1]
        replaced, deleted, inserted = np.split(similarities, ends)
        outcomes[key] = Measurement(
            replaced,
            deleted,
            inserted,
            np.array(
                [faithfulness.localisation_auc(patched_map, pair.mask, genuine=pair.genuine)], np.float32
            ),
            block_means(patched_map),
            block_means(clean_map),
        )
    return outcomes


def block_means(values: FloatArray) -> FloatArray:
    """Averages a map over blocks of 4 x 4 pixels: (112, 112) to (28, 28)."""
    return np.asarray(values.reshape(_SIDE, BLOCK, _SIDE, BLOCK).mean(axis=(1, 3)), np.float32)


def pair_digest(faces: PairFaces) -> str:
    """A hash of a pair's faces, to keep by what was measured of it."""
    digest = hashlib.blake2b(digest_size=16)
    for face in faces:
        digest.update(np.ascontiguousarray(face).tobytes())
    return digest.hexdigest()
