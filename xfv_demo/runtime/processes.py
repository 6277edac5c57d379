"""Which process may run networks: TensorFlow's and OpenVINO's threads do not survive a fork."""

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
