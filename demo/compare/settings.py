"""What the page's settings ask for, in the words of the package."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from demo.model_service import ModelConfig
from xfv_demo.errors import XfvError
from xfv_demo.explainers.occlusion import PATCH_SIZES
from xfv_demo.models.openvino import Precision


def choice_of(model: str, precision: Precision, calibration: str) -> ModelConfig:
    """What the settings ask for.

    Args:
        model: As `load_embedder` takes it.
        precision: What it computes in.
        calibration: "dataset:method", or "" for the model's own.
    """
    dataset, _, method = calibration.rpartition(":")
    return ModelConfig(model, precision, dataset or None, method or None)


def occlusion_settings(patch_sizes: Sequence[int], fill: str, geometry: str) -> dict[str, Any]:
    """The settings of occlusion that differ from x-Face's.

    Args:
        patch_sizes: In pixels.
        fill: As for `OcclusionExplainer`.
        geometry: As for `OcclusionExplainer`.

    Raises:
        XfvError: No patch size was chosen.
    """
    if not patch_sizes:
        raise XfvError("no patch size is chosen for occlusion; tick at least one under Settings")
    settings: dict[str, Any] = {}
    if sorted(patch_sizes) != sorted(PATCH_SIZES):
        settings["patch_sizes"] = sorted(patch_sizes)
    if fill != "black":
        settings["fill"] = fill
    if fill == "noise":
        settings["rng"] = np.random.default_rng(0)
    if geometry != "published":
        settings["geometry"] = geometry
    return settings
