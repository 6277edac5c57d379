"""What a process that runs networks has to mind: forks, and memory that is freed and kept."""

import contextlib
import ctypes
import os

from xfv_demo.errors import XfvError

_runs_networks: int | None = None


def check_process() -> None:
    """To be called before a network is loaded or run.

    In a process that was forked from one which did so, the first call into TensorFlow or OpenVINO would wait
    for ever for threads that the fork has not copied.

    Raises:
        XfvError: This is such a process.
    """
    global _runs_networks
    process = os.getpid()
    if _runs_networks is None:
        _runs_networks = process
    elif _runs_networks != process:
        raise XfvError(
            "this process was forked from one that has used a model, and the model's threads do not survive "
            'that; start processes with multiprocessing\'s "spawn" method, or use models only after the fork'
        )


# Of glibc's mallopt, from its malloc.h.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


def return_freed_memory() -> None:
    """Has a process that goes on for long give back what it frees; to be called before threads start.

    By itself, glibc keeps a heap for each of many threads, and what is freed in between. After 50 comparisons
    by occlusion and xSSAB the page held 3.0 GB, and holds 1.4 GB so, for some 5 to 10 % more time. Does
    nothing where the C library is another one.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, 2)
        library.mallopt(_M_MMAP_THRESHOLD, 2**18)
