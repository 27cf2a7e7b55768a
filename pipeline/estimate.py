"""How long a plan takes on this machine, from a few real steps of each training.

The tasks are built as the scripts build them, on the images of the user; only starting weights are
new, since those of the earlier stages are not there yet. A step takes as long with any weights.
"""

from __future__ import annotations

import itertools
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch

from data.build import DataSettings, training_loader
from distill import student_task
from errors import InputError
from evaluation.build import feature_net
from options import Namespace, search_settings, settings
from pipeline.plan import Plan
from pipeline.stages import Stage
from runtime.machine import busy_cores, device_name, wait
from runtime.progress import Bar
from subnets.target import cost
from train import new_task
from training.tasks import Task

STEPS = 4  # timed ones of each training
PATIENCE = 20.0  # seconds for the steps of one training, after the first
CALLS, ENOUGH = 5, 1.0  # timed ones of a network at most, and their seconds together
BUSY = 0.5  # cores that other programs use, from which on it is said
# Python and PyTorch start in every stage.
START = 4.0


@dataclass(frozen=True)
class Estimate:
    """What was found out.

    Args:
        seconds: of each stage that is not done
        work:    what it does, e.g. ``6 epochs, 600 steps``
        device:  name of what it was timed on
        problem: why it could not be timed; "" = it was
        busy:    cores that other programs kept busy before
    """

    seconds: dict[str, float]
    work: dict[str, str]
    device: str
    problem: str = ""
    busy: float = 0.0


# --------------------------------------------------------------------------------------------------
# Building what a stage trains


def start_anew(flags: Namespace) -> dict[str, object]:
    """Changes to flags: without the files that earlier stages make."""
    return {name: None for name in vars(flags) if name.startswith("restore_")}


def _flags(plan: Plan, stage: Stage) -> Namespace:
    """The flags of a training without the files that earlier stages make."""
    flags = stage.with_winner(str(plan.largest_within)).parse()
    new = start_anew(flags)
    if plan.teacher.given:
        new.pop("restore_teacher_G_path", None)
    elif "restore_teacher_G_path" in new:
        new |= {"teacher_netG": plan.teacher.spec.netG, "teacher_ngf": plan.teacher.spec.ngf}
    vars(flags).update(new, dataroot=plan.wanted.dataroot)
    return flags


def _task(flags: Namespace, data: DataSettings, device: torch.device) -> Task:
    if hasattr(flags, "distiller"):
        with warnings.catch_warnings():  # the stage itself says them
            warnings.simplefilter("ignore")
            return student_task(flags, data, device)[0]
    return new_task(flags, device)


# --------------------------------------------------------------------------------------------------
# Timing


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start


@torch.inference_mode()
def seconds_per_image(net: Callable, x: torch.Tensor) -> float:
    """Of the fastest of a few calls, after one that prepares: another program slows some down, and
    what is timed here is multiplied by thousands."""
    net(x)
    times: list[float] = []
    while len(times) < CALLS and sum(times) < ENOUGH:
        times.append(_seconds(lambda: net(x), x.device))
    return min(times) / len(x)


@dataclass(frozen=True)
class Timed:
    """A training: seconds of a step, and of one image by all its generators in an evaluation."""

    step: float
    evaluated: list[float]

    def seconds(self, steps: int, evaluations: int, images: int, seeing: float) -> float:
        """Of a training that is evaluated on so many images, which the feature network sees in
        ``seeing`` seconds each."""
        per_image = sum(self.evaluated) + seeing * len(self.evaluated)
        return steps * self.step + evaluations * images * per_image


def time_training(flags: Namespace, device: torch.device) -> Timed:
    """Run a few steps. ``flags`` name no file that is not there.

    Raises:
        InputError: an image cannot be read.
    """
    data = replace(settings.data(flags), phase="train")
    task = _task(flags, data, device)
    loader = training_loader(data, device)
    # A recorded step is an ordinary one three times, and then recorded.
    first = 5 if flags.cuda_graphs else 1
    # A small dataset has fewer batches than are timed.
    batches = (batch for epoch in itertools.count(1) for batch in loader.epoch(epoch, 0))
    times: list[float] = []
    for step, batch in enumerate(itertools.islice(batches, first + STEPS)):
        for net in task.networks.values():
            net.train()
        took = _seconds(lambda batch=batch, step=step: task.step(batch, step), device)
        if step >= first:
            times.append(took)
        if times and sum(times) > PATIENCE:
            break
    generators = task.generators().values()
    evaluated = [seconds_per_image(generate, batch.A) for generate in generators]
    return Timed(median(times), evaluated)


def _work(plan: Plan, stage: Stage) -> tuple[int, int, int]:
    """(epochs, steps, evaluations) of a training."""
    flags = stage.with_winner(str(plan.largest_within)).parse()
    # Of images without pairs, an epoch is one pass over the inputs.
    return work_of(flags, plan.division.facing(flags.direction).counts["train"])


