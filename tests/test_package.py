"""What holds for the package as a whole: lazy imports, and dependencies that point one way."""

import ast
import re
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import xfv_demo

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "xfv_demo"
HEAVY = ("tensorflow", "keras", "gradio", "mtcnn", "openvino")
# These define layers and models of Keras, so they import it; all others import them where they need one.
KERAS = (
    "models.trainable",
    "models.xcos_head",
    "training.batches",
    "training.initial",
    "training.losses",
    "training.train",
    "training.validation",
)


def module_names():
    return sorted(
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path.stem not in ("__init__", "__main__")
    )


def imports_of(module):
    """Names imported by a module, and whether at its top or within a function."""
    tree = ast.parse((PACKAGE / Path(*module.split("."))).with_suffix(".py").read_text())
    top = set(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            yield name, node in top


@pytest.mark.parametrize(
    "statement",
    [
        "import xfv_demo",
        "import xfv_demo.cli",
        "from xfv_demo import Verifier",
        "from xfv_demo import EXPLAINERS; EXPLAINERS['xcos']",
        "import xfv_demo.evaluation.xcos_fidelity",
    ],
)
def test_importing_loads_no_heavy_library(statement, run_python):
    check = f"{statement}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = run_python("-c", check)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_every_public_name_can_be_had():
    for name in xfv_demo.__all__:
        assert getattr(xfv_demo, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = xfv_demo.no_such_name


def test_tensorflow_is_imported_only_where_it_is_used():
    for module in module_names():
        heavy = {*HEAVY, *(f"xfv_demo.{name}" for name in KERAS if module not in KERAS)}
        at_top = [
            name for name, top in imports_of(module) if top and (name in heavy or name.split(".")[0] in heavy)
        ]
        if module in KERAS:
            assert {name.split(".")[0] for name in at_top} <= {"keras", "tensorflow"}
        else:
            assert not at_top, f"{module} imports {at_top} when it is imported"


def test_requirements_are_those_of_the_package_and_of_its_page():
    """`pip install .` brings no Gradio; requirements.txt, which Spaces and Colab read, brings all."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    library, page = project["dependencies"], project["optional-dependencies"]["demo"]
    assert sorted(filter(None, lines)) == sorted([*library, *page])
    assert [line.partition(">")[0] for line in page] == ["gradio", "jinja2", "duckdb", "pyarrow"]


def test_the_newest_release_is_told_of():
    heads = re.findall(r"^## \[?([^]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[:2] == ["Unreleased", xfv_demo.__version__]
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == heads[1]


def test_import_contracts_hold(monkeypatch):
    """The layers, and what stays out of where: pyproject.toml has them."""
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == 0


def test_version_is_the_packages():
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in settings["project"]["dynamic"]
    assert settings["tool"]["hatch"]["version"]["path"] == "xfv_demo/_version.py"
    assert xfv_demo.__version__.count(".") == 2
