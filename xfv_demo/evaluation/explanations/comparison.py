"""What follows from measured maps: areas, curves, differences and agreement, side by side (pure)."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xfv_demo.datasets.pairs import PairCounts
from xfv_demo.errors import DatasetError
from xfv_demo.evaluation.explanations.measurements import MeasuredPairs
from xfv_demo.evaluation.explanations.methods import COMPARED_METHODS
from xfv_demo.evaluation.explanations.report import (
    Areas,
    Comparison,
    Curves,
    Difference,
    MeasuredMethod,
    Rates,
)
from xfv_demo.evaluation.explanations.sanity import Sanity
from xfv_demo.metrics.decision import is_same_by_similarity
from xfv_demo.metrics.faithfulness import (
    accuracy_areas,
    accuracy_curve,
    balanced_means,
    error_curves,
    rank_correlations,
    replacement_areas,
    resampled_means,
)


def compare(
    measured: MeasuredPairs,
    similarity_threshold: float,
    *,
    seconds: Mapping[str, float],
    sanity: Mapping[str, Sanity],
    unseen: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> Comparison:
    """Makes the table of what was measured.

    Args:
        measured: The outcomes.
        similarity_threshold: T, on the cosine similarity.
        seconds: By contender, the time for a pair.
        sanity: By contender, what its maps depend on.
        unseen: (P,) bool, which pairs show nobody whom xCos's head was trained on.
        seed: What the bootstrap is drawn from.

    Returns:
        The contenders by quality, and what is between them.

    Raises:
        DatasetError: There are not two genuine and two impostor pairs that all were measured on.
    """
    keys = list(measured.outcomes)
    common = measured.rows(keys)
    genuine = measured.genuine
    check_kinds(genuine[common])
    results = [
        MeasuredMethod(
            key=key,
            title=COMPARED_METHODS[key].title,
            seconds=seconds.get(key),
            common=_areas(measured, key, common, similarity_threshold, seed),
            every=_areas(measured, key, measured.rows([key]), similarity_threshold, seed),
            unseen=_areas_where_possible(measured, key, unseen, similarity_threshold, seed),
            curves=_curves(measured, key, common, similarity_threshold),
            sanity=sanity.get(key),
        )
        for key in keys
    ]
    results.sort(key=lambda one: one.common.replacement.value)
    quick = sorted(
        (one for one in results if one.every.pairs.total == len(genuine)),
        key=lambda one: one.every.replacement.value,
    )
    maps = {key: measured.of(key, "clean_map", common) for key in keys}
    agreement = {
        one.key: {other.key: _mean_correlation(maps[one.key], maps[other.key]) for other in results}
        for one in results
    }
    return Comparison(
        _rates(measured.clean, genuine, similarity_threshold),
        _rates(measured.patched, genuine, similarity_threshold),
        tuple(results),
        _differences(measured, [one.key for one in results], common, similarity_threshold, seed),
        _differences(measured, [one.key for one in quick], np.ones_like(common), similarity_threshold, seed),
        agreement,
    )


def check_kinds(genuine: NDArray[np.bool_]) -> None:
    """Refuses pairs of which a kind has no spread.

    Args:
        genuine: (P,) bool, true where a pair shows one person.

    Raises:
        DatasetError: There are not two genuine and two impostor pairs.
    """
    if min(genuine.sum(), (~genuine).sum()) < 2:
        raise DatasetError(
            "two genuine and two impostor pairs at least are needed that every method is measured on"
        )


def _pair_areas(
    measured: MeasuredPairs, key: str, rows: NDArray[np.bool_], similarity_threshold: float
) -> dict[str, NDArray[np.float64]]:
    genuine = measured.genuine[rows]
    return {
        "replacement": replacement_areas(measured.of(key, "replaced", rows), genuine, similarity_threshold),
        "deletion": accuracy_areas(measured.of(key, "deleted", rows), genuine, similarity_threshold),
        "insertion": accuracy_areas(measured.of(key, "inserted", rows), genuine, similarity_threshold),
        "found": measured.of(key, "found", rows)[:, 0].astype(np.float64),
    }


def _areas(
    measured: MeasuredPairs, key: str, rows: NDArray[np.bool_], similarity_threshold: float, seed: int
) -> Areas:
    genuine = measured.genuine[rows]
    areas = _pair_areas(measured, key, rows, similarity_threshold)
    of_pairs = areas["replacement"][:, None]
    balanced = {
        name: balanced_means(values[:, None], genuine, np.random.default_rng(seed)).area(0)
        for name, values in areas.items()
    }
    return Areas(
        pairs=PairCounts.of(genuine),
        fmr=resampled_means(of_pairs[~genuine], np.random.default_rng(seed)).area(0),
        fnmr=resampled_means(of_pairs[genuine], np.random.default_rng(seed)).area(0),
        **balanced,
    )


def _differences(
    measured: MeasuredPairs,
    keys: Sequence[str],
    rows: NDArray[np.bool_],
    similarity_threshold: float,
    seed: int,
) -> tuple[Difference, ...]:
    """Of every two contenders, in the order given, on some pairs that all of them were measured on."""
    areas = [_pair_areas(measured, key, rows, similarity_threshold) for key in keys]
    genuine = measured.genuine[rows]
    means = [
        balanced_means(
            np.stack([of_one[name] for of_one in areas], axis=1), genuine, np.random.default_rng(seed)
        )
        for name in ("replacement", "deletion", "insertion", "found")
    ]
    return tuple(
        Difference(keys[one], keys[other], *(several.difference(one, other) for several in means))
        for one, other in itertools.combinations(range(len(keys)), 2)
    )


def _areas_where_possible(
    measured: MeasuredPairs,
    key: str,
    wanted: NDArray[np.bool_] | None,
    similarity_threshold: float,
    seed: int,
) -> Areas | None:
    if wanted is None:
        return None
    rows = measured.rows([key]) & wanted
    if min((rows & measured.genuine).sum(), (rows & ~measured.genuine).sum()) < 2:
        return None
    return _areas(measured, key, rows, similarity_threshold, seed)


def _curves(
    measured: MeasuredPairs, key: str, rows: NDArray[np.bool_], similarity_threshold: float
) -> Curves:
    genuine = measured.genuine[rows]
    errors = error_curves(measured.of(key, "replaced", rows), genuine, similarity_threshold)
    deleted, inserted = (
        accuracy_curve(measured.of(key, part, rows), genuine, similarity_threshold)
        for part in ("deleted", "inserted")
    )
    curves = errors.fmr, errors.fnmr, deleted, inserted
    return Curves(*(tuple(float(value) for value in curve) for curve in curves))


def _rates(
    similarities: NDArray[np.float32], genuine: NDArray[np.bool_], similarity_threshold: float
) -> Rates:
    accepted = is_same_by_similarity(similarities, similarity_threshold)
    return Rates(fmr=float(accepted[~genuine].mean()), fnmr=float((~accepted[genuine]).mean()))


def _mean_correlation(maps: NDArray[np.float32], others: NDArray[np.float32]) -> float | None:
    correlations = rank_correlations(maps, others)
    return float(np.nanmean(correlations)) if np.isfinite(correlations).any() else None
