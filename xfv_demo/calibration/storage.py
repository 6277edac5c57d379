"""Where calibrations lie, and how they are found."""

import re
from pathlib import Path

from xfv_demo.calibration.calibration import Calibration
from xfv_demo.errors import CalibrationError, NoCalibrationError

_LONGEST_NAME = 100


def calibration_path(model: str, dataset: str = "lfw", method: str | None = None) -> Path:
    """Where the calibrate command writes, and `load_calibration` looks first: the user's folder.

    Args:
        model: Name of a model; signs that a file name should not have become hyphens.
        dataset: Name of a labelled set, likewise.
        method: A key of `CALIBRATORS`, for a calibration that stands beside the default one; None for the
            default.

    Returns:
        A path, whether or not there is a file.

    Raises:
        CalibrationError: If nothing is left of a name, or it is too long.
    """
    from xfv_demo.runtime.paths import cache_folder

    return cache_folder() / "calibrations" / file_name(model, dataset, method)


def load_calibration(model: str, dataset: str = "lfw", method: str | None = None) -> Calibration:
    """Finds the calibration of a model: the user's own, else the one shipped with this program.

    Args:
        model: Name of the model.
        dataset: Name of the labelled set that it was made on.
        method: The method that it was made by, a key of `CALIBRATORS`; whichever is the default where None.

    Returns:
        The calibration.

    Raises:
        NoCalibrationError: If there is none; the message says how to make one.
        CalibrationError: If its file is broken, or made for another model or data set.

    Example:
        >>> from xfv_demo import load_calibration
        >>> calibration = load_calibration("mobilefacenet")
        >>> calibration.dataset, calibration.method, round(calibration.threshold, 3)
        ('lfw', 'beta-size', 0.607)
    """
    from xfv_demo.runtime.paths import assets_folder

    shipped = assets_folder() / "calibrations"
    own = calibration_path(model, dataset).parent
    names = [file_name(model, dataset)] + ([file_name(model, dataset, method)] if method else [])
    for path in (folder / name for folder in (own, shipped) for name in names):
        if not path.is_file():
            continue
        calibration = Calibration.load(path)
        # Two names can become one file name.
        if calibration.model not in (model, None) or calibration.dataset not in (dataset, None):
            raise CalibrationError(
                f"{path}: this is the calibration of the model {calibration.model!r} on "
                f"{calibration.dataset!r}, not of {model!r} on {dataset!r}"
            )
        if method in (calibration.method, None):
            return calibration
        # What a size changes is beside the plain map, which is whole without it.
        if method == calibration.plain.method:
            return calibration.plain
    by = f" by the method {method!r}" if method else ""
    command = f"python -m xfv_demo calibrate --model {model} --data FOLDER"
    raise NoCalibrationError(
        f"there is no calibration of the model {model!r} on {dataset!r}{by}; make one with: "
        f"{command}{f' --method {method}' if method else ''}"
    )


def file_name(model: str, dataset: str, method: str | None = None) -> str:
    """What a file is called that is of a model, a labelled set and perhaps a method.

    Raises:
        CalibrationError: If nothing is left of a name, or it is too long.
    """
    parts = []
    for name in (model, dataset, *([method] if method else [])):
        part = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
        if not part or len(part) > _LONGEST_NAME:
            raise CalibrationError(
                f"{name!r} cannot name a calibration; take 1 to {_LONGEST_NAME} letters or digits"
            )
        parts.append(part)
    return "-".join(parts) + ".json"
