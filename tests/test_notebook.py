"""The notebook, run from its first cell to its last."""

import os
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
    notebook = run(read(), NOTEBOOK.parent)
    said = printed(notebook)
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
    for cell in notebook.cells:
        cell.source = cell.source.replace('MODEL = "mobilefacenet"', 'MODEL = "auto"')
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
    assert "distance 0.199" in printed(run(notebook, NOTEBOOK.parent))
