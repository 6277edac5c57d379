"""What the benchmark of explanations compares: every explainer, its variants, and maps that know nothing.

A contender maps the first face of a pair. Some share their work: one pass of occlusion serves three
comparisons, and a smoothed map is made of the map.
"""

import functools
import json
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from xfv_demo.errors import XfvError
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.explainers.base import Explainer
from xfv_demo.explainers.frequency import FrequencyExplainer
from xfv_demo.explainers.occlusion import COMPARISONS, OccludedEmbeddings, OcclusionExplainer
from xfv_demo.faces.regions import FACE_REGIONS
from xfv_demo.types import FloatArray

if TYPE_CHECKING:
    from xfv_demo.models.xcos_head import TrainedHead

RANDOM = "random"
CENTRE_PRIOR = "face-prior"  # Its key in reports and stores, which is older than its name.
BASELINES = (RANDOM, CENTRE_PRIOR)
COVERED = "occlusion-covered"

# As FGGB's authors blur their maps.
_SMOOTHING_SIGMA = 5.0
# Whose maps are rough; integrated gradients are blurred by definition.
_SMOOTHED = ("mean-face", "xssab", "fggb")
# Of 3, 6, 10, 15 and 25 pixels the best, if by little, in patch replacement on 240 pairs of LFW: the prior is
# to be as hard to beat as such a map can be.
_PRIOR_SIGMA = 10.0
# Patches of 14 and 28, 7 apart, all of the face covered alike: fewer masks than published.
_COVERED_SETTINGS: dict[str, Any] = {
    "comparison": "reference",
    "patch_sizes": (14, 28),
    "stride": 7,
    "geometry": "covered",
}

# More than there are, so that all come in one step.
_ALL_MASKS = 2**16


@dataclass(frozen=True)
class ComparedMethod:
    """One way of making a map.

    Attributes:
        key: A name for programs, such as "occlusion-all".
        title: A name for people.
        method: The explainer that it is of, a key of `EXPLAINERS`; the key itself for a baseline.
        slow: Whether it needs hundreds of passes through the model for a pair.
        trained: Whether it needs something that was trained for the model.
        settings: The explainer's settings that are not its defaults.
    """

    key: str
    title: str
    method: str
    slow: bool = False
    trained: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class AttributionRequest:
    """What a map is asked for.

    Attributes:
        probe: (112, 112, 3) float32, RGB, in [0, 1]: the face that the map is of.
        reference: (112, 112, 3), what it is compared with.
        accepted: Whether the model takes the two for one person.
        rng: Source of randomness for the random map.
    """

    probe: FloatArray
    reference: FloatArray
    accepted: bool
    rng: np.random.Generator


# From a pair to the probe's maps by contender.
_Maker = Callable[[AttributionRequest], Mapping[str, FloatArray]]


def _contenders() -> Iterator[ComparedMethod]:
    """Every explainer as it is, or its variants; then the baselines."""
    for method, explainer in EXPLAINERS.items():
        if method == FrequencyExplainer.name:
            continue  # Its maps are no places in the face, which all here is about.
        title = explainer.short_title or explainer.title
        about: dict[str, Any] = {"slow": explainer.slow, "trained": explainer.trained}
        if method == OcclusionExplainer.name:
            for comparison in COMPARISONS:
                yield ComparedMethod(f"{method}-{comparison}", f"{title}, {comparison}", method, **about)
            yield ComparedMethod(COVERED, f"{title}, covered", method, **about, settings=_COVERED_SETTINGS)
            continue
        yield ComparedMethod(method, title, method, **about)
        if method in _SMOOTHED:
            yield ComparedMethod(f"{method}-smooth", f"{title}, smoothed", method, **about)
    yield ComparedMethod(RANDOM, "Random", RANDOM)
    yield ComparedMethod(CENTRE_PRIOR, "Centre prior", CENTRE_PRIOR)


COMPARED_METHODS: Mapping[str, ComparedMethod] = {one.key: one for one in _contenders()}


def check_compared_methods(names: Sequence[str]) -> tuple[ComparedMethod, ...]:
    """Finds contenders by name.

    Args:
        names: Keys of `COMPARED_METHODS`, or of `EXPLAINERS` for all that are of that method.

    Returns:
        They and the baselines, in the order of `COMPARED_METHODS`.

    Raises:
        XfvError: A name is unknown.
    """
    unknown = [name for name in names if name not in COMPARED_METHODS and name not in EXPLAINERS]
    if unknown:
        raise XfvError(
            f'there is no explanation method "{unknown[0]}"; take some of {", ".join(EXPLAINERS)}, or, more '
            f"closely, of {', '.join(key for key in COMPARED_METHODS if key not in EXPLAINERS)}"
        )
    return tuple(
        one
        for one in COMPARED_METHODS.values()
        if one.key in names or one.method in names or one.key in BASELINES
    )


