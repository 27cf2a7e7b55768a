"""Runners for the scripts, and what the session's tests share.

That is a tiny dataset, and a pipeline run once by the real scripts.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import cheaper
import numpy as np
import pytest
import torch
from fake_cuda.build import Unbuildable, extension_path
from filelock import FileLock
from fork_server import ForkServer, Process
from PIL import Image
from processes import ENVIRONMENT, ROOT, Outcome, command

from models.config import ChannelConfig
from models.generators import GeneratorSpec
from models.supernet import extract
from models.weights import load_generator, save_network
from prepare.builtin import write_builtin_dataset

SIZE = 32  # pixels of an image's side
BUDGET = 4e7  # MACs at 32x32: a third of the configurations of channels-32
SPACE = ("--config_set", "channels-32")

# --------------------------------------------------------------------------------------------------
# Running scripts


@pytest.fixture(autouse=True)
def cheap_measures(monkeypatch):
    """As in the processes of the fork server, for what runs in this one."""
    for target, replacement in cheaper.REPLACED.items():
        monkeypatch.setattr(target, replacement)


@pytest.fixture
def fresh_cli() -> Callable[..., Outcome]:
    """As ``cli``, by a Python that starts as users start it."""

    def run(script: str, *args: object, timeout: float = 120) -> Outcome:
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, *command(script, *args)],
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Outcome(done.returncode, done.stdout, done.stderr, time.monotonic() - start)

    return run


@pytest.fixture
def spawn(fork_server):
    """``spawn(script, *args)``: start a script and return its process; killed after the test.

    ``max_file_bytes``: it cannot write files beyond that, as on a full disk.
    """
    started = []

    def start(script: str, *args: object, max_file_bytes: int | None = None) -> Process:
        how = dict(cwd=str(ROOT), env=ENVIRONMENT, max_file_bytes=max_file_bytes)
        process = fork_server.start(command(script, *args), merged=True, **how)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def call(monkeypatch) -> Callable[..., Outcome]:
    """``call(script, *args)``: as ``cli``, but in this process, which saves the start of one."""

    def run(script: str, *args: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", [script, *map(str, args)])
        monkeypatch.setattr("data.transforms._warned", False)
        out, err, code = io.StringIO(), io.StringIO(), 0
        start = time.monotonic()
        with (
            torch.random.fork_rng(devices=[]),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                runpy.run_path(str(ROOT / script), run_name="__main__")
            except SystemExit as stop:
                code = stop.code or 0
            except Exception:  # as the interpreter ends a process
                code = 1
                traceback.print_exc()
        return Outcome(code, out.getvalue(), err.getvalue(), time.monotonic() - start)

    monkeypatch.syspath_prepend(str(ROOT))
    return run


# --------------------------------------------------------------------------------------------------
# Running scripts on a fake GPU


class FakeGpu:
    """Runs scripts in one process that has the fake device; starts another one if it dies."""

    def __init__(self, fork_server: ForkServer):
        self.fork_server = fork_server
        paths = map(str, (ROOT / "tests", ROOT))
        self.environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(paths),
        }
        self.process: subprocess.Popen | None = None

    def __call__(self, script: str, *args: object) -> str:
        """What ``script`` prints; it must succeed."""
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fake_cuda.run"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self.process.stdin.write(json.dumps([script, *map(str, args)]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the process ended with {self.process.wait()}"
        answer = json.loads(line)
        assert answer["code"] == 0, answer["output"][-6000:]
        return answer["output"]

    def two_processes(self, script: str, *args: object) -> str:
        """The same under torchrun, a GPU for each of two processes."""
        launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
        python = ("--no-python", str(self.fork_server.python))
        words = [*launcher, *python, "-m", "fake_cuda.run", script, *map(str, args)]
        process = self.fork_server.start(words, True, cwd=str(ROOT), env=self.environment)
        output, _ = process.communicate(200)
        assert process.returncode == 0, output[-6000:]
        return output

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate()


@pytest.fixture(scope="session")
def gpu(fork_server):
    """``gpu(script, *args)``: run a script on a fake GPU."""
    try:
        extension_path()
    except Unbuildable as reason:
        pytest.skip(f"the fake GPU cannot be built: {reason}")
    runner = FakeGpu(fork_server)
    yield runner
    runner.close()


# --------------------------------------------------------------------------------------------------
# Looking at what is on disk


@pytest.fixture(scope="session")
def snapshot() -> Callable[..., dict[str, tuple[int, int]]]:
    """``snapshot(*folders)``: file -> (size, time of the last write), of all files below."""

    def take(*folders: Path) -> dict[str, tuple[int, int]]:
        files = {p: p.stat() for folder in folders for p in folder.rglob("*") if p.is_file()}
        return {str(p): (info.st_size, info.st_mtime_ns) for p, info in files.items()}

    return take


@pytest.fixture(scope="session")
def read_lines() -> Callable[[Path], list[dict]]:
    """All objects of a JSON lines file; every line must be whole."""

    def read(path: Path) -> list[dict]:
        text = path.read_text()
        assert text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]

    return read


# --------------------------------------------------------------------------------------------------
# The pipeline


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """``shared(name, make)``: the path that ``make(path)`` fills, once for all test processes."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    root = root / "shared"
    root.mkdir(exist_ok=True)

    def get(name: str, make: Callable[[Path], object]) -> Path:
        path, done = root / name, root / f"{name}.done"
        with FileLock(root / f"{name}.lock"):
            if not done.exists():
                make(path)
                done.touch()
        return path

    return get


