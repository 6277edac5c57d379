"""From labelled distances to a threshold, and to a confidence that means something (pure).

A calibration is made of a labelled set of pairs: genuine ones, which show one person, and impostor ones,
which show two. It says from which cosine distance on two photos are decided to show different people, and how
often a decision at a given distance is right.

A calibrator, one of `calibrators`, maps a distance d to P(genuine | d). The confidence of a decision is that
probability where the decision is "same" (d < threshold) and 1 minus it otherwise, clipped to [0.5, 1]. The
threshold is always x-Face's, so the calibrator bears on the confidence alone, never on the verdict. Where
the sizes of the faces are counted in (`face_sizes`), both follow them; at full size nothing changes.

Both classes are taken as equally likely beforehand. So a confidence holds for photos of which as many show
one person as two; where one of the cases is rarer, its decisions are right less often than stated.

A calibration describes the pairs that it was fitted to. How good a model is on new pairs is told by folds
that the fit did not see: `Calibration.foldwise`, `foldwise_decisions`, `compare_calibrators`.
"""

import datetime
import importlib.metadata
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.calibration.calibrators import (
    CALIBRATORS,
    DEFAULT_K0,
    SIZED_METHOD,
    BetaCalibrator,
    Calibrator,
    XFaceCalibrator,
)
from xfv_demo.calibration.evidence import CONFIDENCE_LEVEL, DistanceHistogram, OperatingPoint
from xfv_demo.calibration.face_sizes import SizeCorrection, SizedPairs
from xfv_demo.calibration.file_format import parse, to_text
from xfv_demo.calibration.labelled_distances import check_separable, checked_distances, cosine_scores
from xfv_demo.errors import CalibrationError, DatasetError, XfvError
from xfv_demo.metrics.accuracy import THRESHOLD_BINS, best_threshold, threshold_grid
from xfv_demo.metrics.decision import LARGEST_DISTANCE, is_same
from xfv_demo.metrics.error_rates import ErrorRates, eer, largest_rate
from xfv_demo.metrics.intervals import Booleans, Doubles, Integers, Interval
from xfv_demo.metrics.likelihood_ratio import elub_bounds
from xfv_demo.metrics.pair_scores import PairScores
from xfv_demo.runtime.files import write_whole

_Distance = float | np.floating[Any]
_Distances = NDArray[Any] | Sequence[float]


