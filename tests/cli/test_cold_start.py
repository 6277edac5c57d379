"""What a command may import before it has its answer: each second of it is waited for at each start."""

import json

import pytest

# Runs the command line as if these packages were not installed.
_WITHOUT = """
import sys

for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from xfv_demo.cli import main

main()
"""

# mtcnn brings TensorFlow.
_TENSORFLOW = ("tensorflow", "keras", "tf_keras", "mtcnn")
_OTHERS = ("matplotlib", "pooch", "rich", "scipy", "skimage")


@pytest.fixture
def run_without(run_python, examples):
    """Runs a command on two photos of one person, with some packages blocked."""

    def run_without(packages, command, *words, photos=("obama.jpg", "obama2.jpg")):
        paths = [examples / name for name in photos]
        words = (*paths, *words, "--model", "mobilefacenet")
        return run_python("-c", _WITHOUT, ",".join(packages), command, *words)

    return run_without


def test_what_all_commands_import(run_python):
    check = (
        "import sys, xfv_demo.cli, xfv_demo.pipeline, xfv_demo.models.loading; "
        f"print(sorted({{*{(*_TENSORFLOW, *_OTHERS, 'openvino')}}}.intersection(sys.modules)))"
    )
    done = run_python("-c", check)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_verify_needs_neither_tensorflow_nor_what_draws_and_fits(run_without):
    done = run_without((*_TENSORFLOW, *_OTHERS), "verify", "--json")
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["model"], verdict["same_person"]) == ("mobilefacenet", True)
    assert verdict["confidence"] > 0.99


def test_maps_need_no_tensorflow(run_without, tmp_path):
    words = ("--methods", "occlusion,xssab,grid", "--out", tmp_path / "out")
    done = run_without((*_TENSORFLOW, "pooch", "skimage"), "explain", *words)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "figure.png", "grid.png", "maps.npz", "occlusion.png", "report.json", "xssab.png",
    ]  # fmt: skip


def test_a_photo_that_cannot_be_read_is_told_of_without_any_network(run_without, tmp_path):
    (tmp_path / "text.jpg").write_text("no photo")
    blocked = (*_TENSORFLOW, *_OTHERS, "openvino")
    done = run_without(blocked, "verify", photos=("obama.jpg", tmp_path / "text.jpg"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith('xfv-demo: "text.jpg"')
    assert done.stderr.count("\n") == 1
