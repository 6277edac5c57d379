"""xCos: a trained similarity that is a sum over places, shown place by place.

Lin et al., "xCos: An Explainable Cosine Metric for Face Verification Task" (ACM TOMM 2021, arXiv 2003.05383),
section 3. The module itself is `xfv_demo.models.xcos_head`.
"""

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfv_demo.errors import ModelError
from xfv_demo.explainers.base import register
from xfv_demo.explainers.batching import BatchExplainer, BatchStep
from xfv_demo.explainers.explanation import Explanation, View, enlarged_cells
from xfv_demo.explainers.inputs import check_batch_size, distinct_photos
from xfv_demo.models.base import GridEmbedder
from xfv_demo.models.similarity import cosine_distance
from xfv_demo.types import FloatArray

if TYPE_CHECKING:
    from xfv_demo.models.xcos_head import TrainedHead


@register
class XcosExplainer(BatchExplainer):
    """xCos's maps: how alike the photos are in each cell, how much each cell counts, and the product.

    The product's sum over the cells is the similarity that the head gives the pair; it is near the embedder's
    own cosine, and not equal to it: what is explained is the head's answer. "xcos" in `numbers` has it. The
    product, interpolated between the cells, is the map; "product", "grid_cosine" and "attention" in `parts`
    are the cells as they are. Both photos have the same maps, as cells are compared place by place. The
    stream has a single step.

    Attributes:
        parameters: The head's origin, in plain values for reports.

    Args:
        embedder: Any object with the methods that `GridEmbedder` describes.
        head: A trained head, or the folder that holds one; where None, the user's own for the embedder's
            name, or the one that comes with this program.
        batch_size: Not used: there is one pass. Taken so that all explainers can be made alike.

    Raises:
        ModelError: The embedder shows no grid, or there is no head for it.
    """

    name: ClassVar[str] = "xcos"
    title: ClassVar[str] = "Local cosines (xCos)"
    short_title: ClassVar[str] = "xCos"
    gist: ClassVar[str] = "a trained head, place by place"
    about: ClassVar[str] = (
        "a small trained head compares the faces cell by cell, and weighs each cell. Its answer is near the "
        "model's own, not equal. Purple is that weight, whichever way the cell speaks."
    )
    duration: ClassVar[str] = "at once"
    work_order: ClassVar[int] = 3
    trained: ClassVar[bool] = True

    def __init__(
        self,
        embedder: GridEmbedder,
        *,
        head: "TrainedHead | str | os.PathLike[str] | None" = None,
        batch_size: int = 1,
    ) -> None:
        if not hasattr(embedder, "feature_grid"):
            raise ModelError(
                "xCos needs an embedder's last feature grid, and this embedder has no feature_grid; take one "
                'that has, such as load_embedder gives, or the method "occlusion"'
            )
        check_batch_size(batch_size)
        if head is None or isinstance(head, str | os.PathLike):
            # Keras takes seconds to import, so not before a head is needed.
            from xfv_demo.models.xcos_head import load_head

            head = load_head(embedder, head)
        self._embedder = embedder
        self._head = head
        self.parameters: dict[str, Any] = {"head": self._head.model, "channels": self._head.network.channels}

    @classmethod
    def views(cls, explanations: Mapping[Any, Explanation]) -> tuple[View, ...]:
        """As `Explainer.views`: the product, what it is made of, and the product cell by cell."""
        explanation = explanations[cls.name]
        return (
            View("product", "cosine times attention", explanation.unscaled),
            View("cosine", "grid cosine", explanation.parts["grid_cosine"]),
            View("attention", "attention", explanation.parts["attention"], is_evidence=False),
            View("cells", "product, cell by cell", explanation.parts["product"]),
        )

    def _steps(
        self, photos: FloatArray, embeddings: NDArray[np.float64] | None, mapped: int
    ) -> Iterator[BatchStep]:
        distinct, places = distinct_photos(photos)
        projected = self._head.project(self._embedder.feature_grid(distinct))[places]
        compared = self._head.compare(*projected)
        if not np.isfinite(compared["similarity"]).all():
            raise ModelError("the embedder gives a feature grid that is not finite; xCos cannot explain it")
        cells = {
            "product": compared["grid_cosine"] * compared["attention"],
            "grid_cosine": compared["grid_cosine"],
            "attention": compared["attention"],
        }
        yield BatchStep(
            np.stack([enlarged_cells(cells["product"], smooth=True)] * mapped),
            cosine_distance(*self._unit_embeddings(photos, embeddings)),
            1.0,
            parts={
                name: np.stack([enlarged_cells(values, smooth=False)] * mapped)
                for name, values in cells.items()
            },
            numbers={"xcos": compared["similarity"]},
        )
