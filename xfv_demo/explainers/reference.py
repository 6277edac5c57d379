"""What is usual: how strong maps are, by region of the face, among labelled pairs.

A map alone tells where evidence lies, not whether it is much: of two strangers most evidence may speak for a
match, as it does for nearly all strangers. So of each method and model is kept, in the method's own unit, how
strong the evidence of each region is among pairs of one person and of two, and how strong maps are at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from xfv_demo.calibration.storage import file_name
from xfv_demo.errors import CalibrationError
from xfv_demo.explainers.explanation import MapPair
from xfv_demo.faces.regions import REGION_GROUPS
from xfv_demo.runtime.paths import assets_folder, cache_folder

FORMAT = "xfv-demo evidence reference"
FORMAT_VERSION = 1

WHOLE = "whole"
"""What the whole of both maps is known by, among the regions' keys."""

PERCENTILES = (0, 1, 2, 5, *range(10, 91, 5), 95, 98, 99, 100)
"""Which of a set's strengths are kept; what lies between is interpolated."""

# The absolute value with the strongest colour is this percentile of the set's.
_FULL_COLOUR = 95.0
# Settings are the same where numbers among them differ by less.
_SAME_SETTING = 1e-3
_DIGITS = 5

_Strengths = Annotated[list[float], Field(min_length=len(PERCENTILES), max_length=len(PERCENTILES))]


