"""What the page keeps of one visitor: in memory, apart from all others, and gone when told or when unused."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from demo import uploads
from demo.photo_input import UploadedPhoto
from demo.service import Choice
from xfv_demo.calibration import Calibration
from xfv_demo.explainers.occlusion import OccludedEmbeddings
from xfv_demo.explaining import MethodResult, PairExplanation
from xfv_demo.types import AlignedFace, Verification
from xfv_demo.verification import Verifier

Letter = Literal["A", "B"]
LETTERS: tuple[Letter, Letter] = ("A", "B")

# In seconds: no step of a comparison takes longer, but for a search for faces in a huge photo.
_LONGEST_STEP = 5.0

Shown = Literal["published", "alpha", "raw"]


@dataclass(frozen=True)
class Look:
    """How maps are drawn; bears on no number.

    Attributes:
        palette: A key of `rendering.PALETTES`.
        shown: "published" or "alpha", as `rendering.map_on_photo` blends, or "raw" for the map alone.
        strength: Of the colours over the face, in [0, 1].
    """

    palette: str = "piyg"
    shown: Shown = "published"
    strength: float = 1.0


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """A photo that was looked at for faces.

    Attributes:
        photo: The visitor's file.
        faces: Those that can be picked, largest first.
    """

    photo: UploadedPhoto
    faces: tuple[AlignedFace, ...]


@dataclass(frozen=True)
class Asked:
    """What a visitor asked to compare and explain with.

    Attributes:
        choice: The model and its calibration.
        methods: Keys of `EXPLAINERS`.
        paths: Of both photos, as a command line would name them.
        occlusion: Settings of occlusion, where they are not x-Face's.
    """

    choice: Choice = field(default_factory=Choice)
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    occlusion: Mapping[str, Any] = field(default_factory=dict)


class Session:
    """One visitor's photos, verdict and maps, and what the visitor chose to see of them.

    No dataclass: Gradio turns those into dictionaries.

    Attributes:
        found: By photo, its faces.
        picked: By photo, which of its faces counts.
        verifier: What gave the verdict.
        verification: The verdict.
        results: By method, the last step of its explanation.
        problems: By method that the model cannot be explained by, a line that says why.
        asked: What the verdict and its maps were asked for with.
        run: How many verdicts there were.
        threshold: Where the visitor moved the threshold to; None where it was not moved.
        views: By method, the key of the view that is shown.
        look: How maps are drawn.
        agreed: Whether the visitor has agreed to photos being handled on the server.
        files: Files on disk that show the visitor's photos or were made of them.
        stopping: Set where the visitor wants no more of a comparison that is running.
        deleting: Whether that is as all is to be deleted.
        idle: Set while no comparison is running.
        working: Held while faces are looked for or files are written, so that no photo is searched twice and
            nothing is written after all was deleted.
    """

    def __init__(self) -> None:
        self.found: dict[Letter, FoundFaces] = {}
        self.picked: dict[Letter, int] = {}
        self.verifier: Verifier | None = None
        self.verification: Verification | None = None
        self.results: dict[str, MethodResult] = {}
        self.problems: dict[str, str] = {}
        self.asked = Asked()
        self.run = 0
        self.threshold: float | None = None
        self.views: dict[str, str] = {}
        self.look = Look()
        self.agreed = False
        self.files: set[Path] = set()
        self.stopping = threading.Event()
        self.deleting = False
        self.idle = threading.Event()
        self.idle.set()
        self.working = threading.RLock()
        self._embeddings: OccludedEmbeddings | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A new one: Gradio copies a state's first value for each visitor, and that value holds nothing."""
        return type(self)()

    @property
    def embeddings(self) -> OccludedEmbeddings:
        """Of the photos under occlusion: who changes one photo need not wait for the other again."""
        if self._embeddings is None:
            self._embeddings = OccludedEmbeddings(capacity=3)
        return self._embeddings

    @property
    def calibration(self) -> Calibration | None:
        """What the verdict's threshold and confidence come from."""
        return self.verifier.calibration if self.verifier else None

    @property
    def explanation(self) -> PairExplanation | None:
        """The verdict with the maps so far; None before there is a verdict."""
        if self.verification is None:
            return None
        return PairExplanation(self.verification, tuple(self.results.values()))

    def begin(self, verifier: Verifier, verification: Verification, asked: Asked) -> None:
        """Takes a new verdict, and drops the maps of the last one."""
        self.verifier, self.verification, self.asked = verifier, verification, asked
        self.results, self.problems = {}, {}
        self.threshold = None
        self.run += 1

    def start(self) -> None:
        """Notes that a comparison is running; `idle` is to be set at its end."""
        self.stopping.clear()
        self.deleting = False
        self.idle.clear()

    def stop(self, seconds: float = _LONGEST_STEP) -> None:
        """Ends a comparison that is running, and waits until it has ended, so many seconds at most."""
        self.stopping.set()
        self.idle.wait(seconds)

    def clear(self) -> None:
        """Forgets all, and deletes the visitor's files; what was chosen to see stays."""
        with self.working:
            self.found.clear()
            self.picked.clear()
            self.verifier = self.verification = self.threshold = None
            self.results, self.problems = {}, {}
            if self._embeddings is not None:
                self._embeddings.clear()
            for file in list(self.files):
                self.delete_file(file)

    def delete_file(self, file: Path) -> None:
        """Deletes one of the visitor's files."""
        self.files.discard(file)
        uploads.delete(file)
