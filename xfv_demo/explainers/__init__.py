"""The methods that explain a verdict, one a module, and `EXPLAINERS`, which has them by name.

Each takes an embedder first, then its own settings by keyword.

Example:
    >>> import numpy as np
    >>> from xfv_demo import EXPLAINERS
    >>> class Colours:  # a model that compares the mean colours of faces
    ...     def embed(self, images):
    ...         means = images.mean(axis=(1, 2))
    ...         return means / np.linalg.norm(means, axis=1, keepdims=True)
    >>> red, blue = np.full((2, 112, 112, 3), 0.1, np.float32)
    >>> red[..., 0] = blue[..., 2] = 0.9
    >>> explanation = EXPLAINERS["occlusion"](Colours(), patch_sizes=(28,), stride=28).explain(red, blue)
    >>> explanation.probe_map.shape, explanation.progress
    ((112, 112), 1.0)
"""

from xfv_demo.explainers.base import EXPLAINERS as EXPLAINERS

# isort: off
# A line registers a method. They are offered in this order.
from xfv_demo.explainers.mean_face import MeanFaceExplainer as MeanFaceExplainer
from xfv_demo.explainers.occlusion import OcclusionExplainer as OcclusionExplainer
from xfv_demo.explainers.xssab import XssabExplainer as XssabExplainer
from xfv_demo.explainers.integrated_gradients import (
    IntegratedGradientsExplainer as IntegratedGradientsExplainer,
)
from xfv_demo.explainers.grid_cells import GridExplainer as GridExplainer
from xfv_demo.explainers.xcos import XcosExplainer as XcosExplainer
from xfv_demo.explainers.fggb import FggbExplainer as FggbExplainer
from xfv_demo.explainers.corrrise import CorrRiseExplainer as CorrRiseExplainer
from xfv_demo.explainers.frequency import FrequencyExplainer as FrequencyExplainer
