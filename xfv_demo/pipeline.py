"""The one road of a pair: from the faces of two photos to the verdict, and on to its explanations.

The command line, the page and its calls for programs all take it, by `stream_pair`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from xfv_demo.calibration.calibration import Calibration
from xfv_demo.errors import ModelError, XfvError
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.explainers.explanation import Explanation, View
from xfv_demo.explainers.frequency import band_summary
from xfv_demo.explainers.reference import Rank, ViewReference, find_reference
from xfv_demo.explainers.reference_words import usual_summary
from xfv_demo.faces.region_words import summary, weight_summary
from xfv_demo.faces.regions import REGION_GROUPS, pair_evidence, region_evidence
from xfv_demo.runtime.provenance import rounded
from xfv_demo.types import AlignedFace, Verification
from xfv_demo.verification import Verifier

DEFAULT_METHODS = ("occlusion", "xssab")


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What one method gives for a pair, so far or in the end.

    Attributes:
        method: A key of `EXPLAINERS`.
        explanations: One for each variant, as `Explainer.stream_all` gives them.
        seconds: How long the method has been at work, without what was done with its steps meanwhile.
        references: By view, what is usual for the model; empty where that is not known.
    """

    method: str
    explanations: Mapping[Any, Explanation]
    seconds: float
    references: Mapping[str, ViewReference] = field(default_factory=dict)

    @property
    def progress(self) -> float:
        """Share of the method's work that is done, in [0, 1]."""
        return min(explanation.progress for explanation in self.explanations.values())

    @property
    def title(self) -> str:
        """What people call the method."""
        return EXPLAINERS[self.method].title

    @property
    def views(self) -> tuple[View, ...]:
        """What there is to see, the most telling first."""
        return EXPLAINERS[self.method].views(self.explanations)

    @property
    def summary(self) -> str:
        """A sentence or two on which regions of the face speak for and against, by the first view."""
        return self.summary_of(self.views[0])

    def summary_of(self, view: View) -> str:
        """A sentence or two on one of the views: against what is usual where that is known.

        Else on which regions of the face speak for and against, or count much.
        """
        if view.domain == "frequency":
            return band_summary(view, next(iter(self.explanations.values())).parameters["band_width"])
        if ranks := self.ranks(view):
            return usual_summary(ranks)
        sides = region_evidence(view.maps.probe), region_evidence(view.maps.reference)
        return summary(*sides) if view.is_evidence else weight_summary(*sides)

    def ranks(self, view: View) -> Mapping[str, Rank]:
        """How usual a view's evidence is, by region; empty where that is not known, or not yet final."""
        reference = self.references.get(view.key)
        return reference.ranks(view.maps) if reference is not None and self.progress >= 1 else {}

    def scale(self, view: View) -> float:
        """The absolute value with a view's strongest colour: by what is usual, else by this pair's maps."""
        reference = self.references.get(view.key)
        if reference is not None and reference.full_colour:
            return reference.full_colour
        # A verdict alone draws nothing, and matplotlib takes long to import.
        from xfv_demo.plots.colours import shared_scale

        return shared_scale(*view.maps, percentile=view.percentile)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: everything but the maps."""
        return {
            "seconds": round(self.seconds, 3),
            "summary": self.summary,
            "explanations": {str(key): one.to_dict() for key, one in self.explanations.items()},
            "regions": {view.key: _shares(view) for view in self.views if view.domain == "face"},
            "usual": {
                view.key: {key: rounded(asdict(rank)) for key, rank in ranks.items()}
                for view in self.views
                if (ranks := self.ranks(view))
            },
        }


@dataclass(frozen=True, eq=False)
class PairStep:
    """How far a pair has come.

    Attributes:
        verification: The verdict.
        results: What each method has given so far, in the order in which the methods were asked for.
        problems: By method that the model cannot be explained by, a line that says why.
        method: The method that has come further; None where it is the verdict that has come.
        progress: Share of all that was asked for, in [0, 1].
    """

    verification: Verification
    results: tuple[MethodResult, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    method: str | None = None
    progress: float = 0.0


def check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    """Checks names of explanation methods before the work that they would need.

    Args:
        methods: Keys of `EXPLAINERS`.

    Returns:
        The same, each once.

    Raises:
        XfvError: There is none, or one is unknown.
    """
    unknown = [method for method in methods if method not in EXPLAINERS]
    if unknown or not methods:
        problem = f'there is no explanation method "{unknown[0]}"' if unknown else "no method was asked for"
        raise XfvError(f"{problem}; take some of {', '.join(EXPLAINERS)}")
    return tuple(dict.fromkeys(methods))


def in_work_order(methods: Sequence[str]) -> list[str]:
    """The methods, those first that take least."""
    return sorted(methods, key=lambda one: EXPLAINERS[one].work_order)


def stream_pair(
    verifier: Verifier,
    probes: Sequence[AlignedFace],
    references: Sequence[AlignedFace],
    methods: Sequence[str] = (),
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    keep_going: bool = False,
) -> Iterator[PairStep]:
    """Compares two photos, then explains the verdict step by step, the methods that take least first.

    Args:
        verifier: The model, and what decides.
        probes: The faces of the first photo that come into question, as `Verifier.find_candidates` gives
            them.
        references: Those of the second photo.
        methods: Keys of `EXPLAINERS`; none where the verdict will do.
        settings: As for `stream_explanations`.
        keep_going: Whether a method that the model lacks something for is noted in `PairStep.problems`, and
            the others go on.

    Returns:
        The verdict, then each step of each method. Closing the iterator stops the work.

    Raises:
        XfvError: A method is unknown.
        ModelError: The model lacks what a method needs, or gives numbers that cannot be used.
        ValueError: A setting is out of its range.

    Example:
        >>> from xfv_demo import Verifier, load_embedder
        >>> verifier = Verifier.calibrated(load_embedder("mobilefacenet"))
        >>> obama = verifier.find_candidates("assets/examples/obama.jpg", name="obama.jpg")
        >>> biden = verifier.find_candidates("assets/examples/biden.jpg", name="biden.jpg")
        >>> *_, last = stream_pair(verifier, obama, biden, ["grid"])
        >>> last.verification.same_person, last.progress, last.results[0].views[0].maps.probe.shape
        (False, 1.0, (112, 112))
    """
    chosen = check_methods(methods) if methods else ()
    return _stream_pair(verifier, probes, references, chosen, settings, keep_going)


def _stream_pair(
    verifier: Verifier,
    probes: Sequence[AlignedFace],
    references: Sequence[AlignedFace],
    methods: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]] | None,
    keep_going: bool,
) -> Iterator[PairStep]:
    verification = verifier.compare_most_alike(probes, references)
    yield PairStep(verification, progress=0.0 if methods else 1.0)
    results: dict[str, MethodResult] = {}
    problems: dict[str, str] = {}

    def reached(method: str) -> PairStep:
        done = len(problems) + sum(result.progress for result in results.values())
        return PairStep(
            verification,
            tuple(results[one] for one in methods if one in results),
            dict(problems),
            method,
            done / len(methods),
        )

    for method in in_work_order(methods):
        try:
            for result in stream_explanations(
                verifier.embedder,
                verification,
                [method],
                calibration=verifier.calibration,
                settings=settings,
            ):
                results[method] = result
                yield reached(method)
        except ModelError as error:
            if not keep_going:
                raise
            results.pop(method, None)
            problems[method] = str(error)
            yield reached(method)


def stream_explanations(
    embedder: Any,
    verification: Verification,
    methods: Sequence[str] = DEFAULT_METHODS,
    *,
    calibration: Calibration | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[MethodResult]:
    """Explains a verdict by one method after another, step by step.

    Args:
        embedder: The model that the verdict is by, with the methods that the explainers need.
        verification: The verdict. Embeddings in it are not computed again.
        methods: Keys of `EXPLAINERS`.
        calibration: What xSSAB and FGGB have their threshold of equal error rate from; the verdict's own
            threshold stands in where None.
        settings: For each method, further settings by name; a threshold among them goes before these two.

    Returns:
        Each step of each method; a method's last has a progress of 1. Closing the iterator stops the work.

    Raises:
        XfvError: As from `check_methods`.
        ModelError: The model lacks what a method needs, or gives numbers that cannot be used.
        ValueError: A setting is out of its range.
    """
    return _stream(embedder, verification, check_methods(methods), calibration, settings or {})


def _stream(
    embedder: Any,
    verification: Verification,
    methods: Sequence[str],
    calibration: Calibration | None,
    settings: Mapping[str, Mapping[str, Any]],
) -> Iterator[MethodResult]:
    threshold = verification.threshold if calibration is None else calibration.eer_threshold
    faces = verification.probe, verification.reference
    pair = [face.aligned for face in faces]
    known = [face.embedding for face in faces if face.embedding is not None]
    embeddings = np.stack(known) if len(known) == len(faces) else None
    usual = find_reference(embedder)
    for method in methods:
        references: Mapping[str, ViewReference] | None = None
        own = {"threshold": 1 - threshold} if EXPLAINERS[method].takes_threshold else {}
        chosen = {**own, **settings.get(method, {})}
        seconds, start = 0.0, time.perf_counter()
        for explanations in EXPLAINERS[method].stream_all(embedder, *pair, embeddings=embeddings, **chosen):
            seconds += time.perf_counter() - start
            if references is None:
                settings_used = next(iter(explanations.values())).parameters
                references = usual.of_views(method, settings_used) if usual else {}
            yield MethodResult(method, explanations, seconds, references)
            start = time.perf_counter()


def _shares(view: View) -> dict[str, dict[str, dict[str, float]]]:
    """Of either photo, and of both together, each region's share of the evidence, and its net share."""
    photos = [region_evidence(values, REGION_GROUPS) for values in view.maps]
    columns = zip(("probe", "reference", "both"), (*photos, pair_evidence(*photos)), strict=True)
    return {
        name: {
            one.region.key: {"share": round(one.share, 4), "net_share": round(one.net_share, 4)}
            for one in evidence
        }
        for name, evidence in columns
    }
