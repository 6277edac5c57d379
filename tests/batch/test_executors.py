"""Blocks of work: done once each, by processes that may be killed."""

import functools
import os
import signal

import pytest

from xfv_demo.batch.executors import run_blocks, run_locally
from xfv_demo.errors import XfvError


class Squares:
    """Squares numbers; the first process that meets 3 is killed there."""

    def __init__(self, folder, *, always=False):
        self._folder, self._always = folder, always

    def __call__(self, number):
        if number == 3:
            try:
                (self._folder / "was killed").touch(exist_ok=self._always)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        if number == 1000:
            raise XfvError('"1000" is too many; take fewer')
        return number**2


def test_where_there_is_nothing_to_do_no_process_starts(tmp_path):
    assert list(run_blocks(functools.partial(Squares, tmp_path), [])) == []


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_its_block(tmp_path):
    results = list(run_locally(functools.partial(Squares, tmp_path), iter(range(8)), workers=2))
    assert sorted(results) == [number**2 for number in range(8)]
    assert (tmp_path / "was killed").exists()


@pytest.mark.slow
def test_a_block_that_kills_whoever_does_it_ends_the_work_in_a_line(tmp_path):
    with pytest.raises(XfvError, match="ended 4 times in a row"):
        list(run_locally(functools.partial(Squares, tmp_path, always=True), [3], workers=1))


@pytest.mark.slow
def test_what_a_worker_refuses_is_said_in_its_words(tmp_path):
    with pytest.raises(XfvError, match='"1000" is too many'):
        list(run_locally(functools.partial(Squares, tmp_path), [1000], workers=1))


@pytest.mark.slow
def test_ray_does_the_same(tmp_path):
    """Its actors, too, may be killed, and may refuse."""
    ray = pytest.importorskip("ray")
    results = []
    try:
        with pytest.raises(XfvError, match='"1000" is too many'):
            results.extend(
                run_blocks(functools.partial(Squares, tmp_path), [1, 2, 3, 1000], engine="ray", workers=1)
            )
    finally:
        ray.shutdown()
    assert (tmp_path / "was killed").exists()
    assert set(results) <= {1, 4, 9}