@dataclass(frozen=True, eq=False)
class Calibration:
    """A threshold and a confidence, with the evidence that they rest on.

    `error_rates`, `error_rates_at`, `eer` and `histogram` tell of the pairs that the calibration was fitted
    to, so they flatter it a little; the honest figures for new pairs come from `foldwise`.

    Attributes:
        calibrator: The map from distance to P(genuine | distance).
        threshold: A pair is "same" when its cosine distance is below, strictly.
        eer: Equal error rate; see `metrics.error_rates.eer`.
        eer_threshold: The distance at which FMR and FNMR are alike; on the cosine similarity, 1 minus it.
        genuine_counts: (2000,) int64, genuine pairs in bins of 0.001 over [0, 2]; each bin holds its left
            edge, the last one both.
        impostor_counts: (2000,) int64, impostor pairs likewise.
        bins: Candidate thresholds over [0, 2], and x-Face's bins.
        k0: Where x-Face's fit started.
        model: Name of the model that the distances come from, if known.
        model_sha256: Digest of its files, if known.
        dataset: Name of the labelled set, if known.
        folds: Into how many folds the labelled set was cut, if it was.
        held_out_fold: The fold that the fit did not see, from 0; None if it saw all pairs.
        date: When the calibration was made.
        library_versions: Versions of the libraries that it was made with, by name.
        elub: Between which log10 likelihood ratios the pairs vouch for what is stated, by
            `metrics.likelihood_ratio.elub_bounds`; None in files from before 0.3.
        sizes: What the sizes of the faces change; None where they are not counted in.

    Example:
        >>> import numpy as np
        >>> from xfv_demo import Calibration
        >>> distances = np.concatenate([np.linspace(0.2, 0.7, 300), np.linspace(0.6, 1.1, 300)])
        >>> calibration = Calibration.fit(distances, np.repeat([True, False], 300), method="logistic")
        >>> calibration.threshold
        0.6
        >>> [round(float(calibration.confidence(distance)), 2) for distance in (0.2, 0.6, 0.7)]
        [1.0, 0.5, 0.78]
    """

    calibrator: Calibrator
    threshold: float
    eer: float
    eer_threshold: float
    genuine_counts: Integers
    impostor_counts: Integers
    bins: int
    k0: float
    model: str | None
    model_sha256: str | None
    dataset: str | None
    folds: int | None
    held_out_fold: int | None
    date: datetime.date
    library_versions: Mapping[str, str]
    elub: tuple[float, float] | None = None
    sizes: SizeCorrection | None = None

    def __post_init__(self) -> None:
        """Refuses what no fit can have made.

        Raises:
            CalibrationError: If a number is out of its range.
        """
        if not 0 <= self.threshold <= LARGEST_DISTANCE or not 0 <= self.eer_threshold <= LARGEST_DISTANCE:
            raise CalibrationError("the calibration's thresholds are not in [0, 2]")
        if not 0 <= self.eer <= 1:
            raise CalibrationError("the calibration's equal error rate is not in [0, 1]")
        if self.elub and not -math.inf < self.elub[0] <= 0 <= self.elub[1] < math.inf:
            raise CalibrationError("the calibration's bounds of the likelihood ratio do not lie about 0")
        if self.sizes and not isinstance(self.calibrator, BetaCalibrator):
            raise CalibrationError("sizes of faces can be counted into beta calibration only")
        if isinstance(self.calibrator, BetaCalibrator) and self.sizes:
            self.sizes.check_falling(self.calibrator)
        for counts in (self.genuine_counts, self.impostor_counts):
            if counts.shape != (THRESHOLD_BINS,) or (counts < 0).any() or not counts.any():
                raise CalibrationError(
                    f"the calibration's histograms are not {THRESHOLD_BINS} counts of pairs"
                )
            counts.setflags(write=False)

    @classmethod
    def fit(
        cls,
        distances: ArrayLike | PairScores,
        genuine: ArrayLike | None = None,
        *,
        method: str = XFaceCalibrator.name,
        k0: float = DEFAULT_K0,
        bins: int = THRESHOLD_BINS,
        model: str | None = None,
        model_sha256: str | None = None,
        dataset: str | None = None,
        folds: int | None = None,
        held_out_fold: int | None = None,
        date: datetime.date | None = None,
        library_versions: Mapping[str, str] | None = None,
        copies: SizedPairs | None = None,
        size_range: tuple[float, float] | None = None,
    ) -> Self:
        """Calibrates on labelled pairs, by x-Face's method or another of `CALIBRATORS`.

        The threshold is the first of `bins` even candidates over [0, 2] with the highest accuracy, for each
        method (methods.md, section 1, step 1). Accuracy counts all pairs alike: a set with far more pairs of
        one class gives a threshold that pleases that class, so cut the larger class down first.

        Args:
            distances: (N,) cosine distances in [0, 2], at least 20 of each class; or `PairScores` of such,
                which bring their labels. Up to 1e-6 outside is taken for rounding.
            genuine: (N,) bool or 0/1, true where a pair shows one person.
            method: A key of `CALIBRATORS`.
            k0: Where x-Face's fit of the steepness starts, negative.
            bins: Candidate thresholds over [0, 2], and x-Face's bins.
            model: Name of the model that the distances come from.
            model_sha256: Digest of its files.
            dataset: Name of the labelled set.
            folds: Into how many folds the labelled set was cut; where None, as the scores say.
            held_out_fold: The fold that these pairs lack, from 0.
            date: When this is; today by default.
            library_versions: Versions to note beside those of Python, NumPy and SciPy, such as TensorFlow's.
            copies: Pairs of which many have a small face, for the sizes to be counted in; beta only.
            size_range: The smallest size that these cover and the one from which on nothing changes, in
                pixels between the eyes; needed with them.

        Returns:
            The calibration.

        Raises:
            CalibrationError: If the pairs are too few, of one class, not finite, out of range or not told
                apart by the distance; if the method is unknown; if the fit does not converge.
        """
        if method not in CALIBRATORS:
            raise CalibrationError(
                f"there is no calibration method {method!r}; take one of {', '.join(CALIBRATORS)}"
            )
        if not (math.isfinite(k0) and k0 < 0):
            raise CalibrationError(
                f"k0 = {k0:g} is no start for a falling curve; give a negative number, such as -20"
            )
        if bins < 2:
            raise CalibrationError(f"{bins} bins over the distances are too few; take 2000")
        scores = cosine_scores(distances, genuine)
        check_separable(scores)
        distance_threshold = best_threshold(scores, bins=bins)
        if distance_threshold == 0:
            raise CalibrationError(
                f"of {scores.genuine_distances.size} genuine and {scores.impostor_distances.size} impostor "
                "pairs, no threshold decides more "
                "rightly than refusing all does; take as many of each class"
            )
        equal = eer(scores)
        grid = threshold_grid()
        calibrator = CALIBRATORS[method].fit(
            scores.distances, scores.genuine, distance_threshold=distance_threshold, bins=bins, k0=k0
        )
        vouched = elub_bounds(calibrator.probability(scores.distances), scores.genuine)
        sizes = None
        if copies is not None:
            if size_range is None or not isinstance(calibrator, BetaCalibrator):
                raise CalibrationError(
                    "sizes of faces are counted in with their range, into beta calibration only"
                )
            smallest, largest = size_range
            sizes = SizeCorrection.fit(calibrator, copies, largest=largest, smallest=smallest)
        return cls(
            calibrator=calibrator,
            sizes=sizes,
            threshold=distance_threshold,
            eer=equal.rate,
            eer_threshold=equal.threshold,
            genuine_counts=np.histogram(scores.genuine_distances, grid)[0].astype(np.int64),
            impostor_counts=np.histogram(scores.impostor_distances, grid)[0].astype(np.int64),
            bins=bins,
            k0=float(k0),
            model=model,
            model_sha256=model_sha256,
            dataset=dataset,
            folds=folds or scores.fold_count or None,
            held_out_fold=held_out_fold,
            date=date or datetime.date.today(),
            library_versions={
                "python": platform.python_version(),
                "numpy": np.__version__,
                "scipy": importlib.metadata.version("scipy"),
                **(library_versions or {}),
            },
            elub=(vouched.low, vouched.high),
        )

    @classmethod
    def foldwise(
        cls,
        distances: ArrayLike | PairScores,
        genuine: ArrayLike | None = None,
        folds: int | ArrayLike = 10,
        *,
        copies: SizedPairs | None = None,
        **settings: Any,
    ) -> list[Self]:
        """Calibrates on all folds but one, for each in turn (methods.md, section 1, step 5).

        Args:
            distances: (N,) cosine distances in [0, 2], in the data set's order; or `PairScores` of such,
                which bring their labels and folds.
            genuine: (N,) bool or 0/1, true where a pair shows one person.
            folds: How many consecutive folds to cut the pairs into, or each pair's fold, (N,) integers; see
                `metrics.pair_scores.fold_numbers`. LFW's pairs come in ten consecutive folds of 300 genuine
                and 300 impostor pairs.
            copies: As for `fit`, with folds of the same numbers.
            **settings: Further arguments of `fit`.

        Returns:
            A calibration for each fold, in order, fitted to the pairs of all other folds.

        Raises:
            CalibrationError: As `fit`, or if the folds do not suit the pairs.
        """
        scores = cosine_scores(distances, genuine, folds)
        number = scores.fold_count
        if copies and copies.scores.fold_count != number:
            raise CalibrationError(
                f"the copies are in {copies.scores.fold_count} folds, the pairs in {number}; copy more pairs"
            )
        calibrations = []
        for fold in range(number):
            try:
                others, small = scores.outside(fold), copies and copies.outside(fold)
                calibrations.append(
                    cls.fit(others, folds=number, held_out_fold=fold, copies=small, **settings)
                )
            except (CalibrationError, DatasetError) as error:
                raise CalibrationError(f"without fold {fold + 1} of {number}: {error}") from error
        return calibrations

    @property
    def method(self) -> str:
        """The calibrator's key in `CALIBRATORS`; with the sizes counted in, "beta-size"."""
        return SIZED_METHOD if self.sizes else self.calibrator.name

    @property
    def plain(self) -> Self:
        """The same without the sizes of the faces."""
        return replace(self, sizes=None)

    @property
    def parameters(self) -> dict[str, float | list[float]]:
        """The calibrator's parameters by name; x-Face's in the order a, x0, k, b."""
        return self.calibrator.parameters

    @property
    def genuine_pairs(self) -> int:
        """How many genuine pairs the calibration was fitted to."""
        return int(self.genuine_counts.sum())

    @property
    def impostor_pairs(self) -> int:
        """How many impostor pairs the calibration was fitted to."""
        return int(self.impostor_counts.sum())

    @property
    def largest_confidence(self) -> float:
        """The largest confidence that the pairs carry, in [0.5, 1); what is stated of a pair stops here.

        A decision is wrong where the pair is of the other class. Wherever a decision falls, n pairs of that
        class, none of which fell there, leave it a share of up to 1 - 0.05 ** (1 / n), at 95 % confidence
        (`metrics.error_rates.largest_rate`). With both classes equally likely, the decision is then as often
        wrong; the smaller class bounds both decisions. 3,000 pairs of each carry 99.9 %, 300 carry 99.0 %,
        20 carry 86.1 %. Rounded down to six digits, those of `Verification.to_dict`.
        """
        return _carried_by(min(self.genuine_pairs, self.impostor_pairs))

    def probability_bounds(self, sizes: ArrayLike | None = None) -> Interval:
        """How near to 0 and to 1 P(genuine | distance, sizes) is stated of a pair, within (0, 1).

        What `largest_confidence` leaves open on either side, and no likelihood ratio beyond `elub`. So the
        confidence, the likelihood ratio and what follows from it under a prior are of one probability. Where
        the sizes change the probability, by so much fewer pairs it is carried: those that were copied.

        Args:
            sizes: (2,), as for `threshold_at`.

        Raises:
            CalibrationError: If a size is not a number above 0.
        """
        largest = self.largest_confidence
        if self.sizes is not None and sizes is not None:
            pairs = min(self.genuine_pairs, self.impostor_pairs)
            largest = _carried_by(math.floor(self.sizes.pairs_at(pairs, _checked_sizes(sizes))))
        low, high = (1 / (1 + 10**-bound) for bound in self.elub or (-math.inf, math.inf))
        return Interval(low=max(low, 1 - largest), high=min(high, largest))

    @property
    def error_rates(self) -> ErrorRates:
        """Both error rates at 0, 0.001, ..., 2, on the pairs of the fit.

        Exact at these thresholds, but for pairs at a distance of exactly 2, which count as below 2.
        """
        return self.histogram(THRESHOLD_BINS).error_rates

    def error_rates_at(self, distance_threshold: float) -> OperatingPoint:
        """Both error rates at one threshold, on the pairs of the fit.

        Args:
            distance_threshold: Any distance. Multiples of 0.001 are answered exactly, others by the straight
                line between their neighbours.

        Returns:
            The rates with their intervals.

        Raises:
            CalibrationError: If the threshold is not finite.
        """
        return self.histogram(THRESHOLD_BINS).error_rates_at(distance_threshold)

    def histogram(self, bins: int = 100) -> DistanceHistogram:
        """The distances of both classes, for a figure.

        Args:
            bins: Number of bins over [0, 2], a divisor of 2000.

        Returns:
            The counts of the pairs of the fit.

        Raises:
            CalibrationError: If 2000 bins cannot be gathered into that many.
        """
        if bins < 1 or THRESHOLD_BINS % bins:
            raise CalibrationError(f"{THRESHOLD_BINS} bins cannot be gathered into {bins}; take 100 or 200")
        return DistanceHistogram(
            edges=threshold_grid(bins),
            genuine=self.genuine_counts.reshape(bins, -1).sum(axis=1),
            impostor=self.impostor_counts.reshape(bins, -1).sum(axis=1),
        )

    def threshold_at(self, sizes: ArrayLike | None = None) -> float | Doubles:
        """The threshold for faces of given sizes; see `SizeCorrection.threshold`.

        Args:
            sizes: (..., 2), pixels between the eyes of both faces, in their photos; full size where None.

        Returns:
            A float for one pair of faces, else (...) float64.

        Raises:
            CalibrationError: If a size is not a number above 0.
        """
        if self.sizes is None or sizes is None or not isinstance(self.calibrator, BetaCalibrator):
            return self.threshold
        at: float | Doubles = _like_given(
            self.sizes.threshold(self.calibrator, self.threshold, _checked_sizes(sizes))
        )
        return at

    @overload
    def same_person(self, distances: _Distance, sizes: ArrayLike | None = None) -> bool: ...
    @overload
    def same_person(self, distances: _Distances, sizes: ArrayLike | None = None) -> Booleans: ...
    def same_person(
        self, distances: _Distance | _Distances, sizes: ArrayLike | None = None
    ) -> bool | Booleans:
        """Decides pairs: distance < threshold, strictly.

        Args:
            distances: A cosine distance, or (...) of them.
            sizes: As for `threshold_at`.

        Returns:
            A bool for a number, else (...) bool.

        Raises:
            CalibrationError: If a distance is not a number in [0, 2], or a size not one above 0.
        """
        decided: bool | Booleans = is_same(
            _like_given(checked_distances(distances)), self.threshold_at(sizes)
        )
        return decided

    @overload
    def probability(self, distances: _Distance, sizes: ArrayLike | None = None) -> float: ...
    @overload
    def probability(self, distances: _Distances, sizes: ArrayLike | None = None) -> Doubles: ...
    def probability(
        self, distances: _Distance | _Distances, sizes: ArrayLike | None = None
    ) -> float | Doubles:
        """P(genuine | distance, sizes), where genuine and impostor pairs are equally likely beforehand.

        Args:
            distances: A cosine distance, or (...) of them.
            sizes: As for `threshold_at`; they count only where `sizes` of the calibration is there.

        Returns:
            A float for a number, else (...) float64; in [0, 1].

        Raises:
            CalibrationError: If a distance is not a number in [0, 2], or a size not one above 0.
        """
        values: float | Doubles = _like_given(self._probability(checked_distances(distances), sizes))
        return values

    def _probability(self, distances: Doubles, sizes: ArrayLike | None) -> Doubles:
        if self.sizes is None or sizes is None or not isinstance(self.calibrator, BetaCalibrator):
            return self.calibrator.probability(distances)
        return self.sizes.probability(self.calibrator, distances, _checked_sizes(sizes))

    def probability_of_closest(self, distance: float, pairs: int, sizes: ArrayLike | None = None) -> float:
        """P(genuine | distance) of a pair that was chosen as the closest of several.

        Of n impostor pairs the closest is at d about n times as often as one pair is, while a genuine pair
        gains nothing from the choice. So the odds are those of one pair, divided by n. For independent pairs
        that is exact where as many choices hold one genuine pair, the closest, as hold none: the densities
        are g(d) (1 - F(d))^(n - 1) and n f(d) (1 - F(d))^(n - 1), with g of genuine pairs, f and F of
        impostor pairs. For pairs that share faces it errs towards doubt, as Bonferroni's bound does.

        Args:
            distance: The chosen pair's cosine distance.
            pairs: Of how many pairs it is the closest, at least 1.
            sizes: (2,), as for `threshold_at`.

        Returns:
            A number in [0, 1), held to the upper of `probability_bounds` before the division: x-Face's
            certainty would otherwise outlast any number of pairs.

        Raises:
            CalibrationError: If the distance is not a number in [0, 2], or there is no pair.
        """
        if pairs < 1:
            raise CalibrationError(f"the closest of {pairs} pairs is none")
        probability = min(self.probability(distance, sizes), self.probability_bounds(sizes).high)
        return probability / (probability + pairs * (1 - probability))

    @overload
    def confidence(self, distances: _Distance, sizes: ArrayLike | None = None) -> float: ...
    @overload
    def confidence(self, distances: _Distances, sizes: ArrayLike | None = None) -> Doubles: ...
    def confidence(
        self, distances: _Distance | _Distances, sizes: ArrayLike | None = None
    ) -> float | Doubles:
        """How often the decision at a distance is right (methods.md, section 1, step 4).

        x-Face's may be exactly 1, by definition; the other calibrators stop at 1 - 1 / (n + 2), n pairs of
        the smaller class. What is stated of a pair stops at `probability_bounds`.

        Args:
            distances: A cosine distance, or (...) of them.
            sizes: As for `threshold_at`.

        Returns:
            A float for a number, else (...) float64; in [0.5, 1].

        Raises:
            CalibrationError: If a distance is not a number in [0, 2], or a size not one above 0.
        """
        values: float | Doubles = _like_given(self._confidence(checked_distances(distances), sizes))
        return values

    def _confidence(self, distances: Doubles, sizes: ArrayLike | None = None) -> Doubles:
        probability = self._probability(distances, sizes)
        decided = np.where(is_same(distances, self.threshold_at(sizes)), probability, 1 - probability)
        return np.clip(decided, 0.5, 1.0)

    def to_json(self) -> str:
        """The calibration as JSON, a line for each field; under 100 kB."""
        values = {
            "model": self.model,
            "model_sha256": self.model_sha256,
            "dataset": self.dataset,
            "genuine_pairs": self.genuine_pairs,
            "impostor_pairs": self.impostor_pairs,
            "folds": self.folds,
            "held_out_fold": self.held_out_fold,
            "date": self.date.isoformat(),
            "library_versions": dict(self.library_versions),
            "method": self.method,
            "bins": self.bins,
            "k0": self.k0,
            "parameters": self.parameters,
            "threshold": self.threshold,
            "eer": self.eer,
            "eer_threshold": self.eer_threshold,
            "elub": self.elub,
            "sizes": None if self.sizes is None else asdict(self.sizes),
        }
        return to_text(values, self.histogram(THRESHOLD_BINS))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            CalibrationError: If the text is not a calibration, was written by a newer version of this
                program, or contradicts itself.
        """
        data = parse(text)
        if (data.method == SIZED_METHOD) != (data.sizes is not None):
            raise CalibrationError(
                f"this calibration contradicts itself: sizes belong to the method {SIZED_METHOD}"
            )
        calibration = cls(
            calibrator=CALIBRATORS[BetaCalibrator.name if data.sizes else data.method].from_parameters(
                data.parameters
            ),
            sizes=data.sizes,
            genuine_counts=np.array(data.histograms.genuine, dtype=np.int64),
            impostor_counts=np.array(data.histograms.impostor, dtype=np.int64),
            **data.model_dump(include={field.name for field in fields(cls)}, exclude={"sizes"}),
        )
        if (data.genuine_pairs, data.impostor_pairs) != (
            calibration.genuine_pairs,
            calibration.impostor_pairs,
        ):
            raise CalibrationError(
                "this calibration contradicts itself: its histograms hold other numbers of pairs"
            )
        return calibration

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_json` to a file, whole or not at all; makes the folders that lack.

        Raises:
            CalibrationError: If the file cannot be written.
        """
        try:
            write_whole(Path(path), self.to_json().encode())
        except XfvError as error:
            raise CalibrationError(f"the calibration cannot be kept: {error}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a file that `save` wrote.

        Raises:
            CalibrationError: If the file cannot be read, or as `from_json`; the message names the file.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise CalibrationError(
                f"{path}: the calibration cannot be read: {error.strerror or error}"
            ) from error
        except UnicodeDecodeError as error:
            raise CalibrationError(f"{path}: this is no calibration: it is not text") from error
        except CalibrationError as error:
            raise CalibrationError(f"{path}: {error}") from error


def _checked_sizes(sizes: ArrayLike) -> Doubles:
    """Sizes of both faces, above 0; a NaN is none."""
    values = np.asarray(sizes, dtype=np.float64)
    if values.shape[-1:] != (2,) or not (values > 0).all():
        raise CalibrationError("sizes of faces must be two numbers above 0 a pair: pixels between the eyes")
    return values


def _carried_by(pairs: int) -> float:
    """The largest confidence that so many pairs of each class carry; see `Calibration.largest_confidence`."""
    risk = largest_rate(0, pairs, CONFIDENCE_LEVEL)
    return max(0.5, math.floor((1 - risk) * 1e6) / 1e6)


def _like_given(values: NDArray[Any]) -> Any:
    """A number for a number, an array for an array."""
    return values.item() if values.ndim == 0 else values
