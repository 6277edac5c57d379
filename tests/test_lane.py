"""The lane of a minute, `pytest -m "not slow"`: that what it promises is held."""

import os
import subprocess
import sys
from multiprocessing import get_context

import httpx
import pytest

COLLECTED = """
import sys, pytest
status = pytest.main(["--collect-only", "-qq", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist"])
print()
print(int(status), *sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[1:])))
"""


def test_modules_of_quick_tests_import_no_framework(run_python):
    done = run_python(
        "-c", COLLECTED, "tensorflow", "keras", "openvino", "mtcnn", "playwright", PYTEST_ADDOPTS=""
    )
    assert done.stdout.splitlines()[-1] == "0", done.stderr


class TestTheGuard:
    """Refuses what a quick test must not do, also where a slow one has done it before."""

    @pytest.mark.parametrize("name", ["tensorflow", "openvino", "mtcnn"])
    def test_imports_of_frameworks(self, name):
        with pytest.raises(ModuleNotFoundError, match=name):
            exec(f"import {name}")

    @pytest.mark.parametrize(
        "start",
        [
            lambda: subprocess.run([sys.executable, "--version"], check=True),
            lambda: os.system("true"),
            lambda: get_context("spawn").Process(target=print).start(),
        ],
        ids=["subprocess", "system", "multiprocessing"],
    )
    def test_processes(self, start):
        with pytest.raises(pytest.fail.Exception, match="mark it slow"):
            start()

    def test_connections_to_elsewhere(self):
        with pytest.raises(pytest.fail.Exception, match="mark it slow"):
            httpx.get("http://192.0.2.1", trust_env=False)


def test_asking_for_the_model_makes_a_test_slow(request):
    slow = [item for item in request.session.items if "embedder" in getattr(item, "fixturenames", ())]
    assert all(item.get_closest_marker("slow") for item in slow)
    assert request.node.get_closest_marker("slow") is None
