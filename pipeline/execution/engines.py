"""Execution engines: this process, worker processes of this machine, or a Ray cluster; the results are the same.

A worker is made once in every process by `make_worker` and is then called with one task after the other.
"""

import logging
import multiprocessing
import os
import signal
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pipeline.core import flag_types, machine
from pipeline.errors import UserError
from pipeline.execution import progress

log = logging.getLogger(__name__)
NAMES = ("local", "ray")
QUEUED_PER_WORKER = 2  # tasks queued for each worker
RETRIES = 3  # lost workers tolerated, for each requested
NO_TASK = object()  # no task is left, or the worker is starting
PROJECT_ROOT = Path(__file__).parents[2]
Task, Result = TypeVar("Task"), TypeVar("Result")
Work = Callable[[Task], Result]
_worker: Work | None = None  # of this worker process


def add_flags(parser: ArgumentParser, workers: str) -> None:
    """--engine and --workers."""
    parser.add_argument("--engine", choices=NAMES, default="local", help="this machine, or a Ray cluster (RAY_ADDRESS)")
    parser.add_argument("--workers", type=flag_types.count, default=1, help=workers)


def in_this_process(options: Namespace) -> bool:
    """Whether the flags ask for nothing but this process."""
    return options.engine == "local" and options.workers == 1


def each(
    make_worker: Callable[[], Work], tasks: Iterable[Task], *, engine: str = "local", workers: int = 1, gpus: float = 1
) -> Iterator[Result]:
    """Results of all tasks in order of completion; tasks are read lazily.

    `gpus` is what each worker takes of a cluster that has some; on one machine worker i gets GPU i. UserError where
    a worker process died, or Ray is requested and not installed.
    """
    if engine == "ray":
        return _on_ray(make_worker, tasks, workers, gpus)
    return _in_this_process(make_worker, tasks) if workers == 1 else _in_processes(make_worker, tasks, workers)


def _in_this_process(make_worker: Callable[[], Work], tasks: Iterable[Task]) -> Iterator[Result]:
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
            under_way |= {
                pool.submit(_work, task) for task in islice(tasks, QUEUED_PER_WORKER * workers - len(under_way))
            }
            if not under_way:
                return
            done, under_way = futures.wait(under_way, return_when=futures.FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool:
        raise UserError(
            f"one of {workers} worker processes died, perhaps out of memory. What is complete is kept: the same "
            f"command resumes, with fewer --workers if need be"
        ) from None
    except BaseException:  # also an interruption: running tasks are not waited for
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(make_worker: Callable[[], Work], number: Any, workers: int) -> None:
    """Initialise a worker process: assign one of the GPUs and its share of the cores."""
    global _worker
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keyboard's is for the process that waits for this one
    with number.get_lock():
        i, number.value = number.value, number.value + 1
    if devices := _gpus():
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[i % len(devices)]
    threads = str(max(1, machine.cores() // workers))
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", threads)
    progress.plain_in_logs()
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    _worker = make_worker()


def _exit_with_parent(parent: Any) -> None:
    """End this process when its parent ends, even killed: else it would wait for tasks for ever."""
    parent.join()
    os._exit(1)


def _work(task: Task) -> Result:
    return _worker(task)


def count_gpus() -> int:
    """Number of GPUs available to workers."""
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
    # without "local" Ray would join the last cluster of this machine, or wait for ever where that is gone
    address = os.environ.get("RAY_ADDRESS", "local")
    environment = {"env_vars": {"PYTHONPATH": str(PROJECT_ROOT)}}
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
    """Results in order of completion. The task of a lost actor is repeated by another; a replacement is started.

    An idle actor ends at once, to free its resources.
    """
    import ray

    under_way: dict[Any, tuple[Any, Any]] = {}  # reference -> (actor, its task; NO_TASK: it is starting)
    retry: list[Task] = []
    lost, exhausted = 0, False

    def begin() -> None:
        actor = make_actor()
        under_way[actor.begin.remote()] = (actor, NO_TASK)

    for _ in range(workers):
        begin()
    while retry or not exhausted or any(task is not NO_TASK for _, task in under_way.values()):
        (done,), _ = ray.wait(list(under_way))
        actor, task = under_way.pop(done)
        try:
            result = ray.get(done)
        except ray.exceptions.RayActorError:
            lost += 1
            log.warning("a worker was lost (%d so far); its task is done again", lost)
            retry += [] if task is NO_TASK else [task]
            if lost > RETRIES * workers:
                raise UserError(
                    f"{lost} workers were lost one after the other, perhaps out of memory. What is complete is "
                    f"kept: the same command resumes, with fewer --workers if need be"
                ) from None
            begin()
            continue
        if task is not NO_TASK:
            yield result
        task = retry.pop() if retry else next(tasks, NO_TASK)
        exhausted = exhausted or task is NO_TASK
        if task is not NO_TASK:
            under_way[actor.work.remote(task)] = (actor, task)


class _Actor:
    """A worker that lives on some node of the cluster."""

    def __init__(self, make_worker: Callable[[], Work]):
        self.make_worker = make_worker

    def begin(self) -> None:
        self.worker = self.make_worker()

    def work(self, task: Task) -> Result:
        return self.worker(task)
