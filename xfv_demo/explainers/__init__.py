"""The methods that explain a verdict, one a module, and `EXPLAINERS`, which has them by name."""

from collections.abc import Mapping
from types import MappingProxyType

from xfv_demo.explainers.base import Explainer
from xfv_demo.explainers.corrrise import CorrRiseExplainer
from xfv_demo.explainers.fggb import FggbExplainer
from xfv_demo.explainers.grid import GridExplainer
from xfv_demo.explainers.occlusion import OcclusionExplainer
from xfv_demo.explainers.xcos import XcosExplainer
from xfv_demo.explainers.xssab import XssabExplainer

# Each takes an embedder first, then its own settings by keyword.
_CLASSES: tuple[type[Explainer], ...] = (
    OcclusionExplainer,
    XssabExplainer,
    GridExplainer,
    XcosExplainer,
    FggbExplainer,
    CorrRiseExplainer,
)
EXPLAINERS: Mapping[str, type[Explainer]] = MappingProxyType({cls.name: cls for cls in _CLASSES})
