"""The examples in the docstrings of the public names: each has one, and it gives what it says."""

import doctest
import sys

import pytest

import xfv_demo

# Constants have no docstring of their own: their module's stands in.
CONSTANTS = {"__version__": "xfv_demo", "ARCFACE_TEMPLATE": "xfv_demo", "EXPLAINERS": "xfv_demo.explainers"}
# These load MTCNN or the bundled model.
HEAVY = ("MtcnnDetector", "SavedModelEmbedder", "load_embedder", "Verifier")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in xfv_demo.__all__]
)
def test_the_example_gives_what_it_says(name, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    public = getattr(xfv_demo, name)
    documented = sys.modules[CONSTANTS[name]] if name in CONSTANTS else public
    (example,) = doctest.DocTestFinder(recurse=False).find(documented, name, globs={})
    assert example.examples
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
    assert result.failed == 0
