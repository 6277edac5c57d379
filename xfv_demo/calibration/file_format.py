"""The file of a calibration: JSON, a line for each field."""

import datetime
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xfv_demo.calibration.calibrators import CALIBRATORS, SIZED_METHOD, first_fault
from xfv_demo.calibration.evidence import DistanceHistogram
from xfv_demo.calibration.face_sizes import SizeCorrection
from xfv_demo.errors import CalibrationError, printable
from xfv_demo.metrics.decision import LARGEST_DISTANCE

_FORMAT = "xfv-demo calibration"
# 2: with `sizes`; files of version 1 have none.
_FORMAT_VERSION = 2
_RATE_DIGITS = 7

_Count = Annotated[int, Field(ge=0, lt=2**31)]


class _Histograms(BaseModel):
    model_config = ConfigDict(strict=True)

    genuine: list[_Count]
    impostor: list[_Count]


class CalibrationFile(BaseModel):
    """What `to_text` writes, as far as it is read: fields that are not here do not matter."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    # These three first, as a fault in the first field is the one that is told.
    format: Annotated[str, Field(pattern=f"^{_FORMAT}$")]
    version: Annotated[int, Field(le=_FORMAT_VERSION)]
    method: Annotated[str, Field(pattern=f"^({'|'.join((*CALIBRATORS, SIZED_METHOD))})$")]
    parameters: dict[str, Any]
    threshold: float
    eer: float
    eer_threshold: float
    sizes: SizeCorrection | None = None
    histograms: _Histograms
    genuine_pairs: int
    impostor_pairs: int
    bins: int
    k0: float
    model: str | None
    model_sha256: str | None
    dataset: str | None
    folds: int | None
    held_out_fold: int | None
    date: datetime.date
    library_versions: dict[str, str]
    elub: tuple[float, float] | None = None  # Not in files from before 0.3.


def to_text(fields: Mapping[str, Any], histogram: DistanceHistogram) -> str:
    """A calibration as JSON, a line for each field.

    `histograms` carry the evidence. `error_rates` follow from them and are there for readers that would not
    count: rates at evenly spaced thresholds from `first` to `last`.

    Args:
        fields: The fields of `CalibrationFile` but for the format's own, and the histograms.
        histogram: Of the pairs.

    Returns:
        The text, with a line feed at its end.
    """
    rates = histogram.error_rates
    span = {"first": 0, "last": LARGEST_DISTANCE}
    data = {
        "format": _FORMAT,
        "version": _FORMAT_VERSION,
        **fields,
        "histograms": {
            **span,
            "genuine": histogram.genuine.tolist(),
            "impostor": histogram.impostor.tolist(),
        },
        "error_rates": {
            **span,
            "fmr": rates.fmr.round(_RATE_DIGITS).tolist(),
            "fnmr": rates.fnmr.round(_RATE_DIGITS).tolist(),
        },
    }
    lines = (
        f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'), allow_nan=False)}"
        for name, value in data.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def parse(text: str) -> CalibrationFile:
    """The fields of a file.

    Raises:
        CalibrationError: If the text is not a calibration, or was written by a newer version of this program.
    """
    try:
        return CalibrationFile.model_validate_json(text)
    except ValidationError as error:
        raise CalibrationError(_in_one_line(error)) from error


def _in_one_line(error: ValidationError) -> str:
    """What keeps a file from being a calibration, and what to do."""
    fault = error.errors(include_url=False)[0]
    match fault["type"], fault["loc"]:
        case "json_invalid" | "string_unicode", ():
            return "this is no calibration: it is not JSON"
        case _, () | ("format",):
            return "this is no calibration of xfv_demo; make one with: python -m xfv_demo calibrate"
        case "less_than_equal", _:
            return (
                f"this calibration has format {fault['input']}, but this program knows none beyond "
                f"{_FORMAT_VERSION}; update the program"
            )
        case "string_pattern_mismatch", _:
            return (
                f"this calibration has the unknown method {printable(fault['input'])!r}; update the program"
            )
    return f"this calibration is broken: its field {first_fault(error)}"