class AttributionRunner:
    """Makes the maps of contenders with one model.

    Attributes:
        fingerprints: By contender, what its maps depend on beside model and pair, to keep results by.
        refused: By contender that the model cannot be explained by, the reason.

    Args:
        embedder: The model.
        similarity_threshold: T, on the cosine similarity, for the methods that take one.
        contenders: Which.
        xcos_head: A head for xCos; the model's own where None.
        corrrise_seed: What CorrRISE's masks are drawn from; its default where None.
    """

    def __init__(
        self,
        embedder: Any,
        similarity_threshold: float,
        contenders: Sequence[ComparedMethod],
        *,
        xcos_head: "TrainedHead | None" = None,
        corrrise_seed: int | None = None,
    ) -> None:
        self.fingerprints: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self._makers: list[tuple[frozenset[str], _Maker]] = []
        own: dict[str, dict[str, Any]] = {}
        self._head = ""
        if xcos_head is not None:
            own["xcos"] = {"head": xcos_head}
            self._head = xcos_head.sha256
        if corrrise_seed is not None:
            own["corrrise"] = {"rng": np.random.default_rng(corrrise_seed)}
        wanted = [one.key for one in contenders]
        for method in dict.fromkeys(one.method for one in contenders):
            keys = frozenset(one.key for one in contenders if one.method == method)
            if method in BASELINES:
                maker = _random_map if method == RANDOM else _prior_map
                self._add({method: f"{method} {_PRIOR_SIGMA * (method == CENTRE_PRIOR)}"}, maker)
                continue
            known = {"threshold": similarity_threshold} if EXPLAINERS[method].takes_threshold else {}
            try:
                if method == OcclusionExplainer.name:
                    self._add_occlusion(embedder, keys)
                else:
                    self._add_explainer(EXPLAINERS[method](embedder, **known, **own.get(method, {})), keys)
            except XfvError as error:
                self.refused |= dict.fromkeys(keys, str(error))
        self.contenders = tuple(COMPARED_METHODS[key] for key in wanted if key in self.fingerprints)

    def maps(self, question: AttributionRequest, keys: Container[str]) -> dict[str, FloatArray]:
        """Makes maps of a pair's first face.

        Args:
            question: The pair.
            keys: Of which contenders; some come with others, whose work they share.

        Returns:
            By contender, (112, 112) float32, positive where it speaks for "same".

        Raises:
            ModelError: The model gives numbers that cannot be used.
        """
        made: dict[str, FloatArray] = {}
        for served, maker in self._makers:
            if any(key in keys for key in served):
                made |= maker(question)
        return {key: values for key, values in made.items() if key in self.fingerprints}

    def _add(self, fingerprints: Mapping[str, str], maker: _Maker) -> None:
        self.fingerprints |= fingerprints
        self._makers.append((frozenset(fingerprints), maker))

    def _add_occlusion(self, embedder: Any, keys: frozenset[str]) -> None:
        # A pair is asked about twice, with patches and without, and its second face is the same.
        cache = OccludedEmbeddings(capacity=6)
        published = keys - {COVERED}
        if published:
            all_at_once: dict[str, Any] = {"step_size": _ALL_MASKS, "cache": cache}
            settings = json.dumps(OcclusionExplainer(embedder).parameters, sort_keys=True)

            def of_published(question: AttributionRequest) -> dict[str, FloatArray]:
                pair = question.probe, question.reference
                last = deque(OcclusionExplainer.stream_all(embedder, *pair, **all_at_once), maxlen=1).pop()
                return {f"occlusion-{comparison}": one.probe_map for comparison, one in last.items()}

            self._add({key: f"{key} {settings}" for key in published}, of_published)
        if COVERED in keys:
            explainer = OcclusionExplainer(
                embedder, step_size=_ALL_MASKS, cache=cache, **COMPARED_METHODS[COVERED].settings
            )
            self._add_explainer(explainer, frozenset({COVERED}))

    def _add_explainer(self, explainer: Explainer, keys: frozenset[str]) -> None:
        about = {**explainer.parameters, "head_sha256": self._head if explainer.name == "xcos" else None}
        settings = json.dumps(about, sort_keys=True)
        plain = next((key for key in (explainer.name, COVERED) if key in keys), None)
        smooth = f"{explainer.name}-smooth"

        def of_explainer(question: AttributionRequest) -> dict[str, FloatArray]:
            values = explainer.probe_map(question.probe, question.reference)
            made = {} if plain is None else {plain: values}
            if smooth in keys:
                made[smooth] = np.asarray(cv2.GaussianBlur(values, (0, 0), _SMOOTHING_SIGMA))
            return made

        self._add(
            {key: f"{key} {settings} {_SMOOTHING_SIGMA * (key == smooth)}" for key in keys}, of_explainer
        )


def _random_map(question: AttributionRequest) -> dict[str, FloatArray]:
    shape = question.probe.shape[:2]
    return {RANDOM: question.rng.uniform(-1, 1, shape).astype(np.float32)}


def _prior_map(question: AttributionRequest) -> dict[str, FloatArray]:
    """The verdict, laid over the place where faces are: all evidence for it lies in the face, wherever."""
    return {CENTRE_PRIOR: _face_mask() if question.accepted else -_face_mask()}


@functools.cache
def _face_mask() -> FloatArray:
    """(112, 112) in [0, 1]: how surely a pixel is the face's, by the template, highest in its middle."""
    rest = next(region.mask for region in FACE_REGIONS if region.key == "rest")
    inside = np.asarray(~rest, np.float32)
    mask = np.asarray(cv2.GaussianBlur(inside, (0, 0), _PRIOR_SIGMA))
    mask.setflags(write=False)
    return mask
