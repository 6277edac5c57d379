"""What holds for the package as a whole: lazy imports, and dependencies that point one way."""

import ast
import re
from pathlib import Path

import pytest

import xfv_demo

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "xfv_demo"
HEAVY = ("tensorflow", "keras", "gradio", "mtcnn", "openvino")

# Pure modules know of no model, no photo file and no terminal.
PURE = (
    "types",
    "errors",
    "heif",
    "alignment",
    "similarity",
    "calibrators",
    "calibration",
    "rendering",
    "regions",
    "quality",
    "evaluation.metrics",
    "evaluation.verification",
    "evaluation.figures",
    "evaluation.pixel_curves",
    "evaluation.replacement",
    "evaluation.deletion",
    "xcos.settings",
)
# These define layers and models of Keras, so they import it; all others import them where they need one.
KERAS = ("xcos.head", "xcos.backbone", "xcos.training")
# Each layer may import those before it.
LAYERS = (
    ("errors", "types", "heif"),
    (
        "alignment",
        "similarity",
        "console",
        "images",
        "assets",
        "files",
        "processes",
        "rendering",
        "evaluation.metrics",
        "evaluation.insightface_bin",
        "evaluation.store",
    ),
    ("calibrators", "regions", "quality", "evaluation.datasets", "evaluation.pixel_curves"),
    ("evaluation.replacement",),
    ("evaluation.deletion",),
    ("calibration",),
    ("evaluation.verification",),
    ("evaluation.figures",),
    ("patching",),
    ("grid",),
    ("engine",),
    ("detection", "embedding"),
    ("verification", "evaluation.embeddings"),
    ("explainers.base", "evaluation.patch_lfw"),
    ("xcos.settings",),
    ("xcos.head", "xcos.augmentation"),
    # A new method stands where all stand.
    tuple(
        f"explainers.{path.stem}"
        for path in (PACKAGE / "explainers").glob("*.py")
        if path.stem not in ("__init__", "base")
    ),
    ("explaining",),
    ("evaluation.speed", "evaluation.xcos", "xcos.grids", "xcos.backbone"),
    ("xcos.training", "evaluation.contenders"),
    ("evaluation.outcomes",),
    ("evaluation.sanity",),
    ("evaluation.benchmark",),
    ("evaluation.benchmark_figures",),
    ("cli",),
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
        "import xfv_demo.evaluation.xcos",
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


def test_gradio_stays_in_the_demo():
    for module in module_names():
        assert not [name for name, _ in imports_of(module) if name.split(".")[0] == "gradio"], module


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


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_know_no_tensorflow(module):
    assert not [name for name, _ in imports_of(module) if name.split(".")[0] in HEAVY]


def test_dependencies_point_one_way():
    rank = {module: depth for depth, layer in enumerate(LAYERS) for module in layer}
    assert set(module_names()) == set(rank), "a new module needs its place in LAYERS"
    for module in module_names():
        for name, _ in imports_of(module):
            imported = name.removeprefix("xfv_demo.")
            if name.startswith("xfv_demo.") and imported in rank:
                assert rank[imported] <= rank[module], f"{module} imports {imported}"


def test_requirements_are_those_of_the_package_and_of_its_page():
    """`pip install .` brings no Gradio; requirements.txt, which Spaces and Colab read, brings all."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    library, page = project["dependencies"], project["optional-dependencies"]["demo"]
    assert sorted(filter(None, lines)) == sorted([*library, *page])
    assert [line.partition(">")[0] for line in page] == ["gradio", "jinja2"]


def test_the_newest_release_is_told_of():
    heads = re.findall(r"^## \[?([^]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[:2] == ["Unreleased", xfv_demo.__version__]
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == heads[1]


def test_version_is_the_packages():
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in settings["project"]["dynamic"]
    assert settings["tool"]["hatch"]["version"]["path"] == "xfv_demo/__init__.py"
    assert xfv_demo.__version__.count(".") == 2
