"""The notebook, run from its first cell to its last."""

import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).resolve().parents[1]
(NOTEBOOK,) = (ROOT / "notebooks").glob("*.ipynb")

# Stands in for Colab's module: each time it is asked, the visitor chooses the next photo.
FAKE_COLAB = """
from pathlib import Path
_photos = iter(("obama2.jpg", "obama3.jpg"))
class files:
    @staticmethod
    def upload():
        name = next(_photos)
        return {name: (Path(%r) / name).read_bytes()}
"""


def read():
    return nbformat.read(NOTEBOOK, as_version=4)


def run(notebook, folder):
    nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook


def printed(notebook):
    return "".join(
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if cell.outputs
    )


def pictures(notebook):
    return [
        output.data["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]


def test_is_stored_without_outputs():
    """Outputs would go stale, and show faces in every diff."""
    for cell in read().cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_every_figure_is_explained():
    cells = read().cells
    drawing = [
        number for number, cell in enumerate(cells) if "plt.show()" in cell.source or "Image(" in cell.source
    ]
    assert drawing
    for number in drawing:
        assert cells[number + 1].cell_type == "markdown"
        assert cells[number + 1].source.count(".") >= 2


def test_runs_with_the_example_pair():
    notebook = read()
    for cell in notebook.cells:
        cell.source = cell.source.replace('MODEL = "auto"', 'MODEL = "mobilefacenet"')
    said = printed(run(notebook, NOTEBOOK.parent))
    assert f"project: the folder that this notebook lies in, {ROOT}" in said
    assert "installed: nothing" in said
    assert "SAME PERSON" in said
    assert "distance 0.222" in said
    from xfv_demo import EXPLAINERS

    assert len(pictures(notebook)) >= 4 + len(EXPLAINERS)


def test_goes_on_where_nothing_can_be_fetched(tmp_path, monkeypatch):
    """One line says why there is no other model, and the bundled one gives the verdict."""
    monkeypatch.setenv("XFV_CACHE", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    notebook = read()
    last = next(number for number, cell in enumerate(notebook.cells) if "SAME PERSON" in cell.source)
    notebook.cells = notebook.cells[: last + 1]
    said = printed(run(notebook, NOTEBOOK.parent))
    assert [line for line in said.splitlines() if line.startswith("arcface-octuplet could not be fetched")]
    assert "SAME PERSON" in said
    assert "confidence over 99" in said


def test_runs_with_uploaded_photos(tmp_path, monkeypatch):
    package = tmp_path / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE_COLAB % str(ROOT / "assets" / "examples"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    notebook = read()
    # As far as the verdict: the rest does not depend on where the photos are from.
    last = next(number for number, cell in enumerate(notebook.cells) if "SAME PERSON" in cell.source)
    notebook.cells = notebook.cells[: last + 1]
    for cell in notebook.cells:
        cell.source = cell.source.replace('SOURCE = "example"', 'SOURCE = "upload"')
        cell.source = cell.source.replace('MODEL = "auto"', 'MODEL = "mobilefacenet"')
    assert "distance 0.199" in printed(run(notebook, NOTEBOOK.parent))


class TestWhereTheProjectIsFrom:
    """The set-up cell, run in a folder that is not the project's, with a project that needs nothing."""

    @pytest.fixture
    def project(self, tmp_path):
        folder = tmp_path / "elsewhere" / "xfv-demo-main"
        (folder / "xfv_demo").mkdir(parents=True)
        (folder / "xfv_demo" / "__init__.py").write_text("")
        (folder / "requirements.txt").write_text("pytest>=1  # is there\n")
        return folder

    @pytest.fixture
    def archive(self, project):
        path = project.parent / "project.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for one in project.rglob("*"):
                archive.write(one, one.relative_to(project.parent))
        return path

    @pytest.fixture
    def set_up(self, tmp_path, run_python):
        """Runs the cell in an empty folder, and says where the package is from then on."""
        (cell,) = (cell.source for cell in read().cells if cell.source.startswith("# @title Set-up"))
        here = tmp_path / "here"
        here.mkdir()

        def set_up(project="", **environment):
            source = cell.replace('PROJECT = ""', f"PROJECT = {str(project)!r}")
            shown = f"{source}\nimport xfv_demo\nprint(xfv_demo.__file__)"
            return run_python("-c", shown, cwd=here, **environment)

        set_up.folder = here
        return set_up

    def test_an_address(self, set_up, project):
        git = ["git", "-C", project, "-c", "user.name=a", "-c", "user.email=a@example.org"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
            subprocess.run([*git, *command], check=True)
        said = set_up(project.as_uri())
        assert f"project: {project.as_uri()}" in said.stdout, said.stderr
        assert "installed: nothing" in said.stdout
        assert Path(said.stdout.splitlines()[-1]).parts[-2:] == ("xfv_demo", "__init__.py")

    @pytest.mark.parametrize("address", ["file:///nowhere/at/all", "--upload-pack=touch here"])
    def test_an_address_that_leads_nowhere(self, set_up, address):
        said = set_up(address)
        assert said.returncode == 1
        assert said.stderr.splitlines()[-1].startswith(f"{address} cannot be fetched (")
        assert "Traceback" not in said.stderr
        assert not list(set_up.folder.iterdir())

    def test_a_zip_beside_the_notebook(self, set_up, archive):
        (set_up.folder / "a.zip").write_bytes(b"no zip")
        archive.rename(set_up.folder / "b.zip")
        said = set_up()
        assert "project: b.zip" in said.stdout, said.stderr

    def test_a_zip_that_is_asked_for(self, set_up, archive, tmp_path):
        package = tmp_path / "google" / "colab"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(
            f"class files:\n    upload = lambda: {{'project (1).zip': open({str(archive)!r}, 'rb').read()}}\n"
        )
        said = set_up(PYTHONPATH=str(tmp_path))
        assert "project: project (1).zip" in said.stdout, said.stderr

    def test_nowhere(self, set_up):
        said = set_up()
        assert said.returncode == 1
        (line,) = said.stderr.splitlines()
        assert line.startswith("The project is not here: ")


def test_the_page_has_room_in_the_notebook():
    (launch,) = (cell.source for cell in read().cells if ".launch(" in cell.source)
    assert int(re.search(r"height=(\d+)", launch)[1]) >= 1200
