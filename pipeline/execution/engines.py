"""Who does the work: this process, worker processes of this machine, or a Ray cluster; the results are the same.

A worker is made once in every process by `make_worker` and is then called with one task after the other.
"""

import logging
import multiprocessing
import os
import signal
import threading
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pipeline.core import machine
from pipeline.errors import UserError

log = logging.getLogger(__name__)
NAMES = ("local", "ray")
AHEAD = 2  # tasks that wait for each worker
RETRIES = 3  # workers that may be lost, for each that was asked for
NEW = object()  # in the place of a task: there is none
HERE = Path(__file__).parents[2]
Task, Result = TypeVar("Task"), TypeVar("Result")
Work = Callable[[Task], Result]
_worker: Work | None = None  # of this worker process


def add_flags(parser: ArgumentParser, workers: str) -> None:
    """--engine and --workers."""
    parser.add_argument("--engine", choices=NAMES, default="local", help="this machine, or a Ray cluster (RAY_ADDRESS)")
    parser.add_argument("--workers", type=positive, default=1, help=workers)


def positive(text: str) -> int:
    """A flag's value as a number above 0."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ArgumentTypeError(f"{text!r}: expected a number above 0")
    return int(text)


def is_here(options: Namespace) -> bool:
    """Whether the flags ask for nothing but this process."""
    return options.engine == "local" and options.workers == 1


def each(
    make_worker: Callable[[], Work], tasks: Iterable[Task], *, engine: str = "local", workers: int = 1, gpus: float = 1
) -> Iterator[Result]:
    """Results of all tasks as they come, tasks being asked for as they are needed.

    `gpus` is what each worker takes of a cluster that has some; on one machine worker i gets GPU i. UserError where
    a worker process died, or Ray is asked for and is not there.
    """
    if engine == "ray":
        return _on_ray(make_worker, tasks, workers, gpus)
    return _here(make_worker, tasks) if workers == 1 else _in_processes(make_worker, tasks, workers)


def _here(make_worker: Callable[[], Work], tasks: Iterable[Task]) -> Iterator[Result]:
    worker = None
    for task in tasks:
        worker = worker or make_worker()
        yield worker(task)


def _in_processes(make_worker: Callable[[], Work], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")  # a fork of a process that runs TensorFlow hangs
    number = context.Value("i", 0)
    pool = futures.ProcessPoolExecutor(workers, context, _begin, (make_worker, number, workers))
    tasks, under_way = iter(tasks), set()
    try:
        while True:
            under_way |= {pool.submit(_work, task) for task in islice(tasks, AHEAD * workers - len(under_way))}
            if not under_way:
                return
            done, under_way = futures.wait(under_way, return_when=futures.FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool:
        raise UserError(
            f"one of {workers} worker processes died, perhaps for want of memory. What is complete is kept: the same "
            f"command goes on, with fewer --workers if need be"
        ) from None
    except BaseException:  # also an interruption: what they have in hand is not waited for
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(make_worker: Callable[[], Work], number: Any, workers: int) -> None:
    """Start of a worker process: one of the GPUs that there are is its own; of the cores it takes its share."""
    global _worker
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keyboard's is for the process that waits for this one
    with number.get_lock():
        i, number.value = number.value, number.value + 1
    if devices := _gpus():
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[i % len(devices)]
    threads = str(max(1, machine.cores() // workers))
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    _worker = make_worker()


def _end_with(parent: Any) -> None:
    """End this process when the one that made it ends, killed perhaps: else it would wait for tasks for ever."""
    parent.join()
    os._exit(1)


def _work(task: Task) -> Result:
    return _worker(task)


def count_gpus() -> int:
    """How many GPUs this machine lends to workers."""
    return len(_gpus())


def _gpus() -> list[str]:
    """Numbers of this machine's GPUs, as CUDA counts them."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [number for number in visible.split(",") if number not in ("", "-1")]
    return [path.name.removeprefix("nvidia") for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def _on_ray(make_worker: Callable[[], Work], tasks: Iterable[Task], workers: int, gpus: float) -> Iterator[Result]:
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray needs Ray: .venv/bin/python -m pip install -r requirements-extra.txt") from None
    # without "local" Ray would join whatever cluster was last here, or wait for it for ever where that is dead
    address = os.environ.get("RAY_ADDRESS", "local")
    environment = {"env_vars": {"PYTHONPATH": str(HERE)}}
    ray.init(address=address, runtime_env=environment, include_dashboard=False, log_to_driver=False)
    try:
        share = min(gpus, ray.cluster_resources().get("GPU", 0))
        cores = max(1, int(ray.cluster_resources().get("CPU", 1) // workers))
        actor = ray.remote(num_cpus=cores, num_gpus=share)(_Actor)
        yield from _by_actors(lambda: actor.remote(make_worker), iter(tasks), workers)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None  # as it was raised there
    finally:
        ray.shutdown()


def _by_actors(make_actor: Callable[[], Any], tasks: Iterator[Task], workers: int) -> Iterator[Result]:
    """Results as they come. What a lost actor had in hand another does; its successor waits for a place in the cluster.

    An actor for which there is nothing left to do goes at once, so that its place is free for others.
    """
    import ray

    under_way: dict[Any, tuple[Any, Any]] = {}  # reference -> (actor, its task; NEW: it is being made)
    again: list[Task] = []
    lost, over = 0, False

    def begin() -> None:
        made = make_actor()
        under_way[made.begin.remote()] = (made, NEW)

    for _ in range(workers):
        begin()
    while again or not over or any(task is not NEW for _, task in under_way.values()):
        (done,), _ = ray.wait(list(under_way))
        held, task = under_way.pop(done)
        try:
            result = ray.get(done)
        except ray.exceptions.RayActorError:
            lost += 1
            log.warning("a worker was lost (%d so far); what it had in hand is done again", lost)
            again += [] if task is NEW else [task]
            if lost > RETRIES * workers:
                raise UserError(
                    f"{lost} workers were lost one after the other, perhaps for want of memory. What is complete is "
                    f"kept: the same command goes on, with fewer --workers if need be"
                ) from None
            begin()
            continue
        if task is not NEW:
            yield result
        task = again.pop() if again else next(tasks, NEW)
        over = over or task is NEW
        if task is not NEW:
            under_way[held.work.remote(task)] = (held, task)


class _Actor:
    """A worker that lives on some node of the cluster."""

    def __init__(self, make_worker: Callable[[], Work]):
        self.make_worker = make_worker

    def begin(self) -> None:
        self.worker = self.make_worker()

    def work(self, task: Task) -> Result:
        return self.worker(task)