@pytest.fixture(scope="session")
def dataset(shared) -> Path:
    """8 pairs to train on, 6 to validate."""
    sizes = dict(train=8, val=6, size=SIZE, workers=0, progress=False)
    return shared("dataset", lambda path: write_builtin_dataset(path, **sizes))


@pytest.fixture(scope="session")
def horses(shared) -> Path:
    """A small horse2zebra, folders of other counts, names and sizes: A dark and smooth, B bright
    and striped."""

    def make(root: Path) -> None:
        rng = np.random.default_rng(0)
        for folder, count in {"trainA": 9, "trainB": 12, "valA": 6, "valB": 5}.items():
            (root / folder).mkdir(parents=True)
            for i in range(count):
                if folder.endswith("A"):
                    pixels = rng.integers(20, 120, (4, 5, 3), dtype=np.uint8)
                    name = f"horse_{i}.png"
                else:
                    stripes = np.where(rng.random((6, 3, 1)) < 0.5, 250, 90)
                    pixels, name = stripes.astype(np.uint8).repeat(3, 2), f"zebra_{7 * i}.jpg"
                Image.fromarray(pixels).resize((48, 40)).save(root / folder / name)

    return shared("horses", make)


@pytest.fixture(scope="session")
def horse_flags(horses) -> tuple[object, ...]:
    machine = ("--num_threads", 1, "--gpu_ids", -1, "--fid_features", "random", "--fid_dims", 64)
    return ("--dataroot", horses, "--dataset_mode", "unaligned", *machine)


@pytest.fixture(scope="session")
def cycle_flags(horse_flags) -> tuple[object, ...]:
    """9 steps: 3 epochs of 3 batches, with pools that are full after the first."""
    sizes = ("--load_size", SIZE + 4, "--crop_size", SIZE, "--batch_size", 4, "--pool_size", 6)
    nets = ("--netG", "mobile_resnet_9blocks", "--ngf", 8, "--ndf", 8)
    length = ("--nepochs", 2, "--nepochs_decay", 1, "--save_epoch_freq", 1, "--print_freq", 1)
    return (*horse_flags, "--model", "cycle_gan", *sizes, *nets, *length)


@pytest.fixture(scope="session")
def cycle(trained, cycle_flags) -> Path:
    """The folder of a trained CycleGAN."""
    return trained("cycle", "train.py", *cycle_flags)


@pytest.fixture(scope="session")
def data_flags(dataset) -> tuple[object, ...]:
    """Of every script that reads images."""
    images = ("--dataroot", dataset, "--direction", "BtoA", "--num_threads", 1, "--gpu_ids", -1)
    return (*images, "--fid_features", "random", "--fid_dims", 64)


@pytest.fixture(scope="session")
def training_flags(data_flags) -> tuple[object, ...]:
    """6 steps: 3 epochs of 2 batches."""
    sizes = ("--load_size", SIZE + 4, "--crop_size", SIZE, "--batch_size", 4, "--ndf", 8)
    length = ("--nepochs", 2, "--nepochs_decay", 1, "--save_epoch_freq", 1, "--print_freq", 1)
    return (*data_flags, *sizes, *length)


@pytest.fixture(scope="session")
def inference_flags(data_flags) -> tuple[object, ...]:
    return (*data_flags, "--load_size", SIZE, "--crop_size", SIZE, "--batch_size", 4)


@pytest.fixture(scope="session")
def trained(cli, shared) -> Callable[..., Path]:
    """``trained(name, script, *flags)``: the folder of a run that all tests share."""

    def run(name: str, script: str, *flags: object, folder: str = "--log_dir") -> Path:
        return shared(name, lambda path: cli(script, *flags, folder, path).succeeded())

    return run


