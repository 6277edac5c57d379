"""Blocks of work done by several processes: of this machine, or of a Ray cluster.

A block is all that is lost of the work when a process is killed. Whoever does a block writes what it gives in
one piece and under the block's name, so that it may be done twice.
"""

import concurrent.futures
import itertools
import logging
import multiprocessing
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal, TypeVar

import cv2

from xfv_demo.errors import XfvError
from xfv_demo.runtime.console import silence_native_libraries

Engine = Literal["local", "ray"]

_Block = TypeVar("_Block")
_Result = TypeVar("_Result")

# Of breaks without a block done between them: then something is wrong that trying again does not mend.
_MOST_BREAKS = 3

# Ray's own reading and writing needs some of the CPUs that it counts; without them it waits for ever.
_CPUS_LEFT_FREE = 2


def run_blocks(
    start: Callable[[], Callable[[_Block], _Result]],
    blocks: Sequence[_Block],
    *,
    engine: Engine = "local",
    workers: int | None = None,
    address: str | None = None,
    gpus_per_worker: float = 0,
) -> Iterator[_Result]:
    """Has blocks of work done by an engine.

    Args:
        start: Called once in each worker process, for what does its blocks; both can be pickled.
        blocks: What is to be done.
        engine: "local", processes of this machine; or "ray", actors of Ray Data.
        workers: How many; where None, as many as there are cores, or as the cluster has room for.
        address: Of a Ray cluster, "auto" or HOST:PORT; one of this machine alone is started where None.
        gpus_per_worker: How many GPUs, or which share of one, an actor takes; for Ray.

    Yields:
        What each block gives, in no order.

    Raises:
        XfvError: What a worker raised; Ray is not installed or not to be reached; or workers end again and
            again.
    """
    if engine == "ray":
        return _run_on_ray(start, blocks, workers, address, gpus_per_worker)
    return run_locally(start, blocks, workers=workers or os.cpu_count() or 1)


def run_locally(
    start: Callable[[], Callable[[_Block], _Result]],
    blocks: Iterable[_Block],
    *,
    workers: int,
    waiting: int = 2,
) -> Iterator[_Result]:
    """Has blocks done by processes of this machine, which end with the one that calls this.

    (They start by importing the script that calls this, so it needs `if __name__ == "__main__":`.) What a
    worker that was killed had at hand is done again, by new ones; none is started where there is no block.

    Args:
        start: As for `run_blocks`.
        blocks: As for `run_blocks`; taken as they are needed.
        workers: How many processes.
        waiting: How many blocks are at each of them, or wait for it: so many that it does not idle, so few
            that they fit the memory.

    Yields:
        What each block gives, in no order.

    Raises:
        XfvError: As from `run_blocks`.
    """
    left, following = iter(blocks), deque[_Block]()

    def is_left() -> bool:
        if not following:
            following.extend(itertools.islice(left, 1))
        return bool(following)

    breaks = 0
    while is_left():
        pending: dict[concurrent.futures.Future[_Result], _Block] = {}
        pool = concurrent.futures.ProcessPoolExecutor(
            workers,
            # Networks do not survive a fork.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(start,),
        )
        try:
            while pending or is_left():
                while len(pending) < waiting * workers and is_left():
                    future = pool.submit(_do, following[0])
                    pending[future] = following.popleft()
                finished, _ = concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in finished:
                    result = future.result()
                    del pending[future]
                    breaks = 0
                    yield result
        except BrokenProcessPool as error:
            following.extend(pending.values())
            breaks += 1
            if breaks > _MOST_BREAKS:
                raise XfvError(
                    f"the processes that share the work were ended {breaks} times in a row; is there too "
                    "little memory? Try fewer workers"
                ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


# Each worker process's own: what starts its work, and what does it.
_start: Callable[[], Callable[[Any], Any]] | None = None
_work: Callable[[Any], Any] | None = None


def _begin(start: Callable[[], Callable[[Any], Any]]) -> None:
    global _start
    threading.Thread(target=_end_with_parent, daemon=True).start()
    silence_native_libraries()
    # One thread for each process: more would only get in each other's way.
    cv2.setNumThreads(1)
    _start = start


def _end_with_parent() -> None:
    """Ends this worker once the process that started it is gone, even where that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(block: Any) -> Any:
    global _work
    if _work is None:
        # Not in `_begin`: what is raised there is lost.
        if _start is None:
            raise RuntimeError("a worker was not told what to do")
        _work = _start()
    return _work(block)


def _run_on_ray(
    start: Callable[[], Callable[[Any], Any]],
    blocks: Sequence[Any],
    workers: int | None,
    address: str | None,
    gpus_per_worker: float,
) -> Iterator[Any]:
    """As `run_blocks`. Scheduling, retries and spilling are Ray Data's.

    Ray Data's own checkpoints are not used: what is done is known by what was written, whichever engine it
    was, so that the other one can go on.
    """
    if not blocks:
        return
    # Asked for by Ray at its import: it would report its use over the network.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise XfvError('the engine ray is not installed; pip install ".[ray]", or take local') from error
    count = workers or (os.cpu_count() or 1 if address is None else None)
    if not ray.is_initialized():
        try:
            if address is None:
                ray.init(
                    num_cpus=(count or 1) + _CPUS_LEFT_FREE,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                    _node_ip_address="127.0.0.1",
                )
            else:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise XfvError(f'Ray cannot be reached at "{address or "this machine"}": {reason}') from error
    # Whoever waits is told by the caller.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    count = count or max(1, int(ray.cluster_resources().get("CPU", 1)) - _CPUS_LEFT_FREE)
    done = (
        # A row and a block of Ray's for each of ours: of one large block, a failure would leave nothing.
        ray.data.from_items(
            [{"block": pickle.dumps(block)} for block in blocks], override_num_blocks=len(blocks)
        ).map_batches(
            _RayWorker,
            fn_constructor_args=(start,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(count, len(blocks))),
            num_gpus=gpus_per_worker or None,
        )
    )
    for row in done.iter_rows():
        result = pickle.loads(row["result"])
        if isinstance(result, XfvError):
            raise result
        yield result


class _RayWorker:
    """An actor of Ray Data that does blocks."""

    def __init__(self, start: Callable[[], Callable[[Any], Any]]) -> None:
        cv2.setNumThreads(1)
        self._work = start()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Does the blocks of a batch; what is raised for people to read is passed on, not tried again."""
        results = []
        for block in batch["block"]:
            try:
                results.append(pickle.dumps(self._work(pickle.loads(block))))
            except XfvError as error:
                results.append(pickle.dumps(error))
        return {"result": results}
