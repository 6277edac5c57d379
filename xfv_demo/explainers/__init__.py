"""The methods that explain a verdict, one a module, and `EXPLAINERS`, which has them by name.

Each takes an embedder first, then its own settings by keyword.
"""

from xfv_demo.explainers.base import EXPLAINERS as EXPLAINERS

# isort: off
# A line registers a method. They are offered in this order.
from xfv_demo.explainers.occlusion import OcclusionExplainer as OcclusionExplainer
from xfv_demo.explainers.xssab import XssabExplainer as XssabExplainer
from xfv_demo.explainers.grid import GridExplainer as GridExplainer
from xfv_demo.explainers.xcos import XcosExplainer as XcosExplainer
from xfv_demo.explainers.fggb import FggbExplainer as FggbExplainer
from xfv_demo.explainers.corrrise import CorrRiseExplainer as CorrRiseExplainer