@pytest.fixture(scope="session")
def teacher_flags(training_flags) -> tuple[object, ...]:
    return (*training_flags, "--netG", "mobile_resnet_9blocks", "--ngf", 36)


@pytest.fixture(scope="session")
def teacher(trained, teacher_flags) -> Path:
    """The folder of a trained mobile teacher."""
    return trained("teacher", "train.py", *teacher_flags)


@pytest.fixture(scope="session")
def student_flags(training_flags, teacher) -> tuple[object, ...]:
    """Of all that learn from the teacher."""
    return (
        *training_flags,
        "--restore_teacher_G_path",
        teacher / "checkpoints" / "latest_net_G.pth",
    )


@pytest.fixture(scope="session")
def distilled(trained, student_flags, teacher) -> Path:
    """The folder of a student pruned from the teacher and distilled."""
    pruned = ("--restore_pretrained_G_path", teacher / "checkpoints" / "latest_net_G.pth")
    flags = (*student_flags, *pruned, "--student_ngf", 32)
    return trained("distilled", "distill.py", *flags)


@pytest.fixture(scope="session")
def supernet_flags(student_flags, distilled) -> tuple[object, ...]:
    start = ("--restore_student_G_path", distilled / "checkpoints" / "latest_net_G.pth")
    return (*student_flags, *start, *SPACE, "--student_ngf", 32)


@pytest.fixture(scope="session")
def supernet(trained, supernet_flags) -> Path:
    """The folder of a supernet that starts from the distilled student."""
    return trained("supernet", "train_supernet.py", *supernet_flags)


QUALITY = ("--sandwich", 1, "--config_per_image", "--ema", 0.9)


@pytest.fixture(scope="session")
def quality_flags(supernet_flags) -> tuple[object, ...]:
    """A supernet trained with all options of its quality at once."""
    return (*supernet_flags, *QUALITY)


@pytest.fixture(scope="session")
def quality_supernet(trained, quality_flags) -> Path:
    return trained("quality", "train_supernet.py", *quality_flags)


@pytest.fixture(scope="session")
def supernet_pth(supernet) -> Path:
    return supernet / "checkpoints" / "latest_net_G.pth"


@pytest.fixture(scope="session")
def narrow_pth(shared, supernet_pth) -> Path:
    """The narrowest subnet as a network of its own."""

    def make(path: Path) -> None:
        supernet, spec = load_generator(supernet_pth, "")
        config = ChannelConfig.uniform(16)
        name = "sub_mobile_resnet_9blocks"
        save_network(
            extract(supernet, config),
            path / "net_G.pth",
            GeneratorSpec(name, config_str=str(config), norm=spec.norm),
        )

    return shared("narrow", make) / "net_G.pth"


@pytest.fixture(scope="session")
def search_flags(inference_flags, supernet_pth) -> tuple[object, ...]:
    """Of evolution_search.py and search.py, but for the budget and where results go."""
    return (*inference_flags, "--restore_G_path", supernet_pth, *SPACE)


@pytest.fixture(scope="session")
def evolution_flags(search_flags) -> tuple[object, ...]:
    """3 generations of 8 subnets, some fewer where no new child was found."""
    size = ("--population_size", 8, "--evolution_iters", 2, "--parent_ratio", 0.5)
    return (*search_flags, "--budget", BUDGET, *size)


@pytest.fixture(scope="session")
def evolution(trained, evolution_flags) -> Path:
    """The folder of a genetic search."""
    return trained("evolution", "evolution_search.py", *evolution_flags, folder="--output_dir")


@pytest.fixture(scope="session")
def best_config(evolution) -> str:
    return json.loads((evolution / "summary.json").read_text())["best"][0]["config_str"]


@pytest.fixture(scope="session")
def finetuned(trained, student_flags, supernet_pth, best_config) -> Path:
    """The folder of the best subnet, fine-tuned."""
    flags = (*student_flags, "--restore_student_G_path", supernet_pth, "--config_str", best_config)
    return trained("finetuned", "train_supernet.py", *flags)


@pytest.fixture(scope="session")
def exported(cli, shared, finetuned, best_config) -> Path:
    """A stand-alone network cut out of the fine-tuned supernet."""
    source = finetuned / "checkpoints" / "latest_net_G.pth"
    flags = ("--input_path", source, "--config_str", best_config)

    def make(path: Path) -> None:
        cli("export.py", *flags, "--output_path", path / "net_G.pth").succeeded()

    return shared("exported", make) / "net_G.pth"
