"""What is kept of an explained pair: its figure, its maps, its report."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xfv_demo.explainers.explanation import View
from xfv_demo.pipeline import DEFAULT_METHODS, MethodResult, stream_explanations
from xfv_demo.plots.colours import Blend
from xfv_demo.plots.pair_figure import PairMaps, figure_png, pair_figure
from xfv_demo.runtime.files import json_text
from xfv_demo.types import Verification


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
            palette: A key of `plots.colours.PALETTES`.
            blend: How maps lie over the faces, as for `plots.colours.map_on_photo`.

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
            columns = [pair_maps(result, view) for view in result.views]
            drawn = pair_figure(
                self.verification, columns, palette=palette, blend=blend, sentence=self._sentence(result)
            )
            files[f"{result.method}.png"] = figure_png(drawn)
        if self.results:
            firsts = [pair_maps(result, result.views[0], result.title) for result in self.results]
            sentence = self._sentence(self.results[0])
            drawn = pair_figure(self.verification, firsts, palette=palette, blend=blend, sentence=sentence)
            files["figure.png"] = figure_png(drawn)
        return files

    def _sentence(self, result: MethodResult) -> str:
        return f"{result.title}, {result.views[0].label}. {result.summary}"


def pair_maps(result: MethodResult, view: View, title: str | None = None) -> PairMaps:
    """A view, ready for a figure: both photos' maps on one scale.

    Args:
        result: Of the method.
        view: One of its views.
        title: What to call it; the view's label where None.
    """
    return PairMaps(
        title or view.label,
        *view.maps,
        result.scale(view),
        view.is_evidence,
        on_face=view.domain == "face",
    )


def explain_pair(
    embedder: Any,
    verification: Verification,
    methods: Sequence[str] = DEFAULT_METHODS,
    **options: Any,
) -> PairExplanation:
    """Explains a verdict: the last steps of `stream_explanations`, with the same arguments and errors."""
    last = {step.method: step for step in stream_explanations(embedder, verification, methods, **options)}
    return PairExplanation(verification, tuple(last.values()))
