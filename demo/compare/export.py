"""What a visitor takes along: the archive, and the command that makes the same."""

import shlex
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

from demo.compare.faces_html import EXAMPLES
from demo.compare.session import DisplayOptions, Session
from demo.server.photo_input import UploadedPhoto
from xfv_demo.runtime.provenance import provenance


def command_line(session: Session) -> str:
    """The command that gives the same result.

    Args:
        session: With a verdict; without one there is no command.
    """
    choice, verification = session.asked.choice, session.verification
    if verification is None:
        return ""
    model = verification.model if choice.model == "auto" else choice.model
    words = ["python", "-m", "xfv_demo", "explain", *session.asked.paths, "--out", "explanation"]
    # One that the model lacks something for would be an error there.
    able = [method for method in session.asked.methods if method not in session.problems]
    words += ["--methods", ",".join(able or session.asked.methods), "--model", model]
    if choice.dataset:
        words += ["--calibration", choice.dataset]
    if choice.method:
        words += ["--method", choice.method]
    for option, face in (("--face-a", verification.probe), ("--face-b", verification.reference)):
        if face.face_index:
            words += [option, str(face.face_index)]
    if choice.precision != "float32":
        words += ["--precision", choice.precision]
    if session.look.palette != DisplayOptions().palette:
        words += ["--palette", session.look.palette]
    command = shlex.join(words)
    if session.asked.occlusion:
        command += "\n# but for the settings of occlusion, which are in report.json"
    return command


def path_for_command(photo: UploadedPhoto) -> str:
    """An example's place in the repository; of a visitor's photo there is only the name."""
    return f"assets/examples/{photo.name}" if Path(photo.path).parent == EXAMPLES else photo.name


def write_zip(session: Session, folder: str) -> str | None:
    """Writes what there is to take home.

    Args:
        session: With a verdict and maps.
        folder: Gradio's own for such files, which it empties by and by.

    Returns:
        The zip's path; None where there is no verdict any more.
    """
    with session.working:
        explanation, look = session.explanation, session.look
        if explanation is None or session.verifier is None:
            return None
        about = provenance(session.verifier.embedder, command_line(session))
        blend = "published" if look.shown == "raw" else look.shown
        files = replace(explanation, about=about).files(palette=look.palette, blend=blend)
        for old in [file for file in session.files if file.suffix == ".zip"]:
            session.delete_file(old)
        Path(folder).mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(dir=folder)) / "explanation.zip"
        session.files.add(path)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    return str(path)
