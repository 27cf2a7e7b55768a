#!/usr/bin/env python3
"""Say how long scripts/demo.sh takes on this machine, from a few real steps of its trainings.

demo_time.py train.py FLAG... -- train_supernet.py FLAG... -- evolution_search.py FLAG... -- ...
"""

import itertools
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.build import inference_loader
from evaluation.build import feature_net
from options import SCRIPTS, Namespace, run, search_settings, settings
from pipeline.estimate import (
    START,
    busy_note,
    duration,
    seconds_per_image,
    start_anew,
    time_training,
    work_of,
)
from runtime.machine import busy_cores, device_name

# Not timed: starting the other stages, the latency of two networks, and the pages.
REST = 8 * START


def _commands(words: list[str]) -> list[Namespace]:
    """The flags of the commands between ``--``."""
    groups = [
        list(group) for end, group in itertools.groupby(words, lambda w: w == "--") if not end
    ]
    return [SCRIPTS[script].parse(flags) for script, *flags in groups]


def _images(flags: Namespace, device: torch.device, **changes: object) -> int:
    changed = Namespace(**{**vars(flags), **changes})
    return len(inference_loader(settings.data(changed), device).dataset)


def main() -> None:
    teacher, supernet, search, finetune = _commands(sys.argv[1:])
    device, busy = settings.start_machine(teacher), busy_cores()
    made = {"teacher_netG": teacher.netG, "teacher_ngf": teacher.ngf}
    for flags in (teacher, supernet):
        vars(flags).update(start_anew(flags))
    vars(supernet).update(made)
    look = torch.zeros(4, 3, teacher.crop_size, teacher.crop_size, dtype=torch.uint8, device=device)
    seeing = seconds_per_image(feature_net(settings.measures(teacher), device), look)
    inputs = _images(teacher, device, phase="train")
    judges = _images(teacher, device, phase="val", meta_path=None)
    timed = {id(flags): time_training(flags, device) for flags in (teacher, supernet)}
    total = REST
    for flags, like in ((teacher, teacher), (supernet, supernet), (finetune, supernet)):
        _, steps, evaluations = work_of(flags, inputs)
        total += timed[id(like)].seconds(steps, evaluations, judges, seeing)
    generating = timed[id(supernet)].evaluated
    genetic = search_settings.genetic(search)
    subnets = genetic.population_size * (1 + search.evolution_iters)
    total += subnets * _images(search, device) * (sum(generating) / len(generating) + seeing)
    print(
        f"about {duration(total)} on {device_name(device)} with {torch.get_num_threads()} threads, "
        "going by a few steps",
        *busy_note(busy),
        sep="\n",
    )


if __name__ == "__main__":
    run(main)
