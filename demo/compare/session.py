"""What the page keeps of one visitor: in memory, apart from all others, and gone when told or when unused."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from demo.model_service import ModelConfig
from demo.server import uploads
from demo.server.photo_input import UploadedPhoto
from xfv_demo.calibration.calibration import Calibration
from xfv_demo.errors import XfvError
from xfv_demo.explainers.occlusion import OccludedEmbeddings
from xfv_demo.pair_report import PairExplanation
from xfv_demo.pipeline import MethodResult
from xfv_demo.types import AlignedFace, Verification
from xfv_demo.verification import Verifier

Letter = Literal["A", "B"]
LETTERS: tuple[Letter, Letter] = ("A", "B")

# In seconds: no step of a comparison takes longer, but for a search for faces in a huge photo.
_LONGEST_STEP = 5.0

Shown = Literal["published", "alpha", "raw"]


@dataclass(frozen=True)
class DisplayOptions:
    """How maps are drawn; bears on no number.

    Attributes:
        palette: A key of `rendering.PALETTES`.
        shown: "published" or "alpha", as `rendering.map_on_photo` blends, or "raw" for the map alone.
        strength: Of the colours over the face, in [0, 1].
    """

    palette: str = "piyg"
    shown: Shown = "published"
    strength: float = 1.0


@dataclass(eq=False)
class FoundFaces:
    """A photo that was looked at for faces.

    Attributes:
        photo: The visitor's file.
        faces: Those that can be picked, largest first.
        search: The number of the visitor's search that found them: the page may still show those of the last.
        picked: Which of them counts.
        pick: The number of the click that picked it.
    """

    photo: UploadedPhoto
    faces: tuple[AlignedFace, ...]
    search: int = 0
    picked: int = 0
    pick: int = 0


@dataclass(frozen=True)
class ComparisonRequest:
    """What a visitor asked to compare and explain with.

    Attributes:
        choice: The model and its calibration.
        methods: Keys of `EXPLAINERS`.
        paths: Of both photos, as a command line would name them.
        occlusion: Settings of occlusion, where they are not x-Face's.
        press: The number of the press of Compare.
        picked: Of each photo, which of its faces was compared.
    """

    choice: ModelConfig = field(default_factory=ModelConfig)
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    occlusion: Mapping[str, Any] = field(default_factory=dict)
    press: int = 0
    picked: tuple[int, ...] = ()


class Running:
    """A comparison, and what ends it: its own, so that nothing that is meant for it ends the next.

    Attributes:
        press: The number of the press of Compare that began it; 0 where no page did.
        stopped: Whether the visitor wants no more of it.
        deleting: Whether that is as all is to be deleted.
        ended: Set once it has ended.
    """

    def __init__(self, press: int = 0) -> None:
        self.press = press
        self.stopped = self.deleting = False
        self.ended = threading.Event()


class Session:
    """One visitor's photos, verdict and maps, and what the visitor chose to see of them.

    No dataclass: Gradio turns those into dictionaries.

    Attributes:
        found: By photo, its faces.
        searches: How many photos were looked at for faces.
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
        left: Whether the visitor has closed the page: no call that still comes may keep anything.
        standing: The number of the press of Compare that asked for the photos, faces and settings that stand
            on the page now; 0 where none did, so that no comparison that runs is of them.
        running: The comparison that runs, or ran last.
        working: Held while faces are looked for or files are written, so that no photo is searched twice and
            nothing is written after all was deleted.
    """

    def __init__(self) -> None:
        self.found: dict[Letter, FoundFaces] = {}
        self.searches = 0
        self.verifier: Verifier | None = None
        self.verification: Verification | None = None
        self.results: dict[str, MethodResult] = {}
        self.problems: dict[str, str] = {}
        self.asked = ComparisonRequest()
        self.run = 0
        self.threshold: float | None = None
        self.views: dict[str, str] = {}
        self.look = DisplayOptions()
        self.agreed = False
        self.files: set[Path] = set()
        self.left = False
        self.standing = 0
        self.running = Running()
        self.running.ended.set()
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

    def begin(self, verifier: Verifier, verification: Verification, asked: ComparisonRequest) -> None:
        """Takes a new verdict, and drops the maps of the last one."""
        with self.working:
            # What it was asked with comes last, and who draws a part reads it first: other threads may label
            # something new as old, but never something old as new.
            self.results, self.problems = {}, {}
            self.verifier, self.verification = verifier, verification
            self.threshold = None
            self.run += 1
            self.asked = asked

    @property
    def idle(self) -> bool:
        """Whether no comparison is running."""
        return self.running.ended.is_set()

    def start(self, press: int) -> Running:
        """Notes that a comparison is running; `ended` is to be set at its end."""
        self.running = Running(press)
        return self.running

    def ends(self, running: Running) -> bool:
        """Whether a comparison is to end: it was stopped, or is not of what stands on the page now."""
        return running.stopped or running.press != self.standing

    def stop(self, seconds: float = _LONGEST_STEP, *, deleting: bool = False) -> None:
        """Ends a comparison that is running, and waits until it has ended.

        Args:
            seconds: How long at most.
            deleting: Whether all is to be deleted: then one that waits in line does not begin either.
        """
        running = self.running
        if deleting:
            running.deleting, self.standing = True, 0
        running.stopped = True
        running.ended.wait(seconds)

    def clear(self) -> None:
        """Forgets all, and deletes the visitor's files; what was chosen to see stays."""
        with self.working:
            self.found.clear()
            self.verifier = self.verification = self.threshold = None
            self.results, self.problems = {}, {}
            self.asked = ComparisonRequest()
            if self._embeddings is not None:
                self._embeddings.clear()
            for file in list(self.files):
                self.delete_file(file)

    def own(self, file: Path) -> None:
        """Takes a file as the visitor's, to be deleted with all else.

        Raises:
            XfvError: The visitor has left, so it is deleted at once.
        """
        with self.working:
            if self.left:
                uploads.delete(file)
                raise XfvError("the page was closed, so its photos are deleted")
            self.files.add(file)

    def delete_file(self, file: Path) -> None:
        """Deletes one of the visitor's files."""
        self.files.discard(file)
        uploads.delete(file)
