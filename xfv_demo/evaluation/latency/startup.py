"""How long commands take as whole processes: what a person waits who types one.

Little is imported here: Linux counts the memory of the process that starts another as the other's own, so
that has to take little.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

from xfv_demo.errors import ModelError

_BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Start:
    """What one process took.

    Attributes:
        first_output: Seconds until it wrote something to standard output; to its end where it wrote nothing.
        total: Seconds to its end.
        peak_memory: Megabytes at most; None where the system does not tell.
    """

    first_output: float
    total: float
    peak_memory: float | None


def time_process(command: Sequence[str]) -> Start:
    """Runs a command and waits for its end.

    Args:
        command: The program and its arguments.

    Raises:
        ModelError: It ended with an error; the message is its last line.
    """
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process:
            assert process.stdout is not None
            wrote = process.stdout.read(1)
            first_output = time.perf_counter() - start
            process.stdout.read()
            peak_memory = _wait(process)
            total = time.perf_counter() - start
        if process.returncode:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").split("\n")
            reason = next((line for line in reversed(lines) if line.strip()), "it says nothing")
            raise ModelError(reason.removeprefix("xfv-demo: "))
    return Start(first_output if wrote else total, total, peak_memory)


def _wait(process: "subprocess.Popen[bytes]") -> float | None:
    """Waits for the end of a process; gives its peak memory where the system tells."""
    if not hasattr(os, "wait4"):
        process.wait()
        return None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * _BYTES_OF_MAXRSS / 2**20
