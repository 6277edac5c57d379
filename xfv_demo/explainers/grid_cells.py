"""The cosine as an exact sum over the cells of the network's last feature grid.

After Stylianou, Souvenir and Pless, "Visualizing Deep Similarity Networks" (WACV 2019, arXiv 1901.00536), who
do this for networks that pool their last grid. It holds wherever all that follows the grid is affine.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.errors import ModelError
from xfv_demo.explainers.base import register
from xfv_demo.explainers.batching import BatchExplainer, BatchStep
from xfv_demo.explainers.explanation import Explanation, View, enlarged_cells
from xfv_demo.explainers.inputs import aligned_pair, check_batch_size, distinct_photos
from xfv_demo.models.base import AffineGridEmbedder
from xfv_demo.types import FloatArray


@dataclass(frozen=True, eq=False)
class GridDecomposition:
    """A pair's cosine similarity, taken apart twice: over the cells of either photo.

    Attributes:
        probe_cells: (h, w) float64: what each cell of the probe adds to the similarity.
        probe_constant: What the head's bias adds, the same for each cell's place. With the cells it makes the
            similarity.
        reference_cells: (h, w) float64, the same of the reference.
        reference_constant: The same of the reference.
        similarity: The cosine similarity, in [-1, 1].
    """

    probe_cells: np.ndarray
    probe_constant: float
    reference_cells: np.ndarray
    reference_constant: float
    similarity: float


@register
class GridExplainer(BatchExplainer):
    """The exact additive decomposition of the cosine: no approximation, one pass.

    With F the last feature grid of a photo, whose embedding before its normalisation is e = b + the sum over
    cells of L_ij F_ij, and ê' the other photo's embedding of length 1, the cosine similarity is the sum over
    cells of (L_ij F_ij . ê') / ||e||, and of (b . ê') / ||e||. The former are the map: positive raises the
    similarity, negative lowers it. In `numbers`, "probe_constant" and "reference_constant" are the latter,
    which no place in the photo can be charged with; "cells" in `parts` has the cells as they are. In
    `interactions` is (L_ij F_ij . L'_kl F'_kl) / (||e|| ||e'||): which cell of one face answers which of the
    other (second-order attributions, Moeller et al., TMLR 2025, arXiv 2408.14153; exact here). A cell's share
    is their sum over the other face's cells and what it has with the other's bias. The stream has a single
    step. Embeddings that are known are not used: they follow from the cells.

    Attributes:
        parameters: None; for reports.

    Args:
        embedder: Any object with the methods that `AffineGridEmbedder` describes.
        batch_size: Not used: there is one pass. Taken so that all explainers can be made alike.

    Raises:
        ModelError: The embedder shows no grid, or what follows its grid is not affine.
    """

    name: ClassVar[str] = "grid"
    title: ClassVar[str] = "Grid cells (exact)"
    short_title: ClassVar[str] = "Grid cells"
    gist: ClassVar[str] = "the similarity as an exact sum"
    about: ClassVar[str] = (
        "the network's last features lie on a grid, and the similarity is a sum over its cells. The map is "
        "that sum, exact; but a cell sees much of the face around it."
    )
    duration: ClassVar[str] = "at once"
    work_order: ClassVar[int] = 2

    def __init__(self, embedder: AffineGridEmbedder, *, batch_size: int = 1) -> None:
        if not hasattr(embedder, "feature_grid") or not hasattr(embedder, "affine_head"):
            raise ModelError(
                "the grid decomposition needs an embedder's last feature grid and what follows it, and this "
                "embedder has no feature_grid and affine_head; take one that has, such as load_embedder "
                'gives, or the method "occlusion"'
            )
        check_batch_size(batch_size)
        self._embedder = embedder
        self._head = embedder.affine_head
        self.parameters: dict[str, Any] = {}

    @classmethod
    def views(cls, explanations: Mapping[Any, Explanation]) -> tuple[View, ...]:
        """As `Explainer.views`: the cells interpolated, and as they are."""
        explanation = explanations[cls.name]
        return (
            View("smooth", "between the cells", explanation.unscaled),
            View("cells", "cell by cell", explanation.parts["cells"]),
        )

    def decompose(self, probe: ArrayLike, reference: ArrayLike) -> GridDecomposition:
        """Takes a pair's cosine apart.

        Args:
            probe: (112, 112, 3) aligned face, RGB, in [0, 1].
            reference: (112, 112, 3) aligned face, RGB, in [0, 1].

        Returns:
            The cells' shares and the constants.

        Raises:
            ValueError: A photo is not of that kind.
        """
        cells, constants, similarities, _ = self._decompose(np.stack(aligned_pair(probe, reference))[:, None])
        return GridDecomposition(
            cells[0, 0],
            float(constants[0, 0]),
            cells[1, 0],
            float(constants[1, 0]),
            float(similarities[0]),
        )

    def _decompose(
        self, photos: FloatArray
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The cells' shares (2, B, h, w), the constants (2, B), the similarities (B,), the interactions."""
        distinct, places = distinct_photos(photos)
        # In double precision: the bias can be larger than the embedding, and the cells then cancel it.
        cells = self._head.cells(self._embedder.feature_grid(distinct)).astype(np.float64)[places]
        bias = self._head.bias.astype(np.float64)
        embeddings = cells.sum(axis=(2, 3)) + bias
        lengths = np.linalg.norm(embeddings, axis=-1)
        if not (np.isfinite(lengths).all() and lengths.all()):
            raise ModelError(
                "the embedder gives embeddings that have no direction; no cosine can be taken apart"
            )
        units = embeddings / lengths[..., None]
        shares = np.einsum("sbhwd,sbd->sbhw", cells, units[::-1]) / lengths[..., None, None]
        probes, references = cells / lengths[..., None, None, None]
        interactions = np.einsum("bhwd,bijd->bhwij", probes, references)
        return shares, units[::-1] @ bias / lengths, np.einsum("bd,bd->b", *units), interactions

    def _steps(
        self, photos: FloatArray, _embeddings: NDArray[np.float64] | None, mapped: int
    ) -> Iterator[BatchStep]:
        cells, constants, similarities, interactions = self._decompose(photos)
        yield BatchStep(
            enlarged_cells(cells[:mapped], smooth=True),
            1 - similarities,
            1.0,
            parts={"cells": enlarged_cells(cells[:mapped], smooth=False)},
            numbers={"probe_constant": constants[0], "reference_constant": constants[1]},
            interactions=interactions,
        )
