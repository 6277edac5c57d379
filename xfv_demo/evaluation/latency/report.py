"""What was timed, as numbers and as plain values for JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Timing:
    """What one procedure took for the three comparisons on one pair.

    Attributes:
        procedure: "published", or the engine and precision of this package's.
        engine: What computed the embeddings.
        first_map: Seconds to the first map.
        alike: Seconds until all six maps correlate at least 0.95 with their final state, and stay so.
        total: Seconds to the end.
        steps: How many states of the maps there were to see on the way, the final one included.
        loaded_memory: Megabytes of the process with the model loaded and called once; None where the system
            does not tell.
        peak_memory: Megabytes of the process at most; None likewise.
        agreement: The lowest correlation of one of its six maps with that of the published procedure.
    """

    procedure: str
    engine: str
    first_map: float
    alike: float
    total: float
    steps: int
    loaded_memory: float | None
    peak_memory: float | None
    agreement: float


@dataclass(frozen=True)
class MethodTiming:
    """What one method of explanation took for one pair, by the engine that is the default for the model.

    Attributes:
        method: A key of `EXPLAINERS`.
        engine: What computed the embeddings.
        first_map: Seconds to the first map.
        total: Seconds to the end.
        steps: How many states of the maps there were to see on the way, the final one included.
    """

    method: str
    engine: str
    first_map: float
    total: float
    steps: int


@dataclass(frozen=True)
class StartTiming:
    """What a command took as a whole process, from its start; medians of several runs.

    Attributes:
        command: Its words, without photos, model and folder.
        first_output: Seconds until something was to be read.
        total: Seconds to its end.
        peak_memory: Megabytes at most; None where the system does not tell.
        runs: How many there were, after a first one that is not counted.
    """

    command: str
    first_output: float
    total: float
    peak_memory: float | None
    runs: int


@dataclass(frozen=True)
class SpeedReport:
    """Timings of several models.

    Attributes:
        models: By model, its timings, the published procedure's first.
        methods: By model, the timings of the methods that can explain it, occlusion's first.
        processors: How many the machine has.
        machine: The kind of processor.
        versions: Of the libraries.
        left_out: For each procedure, method and command that could not be run, a line that says why.
        starts: By model, the commands that were timed as whole processes.
    """

    models: Mapping[str, tuple[Timing, ...]]
    methods: Mapping[str, tuple[MethodTiming, ...]]
    processors: int
    machine: str
    versions: Mapping[str, str]
    left_out: tuple[str, ...] = ()
    starts: Mapping[str, tuple[StartTiming, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        Each timing is given with how many times as fast as published it is, each method's with how many times
        as long as occlusion's it is.
        """
        return {
            "models": {
                model: [
                    {**asdict(timing), "speedup": round(timings[0].total / timing.total, 2)}
                    for timing in timings
                ]
                for model, timings in self.models.items()
            },
            "methods": {
                model: [
                    {**asdict(timing), "of_occlusion": round(timing.total / timings[0].total, 3)}
                    for timing in timings
                ]
                for model, timings in self.methods.items()
            },
            "starts": {
                model: [asdict(timing) for timing in timings] for model, timings in self.starts.items()
            },
            "processors": self.processors,
            "machine": self.machine,
            "versions": dict(self.versions),
            "left_out": list(self.left_out),
        }