class ViewReference(BaseModel):
    """How strong one view of a method is among a set's pairs.

    Attributes:
        full_colour: The 95th percentile of the absolute values of all pixels, in the method's own unit.
        genuine: By the keys of `REGION_GROUPS` and `WHOLE`, the `PERCENTILES` of `region_strengths` among
            pairs of one person. Empty for a view that is no evidence.
        impostor: The same among pairs of two people.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    full_colour: Annotated[float, Field(ge=0)]
    genuine: Mapping[str, _Strengths]
    impostor: Mapping[str, _Strengths]

    @model_validator(mode="after")
    def _check(self) -> Self:
        expected = {WHOLE, *(region.key for region in REGION_GROUPS)}
        for strengths in (self.genuine, self.impostor):
            if strengths and set(strengths) != expected:
                raise ValueError("the regions are not those of this program")
            if any(np.any(np.diff(several) < 0) for several in strengths.values()):
                raise ValueError("percentiles must not fall")
        return self

    @classmethod
    def of(
        cls, strengths: Sequence[Mapping[str, float]], genuine: Sequence[bool], sizes: NDArray[np.float32]
    ) -> Self:
        """Of what was measured on labelled pairs.

        Args:
            strengths: Of each pair, as from `region_strengths`; empty ones of a view that is no evidence.
            genuine: Of each, whether it shows one person; both must come.
            sizes: Absolute values of the maps' pixels, of all or of an even part of them.
        """
        labels = np.asarray(genuine, np.bool_)
        sides: list[dict[str, list[float]]] = [{}, {}]
        for key in strengths[0]:
            values = np.array([one[key] for one in strengths])
            for kept, rows in zip(sides, (labels, ~labels), strict=True):
                kept[key] = [_rounded(one) for one in np.percentile(values[rows], PERCENTILES)]
        return cls(
            full_colour=_rounded(float(np.percentile(sizes, _FULL_COLOUR))),
            genuine=sides[0],
            impostor=sides[1],
        )

    def ranks(self, maps: MapPair) -> dict[str, "Rank"]:
        """Where a pair's maps stand among the set's pairs, by the keys of `genuine`."""
        if not self.genuine:
            return {}
        return {
            key: Rank(
                strength, *(_share_below(strength, side[key]) for side in (self.genuine, self.impostor))
            )
            for key, strength in region_strengths(maps).items()
        }


@dataclass(frozen=True)
class Rank:
    """Where a strength stands.

    Attributes:
        strength: As from `region_strengths`.
        above_genuine: The share of the set's pairs of one person that are weaker, in [0, 1].
        above_impostor: The same of pairs of two people.
    """

    strength: float
    above_genuine: float
    above_impostor: float


class EvidenceReference(BaseModel):
    """What is usual for a model on a set.

    Attributes:
        model: The model's name.
        model_sha256: A hash of it.
        dataset: The set's name.
        genuine_pairs: Of how many pairs of one person.
        impostor_pairs: Of how many of two.
        methods: By method, its settings.
        views: By method and view.
        command: What repeats it.
        date: When it was made.
        versions: Of the libraries that it was made with.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    format: Annotated[str, Field(pattern=f"^{FORMAT}$")] = FORMAT
    version: Annotated[int, Field(le=FORMAT_VERSION)] = FORMAT_VERSION
    model: str
    model_sha256: str
    dataset: str
    genuine_pairs: Annotated[int, Field(ge=1)]
    impostor_pairs: Annotated[int, Field(ge=1)]
    methods: Mapping[str, Mapping[str, Any]]
    views: Mapping[str, Mapping[str, ViewReference]]
    command: str = ""
    date: str = ""
    versions: Mapping[str, str] = {}

    @classmethod
    def parse(cls, text: str, name: str) -> Self:
        """Reads a file's text.

        Args:
            text: JSON.
            name: What messages call the file.

        Raises:
            CalibrationError: It is none of this kind.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            place = ".".join(map(str, fault["loc"])) or "whole"
            raise CalibrationError(
                f'"{name}" is no reference of evidence that this program can read ({place}: {fault["msg"]}); '
                "make it anew with: python -m xfv_demo reference"
            ) from error

    def of_views(self, method: str, parameters: Mapping[str, Any]) -> Mapping[str, ViewReference]:
        """What is known of a method's views; nothing where its settings were others.

        Args:
            method: A key of `EXPLAINERS`.
            parameters: As `Explanation.parameters`.
        """
        if method not in self.methods or not _same_settings(self.methods[method], parameters):
            return {}
        return self.views.get(method, {})


def region_strengths(maps: MapPair) -> dict[str, float]:
    """How strong the evidence of a pair's regions is.

    Args:
        maps: In the method's own unit.

    Returns:
        By the keys of `REGION_GROUPS` and `WHOLE`, the mean over the region's pixels in both photos.
    """
    both = np.stack(maps).astype(np.float64).mean(axis=0)
    return {**{one.key: float(both[one.mask].mean()) for one in REGION_GROUPS}, WHOLE: float(both.mean())}


def reference_path(model: str, dataset: str = "lfw") -> Path:
    """Where the reference command writes, and `find_reference` looks first: the user's folder.

    Raises:
        CalibrationError: As from `calibration_path`.
    """
    return cache_folder() / "references" / file_name(model, dataset)


def find_reference(embedder: Any, dataset: str = "lfw") -> EvidenceReference | None:
    """Finds what is usual for a model: the user's own file, else the one shipped with this program.

    Args:
        embedder: The model.
        dataset: Name of the labelled set that it was measured on.

    Returns:
        The reference; None where there is none for this very model, by its name and `sha256`.

    Raises:
        CalibrationError: A file is broken.
    """
    name, sha256 = (getattr(embedder, attribute, None) for attribute in ("name", "sha256"))
    if not name or not sha256:
        return None
    own = reference_path(name, dataset)
    for path in (own, assets_folder() / "references" / own.name):
        if path.is_file():
            found = EvidenceReference.parse(path.read_text(encoding="utf-8"), str(path))
            if (found.model, found.model_sha256, found.dataset) == (name, sha256, dataset):
                return found
    return None


def _share_below(strength: float, percentiles: Sequence[float]) -> float:
    """The share of a set that is weaker, by its percentiles."""
    values = np.asarray(percentiles)
    # Of equal percentiles, such as zeros, the middle: half of the equals count as weaker.
    low, high = (np.searchsorted(values, strength, side=side) for side in ("left", "right"))
    if high > low:
        return float(PERCENTILES[low] + PERCENTILES[high - 1]) / 200
    return float(np.interp(strength, values, PERCENTILES)) / 100


def _same_settings(kept: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    if set(kept) != set(given):
        return False
    return all(
        abs(kept[name] - value) <= _SAME_SETTING
        if isinstance(value, float) and isinstance(kept[name], float | int)
        else kept[name] == value
        for name, value in given.items()
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