def work_of(flags: Namespace, inputs: int) -> tuple[int, int, int]:
    """(epochs, steps, evaluations) of a training on so many input images."""
    run = settings.run(flags).plan
    per_epoch = -(-inputs // flags.batch_size)
    steps = min(run.epochs * per_epoch, run.max_steps)
    epochs = -(-steps // per_epoch)
    measured = sum(run.numbers(epoch) for epoch in range(1, epochs + 1))
    return epochs, steps, measured + steps // run.save_latest_freq + run.evaluate_first


# --------------------------------------------------------------------------------------------------
# The estimate


def estimate(plan: Plan) -> Estimate:
    """Time what is not done yet, which is something.

    An image that cannot be read is left to the stage that checks all of them.

    Raises:
        InputError: the weights of a network that measures are missing.
    """
    seconds: dict[str, float] = {}
    work: dict[str, str] = {}
    busy = busy_cores()
    todo = [stage for stage in plan.stages if not stage.done]
    supernet = plan.stage("supernet")
    trainings = [stage for stage in todo if stage.is_training]
    # The search measures subnets of the supernet, so that is timed in any case.
    timed = {stage.name: stage for stage in (*trainings, supernet)}
    flags = supernet.parse()
    features = feature_net(settings.measures(flags), plan.device)
    height, width = plan.size
    look = torch.zeros(4, 3, height, width, dtype=torch.uint8, device=plan.device)
    seeing = seconds_per_image(features, look)
    found = {}
    try:
        for name, stage in Bar(timed.items(), desc="timing a few steps", unit="stage", leave=False):
            found[name] = time_training(_flags(plan, stage), plan.device)
    except InputError as error:
        return Estimate(seconds, work, device_name(plan.device), str(error), busy)
    if plan.device.type == "cuda":
        torch.cuda.empty_cache()  # the stages are processes of their own
    counts = plan.division.counts
    for stage in todo:
        seconds[stage.name] = START
        if stage.is_training:
            epochs, steps, evaluations = _work(plan, stage)
            seconds[stage.name] += found[stage.name].seconds(
                steps, evaluations, counts["val"], seeing
            )
            work[stage.name] = f"{epochs} epochs, {steps:,} steps"
    generating = sum(found["supernet"].evaluated) / len(found["supernet"].evaluated)
    if "search" in seconds:
        subnets_measured = _subnets(plan)
        seconds["search"] += subnets_measured * counts["val"] * (generating + seeing)
        work["search"] = f"{subnets_measured:,} subnets on {counts['val']:,} images"
    if "test" in seconds:
        # The teacher costs several times more than its student.
        slower = max(1.0, cost(plan.teacher.spec, plan.size)[0] / plan.budget.macs)
        seconds["test"] += counts["test"] * (generating * (1 + slower) + 2 * seeing)
        work["test"] = f"{counts['test']:,} images"
    return Estimate(seconds, work, device_name(plan.device), busy=busy)


def _subnets(plan: Plan) -> int:
    """How many subnets the search measures at most."""
    flags = plan.stage("search").parse()
    genetic = search_settings.genetic(flags)
    per_generation = genetic.population_size
    if flags.predictor:
        per_generation = round(flags.predictor_share * genetic.population_size)
    most = genetic.population_size + flags.evolution_iters * per_generation
    return min(most, len(plan.space.feasible(plan.budget.macs)))


def describe_estimate(plan: Plan, found: Estimate) -> str:
    """A line for each stage, and the sum."""
    if found.problem:
        return f"how long it takes is not known: {found.problem}"
    rows = [
        (
            stage.name,
            "done" if stage.done else f"about {duration(found.seconds[stage.name])}",
            found.work.get(stage.name, ""),
        )
        for stage in plan.stages
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [
        f"{name:{widths[0]}}  {when:{widths[1]}}  {what}".rstrip() for name, when, what in rows
    ]
    lines.append(
        f"in all about {duration(sum(found.seconds.values()))} on {found.device}, going by a few "
        "steps of each training"
    )
    return "\n".join(lines + busy_note(found.busy))


def busy_note(busy: float) -> list[str]:
    """A line for people where other programs use so many cores that it takes longer than alone."""
    if busy < BUSY:
        return []
    return [
        f"other programs keep {busy:.1f} of {os.cpu_count()} cores busy now: without them it takes "
        "less"
    ]


def duration(seconds: float) -> str:
    """Rounded as it deserves: 40 s, 6 min, 3.5 h, 2 days."""
    if seconds < 55:
        return f"{max(5, round(seconds / 5) * 5)} s"
    if seconds < 90 * 60:
        return f"{max(1, round(seconds / 60))} min"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
