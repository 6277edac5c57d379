"""xCos: a trained similarity that is a sum over places, shown place by place.

Lin et al., "xCos: An Explainable Cosine Metric for Face Verification Task" (ACM TOMM 2021, arXiv 2003.05383),
section 3. The module itself is `xfv_demo.xcos.head`.
"""

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.embedding import GridEmbedder
from xfv_demo.errors import ModelError
from xfv_demo.explainers.base import (
    Explainer,
    Explanation,
    MapPair,
    View,
    aligned_pair,
    enlarged_cells,
)
from xfv_demo.similarity import cosine_distance, unit_embeddings
from xfv_demo.types import FloatArray

if TYPE_CHECKING:
    from xfv_demo.xcos.head import TrainedHead


class XcosExplainer(Explainer):
    """xCos's maps: how alike the photos are in each cell, how much each cell counts, and the product.

    The product's sum over the cells is the similarity that the head gives the pair; it is near the embedder's
    own cosine, and not equal to it: what is explained is the head's answer. "xcos" in `numbers` has it. The
    product, interpolated between the cells, is the map; "product", "grid_cosine" and "attention" in `parts`
    are the cells as they are. Both photos have the same maps, as cells are compared place by place.

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
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        # Keras takes seconds to import, so not before a head is needed.
        from xfv_demo.xcos.head import load_head

        self._embedder = embedder
        self._head = (
            load_head(embedder, head) if head is None or isinstance(head, str | os.PathLike) else head
        )
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

    def stream(self, probe: ArrayLike, reference: ArrayLike) -> Iterator[Explanation]:
        """As `Explainer.stream`; a single step."""
        return self._steps(np.stack(aligned_pair(probe, reference)))

    def _steps(self, photos: FloatArray) -> Iterator[Explanation]:
        projected = self._head.project(self._embedder.feature_grid(photos))
        compared = self._head.compare(projected[:1], projected[1:])
        (cosines,), (attention,) = compared["grid_cosine"], compared["attention"]
        (similarity,) = compared["similarity"]
        if not np.isfinite(similarity):
            raise ModelError("the embedder gives a feature grid that is not finite; xCos cannot explain it")
        product = cosines * attention
        yield Explanation.from_maps(
            self.name,
            [enlarged_cells(product, smooth=True)] * len(photos),
            distance=float(cosine_distance(*unit_embeddings(self._embedder.embed(photos), 2))),
            progress=1.0,
            parameters=self.parameters,
            parts={
                name: MapPair(*(enlarged_cells(cells, smooth=False) for _ in photos))
                for name, cells in (("product", product), ("grid_cosine", cosines), ("attention", attention))
            },
            numbers={"xcos": float(similarity)},
        )
