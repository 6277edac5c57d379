"""The container: its steps are tried against the project; where Docker is, it is built and run."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]


def steps():
    """The Dockerfile as (instruction, rest) pairs, lines that go on joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line]


def last_stage():
    starts = [number for number, (name, _) in enumerate(steps()) if name == "FROM"]
    return steps()[starts[-1] :]


def copied():
    """What comes from the project: (source, target)."""
    pairs = [rest.split() for name, rest in steps() if name == "COPY" and not rest.startswith("--from")]
    assert all(len(pair) == 2 for pair in pairs)
    return pairs


def environment():
    (line,) = [rest for name, rest in last_stage() if name == "ENV"]
    return dict(setting.split("=", 1) for setting in shlex.split(line))


def the_only(name):
    (rest,) = [rest for one, rest in last_stage() if one == name]
    return rest


def test_what_is_copied_is_there_and_let_through():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    for source, _ in copied():
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored


def test_python_is_one_that_the_project_runs_on():
    versions = {rest.split()[0] for name, rest in steps() if name == "FROM"}
    (version,) = versions
    assert re.fullmatch(r"python:3\.1[123]-slim", version)
    told = re.search(r'^python_version: "(.*)"$', (ROOT / "README.md").read_text(), re.MULTILINE)[1]
    assert version == f"python:{told}-slim"


def test_nobody_is_root():
    names = [name for name, _ in last_stage()]
    assert names.index("USER") > max(number for number, name in enumerate(names) if name in ("COPY", "RUN"))
    assert names.index("USER") < names.index("CMD")
    (step,) = [rest for name, rest in last_stage() if name == "RUN"]
    assert f"useradd --no-create-home --uid 1000 {the_only('USER')}" in step
    assert f"mkdir {the_only('VOLUME')} && chown {the_only('USER')} {the_only('VOLUME')}" in step


def test_the_command_of_the_docs_fits():
    """Read-only but for the cache and what is held in memory, at the port that is told."""
    text = (ROOT / "docs" / "hosting.md").read_text()
    (line,) = re.findall(r"^docker run (.*)$", text, re.MULTILINE)
    words = shlex.split(line)
    assert "--read-only" in words
    assert words[words.index("--tmpfs") + 1] == "/tmp"
    assert words[words.index("-v") + 1].endswith(f":{the_only('VOLUME')}")
    port = environment()["GRADIO_SERVER_PORT"]
    assert words[words.index("-p") + 1] == f"127.0.0.1:{port}:{port}"
    assert the_only("EXPOSE") == port
    assert environment()["XFV_CACHE"] == the_only("VOLUME")


@pytest.fixture
def container(tmp_path):
    """What the container has, started by its command, with a network that leads nowhere.

    Only the cache and the temporary folder can be written to. The virtual environment is this one.
    """
    pytest.importorskip("gradio")
    app, own = tmp_path / "app", tmp_path / "own"
    app.mkdir()
    for source, target in copied():
        if source != "requirements.txt":
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, app / target)
    for name in ("cache", "tmp"):
        (own / name).mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {
        name: re.sub("^/(tmp|cache)", lambda match: str(own / match[1]), value)
        for name, value in environment().items()
    }
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    told |= nowhere | {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(own / "tmp"),
        "GRADIO_SERVER_PORT": str(port),
    }
    command = as_here(json.loads(the_only("CMD")))
    if os.geteuid() == 0:
        # Root may write wherever it likes; without its privileges it may not.
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    places = [app, *app.rglob("*")]
    for path in places:
        path.chmod(path.stat().st_mode & ~0o222)
    said = tmp_path / "said.txt"
    with (
        said.open("w") as output,
        subprocess.Popen(command, cwd=app, env=told, stdout=output, stderr=output) as process,
    ):
        try:
            yield process, told, said
        finally:
            process.terminate()
            process.wait(30)
            for path in places:
                path.chmod(path.stat().st_mode | 0o200)


def as_here(command):
    """A command of the container, by this Python."""
    return [sys.executable if word == "/venv/bin/python" else word for word in command]


def test_it_starts_offline_and_its_healthcheck_says_so(container):
    process, told, said = container
    health = as_here(json.loads(the_only("HEALTHCHECK").partition("CMD ")[2]))
    deadline = time.monotonic() + 120
    while subprocess.run(health, env=told, capture_output=True, check=False).returncode:
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.5)
    assert "Traceback" not in said.read_text()


def test_where_docker_is_the_image_is_built_and_runs():
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("there is no Docker daemon")
    subprocess.run(["docker", "build", "-q", "-t", "xfv-demo-test", "."], cwd=ROOT, check=True)
    options = ["--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none"]
    command = ["docker", "run", "-d", *options, "xfv-demo-test"]
    started = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        deadline = time.monotonic() + 180
        health = json.loads(the_only("HEALTHCHECK").partition("CMD ")[2])
        while subprocess.run(["docker", "exec", started, *health], capture_output=True).returncode:
            assert time.monotonic() < deadline
            time.sleep(1)
    finally:
        subprocess.run(["docker", "stop", started], capture_output=True, check=False)
