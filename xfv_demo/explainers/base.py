"""What an explainer is, and those that there are by name.

An explainer is a class for one method: the embedder and the settings go into its constructor, the two aligned
faces into `stream` or `explain`. There are two kinds, told apart by the embedder that they ask for: those
that only call it (`Embedder`), and those that differentiate it (`GradientEmbedder`).
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.explainers.explanation import Explanation, View
from xfv_demo.explainers.inputs import checked_batch, known_embeddings
from xfv_demo.types import FloatArray


class Explainer(ABC):
    """One method of explaining what an embedder makes of a pair of faces.

    Attributes:
        name: The method's key in `EXPLAINERS`.
        title: What people call the method.
        short_title: The same in a word or two, for tables; the title where empty.
        gist: What it does, in a few words.
        about: What its maps say and where they mislead, in a few sentences.
        duration: How long it takes with the bundled model on two cores, in a few words.
        work_order: Of several methods, those of lower numbers are the first to work, so that something is
            seen at once.
        needs_gradients: Whether it differentiates the embedder.
        takes_threshold: Whether it takes `threshold`, that of equal error rate on the cosine similarity.
        slow: Whether it needs hundreds of passes through the model for a pair.
        trained: Whether it needs something that was trained for the model.
        parameters: The settings, in plain values for reports; those in `EXPLAINERS` have them.

    Args:
        embedder: The model, with the methods that the explainer needs.
        **settings: The method's own.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    short_title: ClassVar[str] = ""
    gist: ClassVar[str] = ""
    about: ClassVar[str] = ""
    duration: ClassVar[str] = ""
    work_order: ClassVar[int] = 10
    needs_gradients: ClassVar[bool] = False
    takes_threshold: ClassVar[bool] = False
    slow: ClassVar[bool] = False
    trained: ClassVar[bool] = False
    parameters: dict[str, Any]

    @abstractmethod
    def __init__(self, embedder: Any, **settings: Any) -> None: ...

    @classmethod
    def stream_all(
        cls,
        embedder: Any,
        probe: ArrayLike,
        reference: ArrayLike,
        *,
        embeddings: ArrayLike | None = None,
        **settings: Any,
    ) -> Iterator[Mapping[Any, Explanation]]:
        """Explains a pair step by step in all variants that the method has, in one pass.

        Args:
            embedder: As for the constructor.
            probe: (112, 112, 3) aligned face, RGB, in [0, 1].
            reference: (112, 112, 3) aligned face, RGB, in [0, 1].
            embeddings: (2, D), what this embedder gives for the two photos, where that is known already.
            **settings: As for the constructor.

        Returns:
            In each step an explanation for each variant; for a method without variants, one under its `name`.

        Raises:
            ValueError: As from the constructor and `stream`.
            ModelError: As from the constructor and `stream`.
        """
        steps = cls(embedder, **settings)._stream(probe, reference, embeddings)
        return ({cls.name: step} for step in steps)

    @classmethod
    def views(cls, explanations: Mapping[Any, Explanation]) -> tuple[View, ...]:
        """What there is to see of a pair.

        Args:
            explanations: A step of `stream_all`.

        Returns:
            The views, the most telling one first.
        """
        return tuple(View(str(key), cls.title, step.unscaled) for key, step in explanations.items())

    @abstractmethod
    def stream(self, probe: ArrayLike, reference: ArrayLike) -> Iterator[Explanation]:
        """Explains a pair step by step.

        Every step is a whole explanation, an estimate of the final one. Which steps there are does not depend
        on what was explained before. To stop early, close the iterator or forget it.

        Args:
            probe: (112, 112, 3) aligned face, RGB, in [0, 1].
            reference: (112, 112, 3) aligned face, RGB, in [0, 1].

        Returns:
            At least one explanation; `progress` grows to 1, which the last one has.

        Raises:
            ValueError: A photo is not of that kind.
            ModelError: The embedder gives numbers that cannot be used.
        """

    def _stream(
        self, probe: ArrayLike, reference: ArrayLike, embeddings: ArrayLike | None
    ) -> Iterator[Explanation]:
        """As `stream`; a method that has a use for embeddings that are known takes them here."""
        known_embeddings(embeddings, (2,))
        return self.stream(probe, reference)

    def explain(
        self, probe: ArrayLike, reference: ArrayLike, *, embeddings: ArrayLike | None = None
    ) -> Explanation:
        """Explains a pair: the last item of `stream`.

        Args:
            probe: As for `stream`.
            reference: As for `stream`.
            embeddings: (2, D), what this embedder gives for the two photos, where that is known already. A
                method that needs them computes them where None.

        Returns:
            The final explanation.

        Raises:
            ValueError: As from `stream`, or the embeddings are not of that shape.
            ModelError: As from `stream`.
        """
        return deque(self._stream(probe, reference, embeddings), maxlen=1).pop()

    def explain_batch(
        self, probes: ArrayLike, references: ArrayLike, *, embeddings: ArrayLike | None = None
    ) -> list[Explanation]:
        """Explains many pairs, sharing between them what can be shared.

        The memory that it takes grows with their number; some dozens at once are as fast as more.

        Args:
            probes: (B, 112, 112, 3) aligned faces, RGB, in [0, 1]. B may be 0.
            references: (B, 112, 112, 3), what they are compared with, one each.
            embeddings: (2, B, D), what this embedder gives for all of them, where that is known already.

        Returns:
            Of each pair what `explain` gives, to rounding.

        Raises:
            ValueError: The photos are not of that kind, or the embeddings are not; says which.
            ModelError: The embedder gives numbers that cannot be used.
        """
        photos, known = checked_batch(probes, references, embeddings)
        each = [None] * photos.shape[1] if known is None else np.moveaxis(known, 1, 0)
        return [
            self.explain(*pair, embeddings=one)
            for pair, one in zip(np.moveaxis(photos, 1, 0), each, strict=True)
        ]

    def probe_map(self, probe: ArrayLike, reference: ArrayLike) -> FloatArray:
        """The map of the probe alone, in about half the time where a method works photo by photo.

        Args:
            probe: As for `stream`.
            reference: As for `stream`.

        Returns:
            (112, 112) float32, what `explain` gives as `probe_map`.

        Raises:
            ValueError: As from `stream`.
            ModelError: As from `stream`.
        """
        return self.explain(probe, reference).probe_map


_Class = TypeVar("_Class", bound=type[Explainer])
_registered: dict[str, type[Explainer]] = {}
EXPLAINERS: Mapping[str, type[Explainer]] = MappingProxyType(_registered)


def register(explainer: _Class) -> _Class:
    """Puts an explainer's class into `EXPLAINERS`, and so onto the command line and the page."""
    _registered[explainer.name] = explainer
    return explainer
