"""From a verdict to its explanations: runs the methods asked for, and makes files of what they give."""

import contextlib
import importlib.metadata
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xfv_demo import __version__
from xfv_demo.calibration import Calibration
from xfv_demo.errors import XfvError
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.explainers.base import Explanation, View
from xfv_demo.files import json_text
from xfv_demo.regions import REGION_GROUPS, pair_evidence, region_evidence, summary, weight_summary
from xfv_demo.rendering import Blend, PairMaps, figure_png, pair_figure, shared_scale
from xfv_demo.types import Verification

DEFAULT_METHODS = ("occlusion", "xssab")


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What one method gives for a pair, so far or in the end.

    Attributes:
        method: A key of `EXPLAINERS`.
        explanations: One for each variant, as `Explainer.stream_all` gives them.
        seconds: How long the method has been at work, without what was done with its steps meanwhile.
    """

    method: str
    explanations: Mapping[Any, Explanation]
    seconds: float

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
        return view_summary(self.views[0])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: everything but the maps."""
        return {
            "seconds": round(self.seconds, 3),
            "summary": self.summary,
            "explanations": {str(key): one.to_dict() for key, one in self.explanations.items()},
            "regions": {view.key: _shares(view) for view in self.views},
        }


@dataclass(frozen=True, eq=False)
class PairExplanation:
    """A verdict with its explanations.

    Attributes:
        verification: The verdict, with both faces.
        results: What each method gives, in the order in which they were asked for.
        about: What else a report should say, such as `provenance` gives.
    """

    verification: Verification
    results: Sequence[MethodResult]
    about: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the verdict's own, and those of each method."""
        return {
            **self.verification.to_dict(),
            **self.about,
            "methods": {result.method: result.to_dict() for result in self.results},
        }

    def maps(self) -> dict[str, np.ndarray]:
        """All maps, and the faces that they belong to.

        Returns:
            "probe_aligned" and "reference_aligned", (112, 112, 3) float32, RGB, in [0, 1]; and for each view
            of each method "METHOD_VIEW_probe" and "METHOD_VIEW_reference", (112, 112) float32, signed, in the
            method's own unit.
        """
        pair = self.verification.probe.aligned, self.verification.reference.aligned
        arrays = dict(zip(("probe_aligned", "reference_aligned"), pair, strict=True))
        for result in self.results:
            for view in result.views:
                for side, values in view.maps._asdict().items():
                    arrays[f"{result.method}_{view.key}_{side}"] = values
        return arrays

    def files(self, *, palette: str = "piyg", blend: Blend = "published") -> dict[str, bytes]:
        """What there is to take home.

        Args:
            palette: A key of `rendering.PALETTES`.
            blend: How maps lie over the faces, as for `rendering.map_on_photo`.

        Returns:
            By file name: "report.json"; "maps.npz"; for each method a PNG with all its views; and
            "figure.png", the first view of each method.

        Raises:
            ValueError: There is no such palette or blend.
        """
        maps = io.BytesIO()
        np.savez_compressed(maps, **self.maps())  # type: ignore[arg-type]
        files = {
            "report.json": (json_text(self.to_dict(), indent=2) + "\n").encode(),
            "maps.npz": maps.getvalue(),
        }
        for result in self.results:
            columns = [pair_maps(view) for view in result.views]
            drawn = pair_figure(
                self.verification, columns, palette=palette, blend=blend, sentence=self._sentence(result)
            )
            files[f"{result.method}.png"] = figure_png(drawn)
        if self.results:
            firsts = [pair_maps(result.views[0], result.title) for result in self.results]
            sentence = self._sentence(self.results[0])
            drawn = pair_figure(self.verification, firsts, palette=palette, blend=blend, sentence=sentence)
            files["figure.png"] = figure_png(drawn)
        return files

    def _sentence(self, result: MethodResult) -> str:
        return f"{result.title}, {result.views[0].label}. {result.summary}"


def view_summary(view: View) -> str:
    """A sentence or two on which regions of the face speak for and against, or count much, by a view."""
    sides = region_evidence(view.maps.probe), region_evidence(view.maps.reference)
    return summary(*sides) if view.is_evidence else weight_summary(*sides)


def pair_maps(view: View, title: str | None = None) -> PairMaps:
    """A view, ready for a figure: both photos' maps on one scale.

    Args:
        view: Of a method.
        title: What to call it; the view's label where None.
    """
    scale = shared_scale(*view.maps, percentile=view.percentile)
    return PairMaps(title or view.label, view.maps.probe, view.maps.reference, scale, view.is_evidence)


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
    for method in methods:
        own = {"threshold": 1 - threshold} if EXPLAINERS[method].takes_threshold else {}
        chosen = {**own, **settings.get(method, {})}
        seconds, start = 0.0, time.perf_counter()
        for explanations in EXPLAINERS[method].stream_all(embedder, *pair, embeddings=embeddings, **chosen):
            seconds += time.perf_counter() - start
            yield MethodResult(method, explanations, seconds)
            start = time.perf_counter()


def explain_pair(
    embedder: Any,
    verification: Verification,
    methods: Sequence[str] = DEFAULT_METHODS,
    **options: Any,
) -> PairExplanation:
    """Explains a verdict: the last steps of `stream_explanations`, with the same arguments and errors."""
    last = {step.method: step for step in stream_explanations(embedder, verification, methods, **options)}
    return PairExplanation(verification, tuple(last.values()))


def provenance(embedder: Any, command: str | None = None) -> dict[str, Any]:
    """What numbers depend on beside the photos, to be kept with them.

    Args:
        embedder: The model.
        command: What repeats the result.

    Returns:
        Plain values for JSON: the model's sha256 and engine, where it has them, the versions of this package
        and of those that the numbers come from, and the command.
    """
    return {
        "model_sha256": getattr(embedder, "sha256", None),
        "engine": getattr(embedder, "engine", None),
        "versions": library_versions(),
        "command": command,
    }


def library_versions() -> dict[str, str]:
    """The versions of this package and of the libraries that decide on its numbers."""
    names = ("tensorflow", "openvino", "mtcnn", "opencv-python-headless", "numpy", "pillow")
    versions = {"xfv-demo": __version__}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


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
