"""Whether maps depend on what they should depend on: the model's weights, the other photo, and nothing else.

After Adebayo et al., "Sanity Checks for Saliency Maps" (NeurIPS 2018, arXiv 1810.03292): a map that stays as
it is when the weights are others explains no model. A map that stays when the reference is another explains
no comparison.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xfv_demo.batch.align import Progress
from xfv_demo.batch.cache import MeasurementStore
from xfv_demo.evaluation.explanations.measurements import block_means, pair_digest
from xfv_demo.evaluation.explanations.methods import AttributionRequest, AttributionRunner
from xfv_demo.evaluation.explanations.patch_lfw import PatchedPair, PatchLfw, pair_generator
from xfv_demo.metrics.decision import is_same_by_similarity
from xfv_demo.metrics.faithfulness import rank_correlations
from xfv_demo.models.base import Embedder
from xfv_demo.models.savedmodel import SavedModelEmbedder
from xfv_demo.types import FloatArray

# Of 255: about what saving as JPEG does to a pixel.
_NOISE = 2.0
_OTHER_SEED = 1

# To be raised with every change of what is checked.
_REVISION = 1


@dataclass(frozen=True)
class Sanity:
    """How alike a contender's maps of a face stay when something changes.

    Each is a mean of Spearman's correlations of maps averaged over blocks of 4 x 4 pixels; None where it
    could not be measured.

    Attributes:
        weights: The model's weights are shuffled within each layer. Should be near 0.
        reference: The reference shows somebody else. Should be well below 1.
        repeated: All is done again, with another seed. Should be 1.
        noise: The face gets noise of 2/255. Should be near 1.
    """

    weights: float | None
    reference: float | None
    repeated: float | None
    noise: float | None


def shuffled_weights(embedder: SavedModelEmbedder, folder: Path, seed: int) -> SavedModelEmbedder:
    """The same network with each layer's weights shuffled among themselves.

    Args:
        embedder: The model.
        folder: Where to write the other one; must not be there.
        seed: What the shuffling is drawn from.

    Returns:
        The other one.

    Raises:
        ModelError: The model has no weights that can be told.
    """
    # Keras takes seconds to import.
    from xfv_demo.models.trainable import TrainableBackbone

    backbone = TrainableBackbone(embedder)
    rng = np.random.default_rng(seed)
    for weight in backbone.trainable_variables:
        values = np.asarray(weight)
        weight.assign(rng.permutation(values.ravel()).reshape(values.shape))
    backbone.save(folder)
    return SavedModelEmbedder(folder, name=embedder.name)


def check_sanity(
    patch_lfw: PatchLfw,
    rows: Sequence[int],
    embedder: SavedModelEmbedder,
    makers: AttributionRunner,
    make_others: Callable[[SavedModelEmbedder, int | None], AttributionRunner],
    similarity_threshold: float,
    store: MeasurementStore,
    *,
    progress: Progress | None = None,
) -> dict[str, Sanity]:
    """Checks the contenders on genuine pairs without their patches.

    Args:
        patch_lfw: The pairs; a genuine pair's donor is the other reference.
        rows: Which pairs; genuine ones.
        embedder: The model.
        makers: What makes the maps.
        make_others: Makes the same contenders for a model, with a seed.
        similarity_threshold: T, on the cosine similarity.
        store: Where correlations are kept, each pair's as soon as it is done.
        progress: Called with the number of pairs done and of all.

    Returns:
        By contender.
    """
    work = {
        key: f"sanity of {fingerprint}; threshold {similarity_threshold:.6f}; {_REVISION}"
        for key, fingerprint in makers.fingerprints.items()
    }
    model = embedder.fingerprint
    known: dict[str, list[FloatArray]] = {key: [] for key in work}
    others: _Others | None = None
    for done, row in enumerate(rows, 1):
        pair = patch_lfw.pairs[row]
        digest = pair_digest(patch_lfw.faces(pair))
        kept = {key: store.numbers(digest, name, model) for key, name in work.items()}
        missing = [key for key, numbers in kept.items() if numbers is None]
        if missing:
            others = others or _Others.of(embedder, make_others, patch_lfw.seed)
            measured = _check_pair(patch_lfw, pair, embedder, makers, others, missing, similarity_threshold)
            store.keep(digest, {work[key]: numbers for key, numbers in measured.items()}, model)
            kept |= measured
        for key, numbers in kept.items():
            known[key].append(np.asarray(numbers))
        if progress is not None:
            progress(done, len(rows))
    return {key: Sanity(*_means(np.stack(several))) for key, several in known.items() if several}


@dataclass(frozen=True, eq=False)
class _Others:
    """The same contenders of a model with shuffled weights, and of the model itself with another seed."""

    shuffled: SavedModelEmbedder
    of_shuffled: AttributionRunner
    repeated: AttributionRunner

    @classmethod
    def of(
        cls,
        embedder: SavedModelEmbedder,
        make: Callable[[SavedModelEmbedder, int | None], AttributionRunner],
        seed: int,
    ) -> "_Others":
        with tempfile.TemporaryDirectory(prefix="xfv-sanity-", ignore_cleanup_errors=True) as folder:
            shuffled = shuffled_weights(embedder, Path(folder) / "shuffled", seed)
            return cls(shuffled, make(shuffled, None), make(embedder, _OTHER_SEED))


def _check_pair(
    patch_lfw: PatchLfw,
    pair: PatchedPair,
    embedder: SavedModelEmbedder,
    makers: AttributionRunner,
    others: _Others,
    keys: Sequence[str],
    similarity_threshold: float,
) -> dict[str, FloatArray]:
    """By contender, one pair's correlations in the order of `Sanity`'s fields; NaN where there is none."""
    probe, _, reference = patch_lfw.faces(pair)
    donor = patch_lfw.images[pair.donor].astype(np.float32) / np.float32(255)
    noise = pair_generator(patch_lfw.seed, pair.key, "noise").standard_normal(probe.shape, np.float32)
    noisy = np.clip(probe + noise * np.float32(_NOISE / 255), 0, 1)
    changes = (
        (others.of_shuffled, others.shuffled, probe, reference, 0),
        (makers, embedder, probe, donor, 0),
        (others.repeated, embedder, probe, reference, _OTHER_SEED),
        (makers, embedder, noisy, reference, 0),
    )
    own = _maps(makers, embedder, probe, reference, keys, similarity_threshold, pair_generator(0, pair.key))
    correlations = {key: np.full(len(changes), np.nan, np.float32) for key in keys}
    for number, (maker, model, face, other, seed) in enumerate(changes):
        rng = pair_generator(seed, pair.key)
        for key, changed in _maps(maker, model, face, other, keys, similarity_threshold, rng).items():
            correlations[key][number] = rank_correlations(own[key][None], changed[None])[0]
    return correlations


def _maps(
    makers: AttributionRunner,
    embedder: Embedder,
    probe: FloatArray,
    reference: FloatArray,
    keys: Sequence[str],
    similarity_threshold: float,
    rng: np.random.Generator,
) -> dict[str, FloatArray]:
    one, other = embedder.embed(np.stack([probe, reference]))
    question = AttributionRequest(
        probe, reference, is_same_by_similarity(one @ other, similarity_threshold), rng
    )
    return {key: block_means(values) for key, values in makers.maps(question, keys).items() if key in keys}


def _means(correlations: FloatArray) -> list[float | None]:
    """Of (pairs, checks), each check's mean over the pairs that it could be made on."""
    finite = np.isfinite(correlations)
    return [
        float(column[known].mean()) if known.any() else None
        for column, known in zip(correlations.T, finite.T, strict=True)
    ]
