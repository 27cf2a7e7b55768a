"""Two processes started by torchrun (gloo, CPU) do what one does."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from fork_server import Process

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def torchrun(fork_server):
    """``torchrun(script, *args)``: start it on two processes."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--no-python")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def start(script: str, *args: object) -> Process:
        words = [*launcher, str(fork_server.python), script, *map(str, args)]
        return fork_server.start(words, True, cwd=str(ROOT), env=environment, session=True)

    return start


def finish(process: Process, timeout: float = 150) -> tuple[int, str]:
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"torchrun did not end: {process.communicate()[0][-3000:]}")
    return process.returncode, output


AGREEING = """
import torch
from models.discriminators import build_discriminator
from models.generators import GeneratorSpec
from data.loader import Batch
from runtime import distributed
from training.tasks import LossWeights, TeacherTask

distributed.setup("cpu")
rank = distributed.rank()
assert distributed.largest(15 * rank) == 15
torch.manual_seed(0)
spec = GeneratorSpec("resnet_9blocks", ngf=4, norm="batch")
net_d = build_discriminator("n_layers", 6, 4, 1, "batch")
task = TeacherTask([spec.build()], net_d, [spec], LossWeights(), 1e-3, 0.5, torch.device("cpu"))
torch.manual_seed(1 + rank)
task.step(Batch(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16), ["a", "b"]), 0)
states = distributed.gather_objects({k: n.state_dict() for k, n in task.networks.items()})
means = [v for k, v in states[0]["G"].items() if k.endswith("running_mean")]
assert len(means) > 10 and all(m.any() for m in means)
for name, ours in states[0].items():
    for key, value in ours.items():
        assert torch.equal(value, states[1][name][key]), (name, key)
distributed.shutdown()
print("agreed")
"""


def test_processes_agree_on_statistics_and_signals(torchrun, tmp_path):
    """Running statistics of batch norms are everyone's; the largest signal reaches all."""
    script = tmp_path / "agree.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{AGREEING}")
    code, output = finish(torchrun(str(script)))
    assert code == 0 and output.count("agreed") == 2, output


POOLING = """
import torch
from models.discriminators import build_discriminator
from models.generators import GeneratorSpec
from models.layers import init_weights
from data.loader import Batch
from runtime import distributed
from training.cycle_gan import CycleGanTask, CycleWeights
from training.tasks import LossWeights

def train(rank, world):
    torch.manual_seed(0)
    spec, device = GeneratorSpec("resnet_9blocks", ngf=2), torch.device("cpu")
    nets_g = [init_weights(spec.build()) for _ in "AB"]
    nets_d = [init_weights(build_discriminator("n_layers", 3, 2, 1)) for _ in "AB"]
    rest = LossWeights("lsgan"), CycleWeights(), 3, 1, 0.0, 0.5, device
    task = CycleGanTask(nets_g, nets_d, [spec, spec], *rest)
    images = torch.rand(5, 2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    for step, (a, b) in enumerate(images):
        mine = slice(4 // world * rank, 4 // world * (rank + 1))
        task.step(Batch(a[mine], b[mine], ["x"] * len(a[mine])), step)
    return [pool.state_dict()["images"] for pool in task.pools]
"""


def test_processes_keep_the_pools_of_the_joint_batch(torchrun, tmp_path):
    """All keep the same ones, whoever saves them: those of one process with all images."""
    script = tmp_path / "pool.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{POOLING}"
        "distributed.setup('cpu')\n"
        "rank = distributed.rank()\n"
        f"torch.save(train(rank, 2), f'{tmp_path}/{{rank}}.pth')\n"
        "distributed.shutdown()\n"
    )
    code, output = finish(torchrun(str(script)))
    assert code == 0, output
    alone = {}
    exec(POOLING, alone)
    expected = alone["train"](0, 1)
    found = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in (0, 1)]
    for ours, theirs, wanted in zip(*found, expected, strict=True):
        assert torch.equal(ours, theirs)
        torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-5)


def test_a_process_without_images_to_evaluate(torchrun, teacher_flags, tmp_path, read_lines):
    """One batch holds all of val: the second process has none, and measures and draws nothing."""
    flags = (*teacher_flags, "--niters", 1, "--batch_size", 2, "--norm", "batch")
    code, output = finish(
        torchrun("train.py", *flags, "--eval_batch_size", 6, "--log_dir", tmp_path / "two")
    )
    assert code == 0, output
    (evaluation,) = [r for r in read_lines(tmp_path / "two" / "log.jsonl") if r["event"] == "eval"]
    assert evaluation["metrics"]["G"]["n"] == 6
    assert len(list((tmp_path / "two" / "eval").glob("*.png"))) == 1


def without_time(records: list[dict]) -> list[dict]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def same_numbers(one: list[dict], two: list[dict]) -> None:
    """Within float tolerance, losses and measures of two logs."""
    assert [r["event"] for r in one] == [r["event"] for r in two]
    for a, b in zip(one, two, strict=True):
        if a["event"] == "train":
            assert b["losses"] == pytest.approx(a["losses"], rel=2e-3, abs=2e-3)
        else:
            for label, metrics in a["metrics"].items():
                assert b["metrics"][label]["n"] == metrics["n"]
                assert b["metrics"][label]["fid"] == pytest.approx(metrics["fid"], rel=0.02)


def test_two_processes_train_as_one_on_the_joint_batch(
    torchrun, quality_supernet, quality_flags, tmp_path, read_lines
):
    """Batches of 2 on two processes equal batches of 4 on one, a configuration for each image.

    Evaluation is included.
    """
    one, two = quality_supernet, tmp_path / "two"
    code, output = finish(
        torchrun("train_supernet.py", *quality_flags, "--batch_size", 2, "--log_dir", two)
    )
    assert code == 0, output
    same_numbers(*(read_lines(folder / "log.jsonl") for folder in (one, two)))
    # One process speaks and writes: a bar and a closing line once, no file of another rank.
    assert output.count("finished, best") == 1
    names = {str(p.relative_to(one)) for p in one.rglob("*") if p.is_file()}
    assert names == {str(p.relative_to(two)) for p in two.rglob("*") if p.is_file()}


def test_two_processes_draw_one_configuration(
    torchrun, supernet, supernet_flags, tmp_path, read_lines
):
    """The first epoch, with the measures before and after it."""
    flags = (*supernet_flags, "--batch_size", 2, "--niters", 2)
    code, output = finish(torchrun("train_supernet.py", *flags, "--log_dir", tmp_path / "two"))
    assert code == 0, output
    logs = [read_lines(folder / "log.jsonl") for folder in (supernet, tmp_path / "two")]
    assert [r["event"] for r in logs[1]] == ["eval", "train", "train", "eval"]
    same_numbers(logs[0][:4], logs[1])


def test_two_processes_train_a_cycle_gan_as_one(torchrun, cycle, cycle_flags, tmp_path, read_lines):
    """The first epoch, with evaluation in both directions."""
    flags = (*cycle_flags, "--batch_size", 2, "--niters", 3)
    code, output = finish(torchrun("train.py", *flags, "--log_dir", tmp_path))
    assert code == 0, output
    logs = [read_lines(folder / "log.jsonl") for folder in (cycle, tmp_path)]
    # Up to the last batch, which two processes fill.
    steps = [[r for r in log if r["event"] == "train"][:2] for log in logs]
    for a, b in zip(*steps, strict=True):
        assert b["losses"] == pytest.approx(a["losses"], rel=2e-3, abs=2e-3)
    for log in logs:
        evaluation = next(r for r in log if r["event"] == "eval")
        assert [m["n"] for m in evaluation["metrics"].values()] == [6, 5]


def _worker(launcher: int, rank: int) -> int | None:
    """Process number of the worker with that rank."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        if parent == launcher and f"RANK={rank}".encode() in environment:
            return int(pid)
    return None


@pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="finds the worker through /proc"
)
def test_a_dead_worker_ends_the_search_and_a_restart_continues(
    torchrun, evolution, tmp_path, evolution_flags, read_lines
):
    """Before and after, two processes find what one finds."""
    folder = tmp_path / "two"
    process = torchrun("evolution_search.py", *evolution_flags, "--output_dir", folder)
    results = folder / "evaluations.jsonl"
    deadline = time.monotonic() + 120
    while not (results.exists() and results.read_bytes().count(b"\n") >= 4):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(_worker(process.pid, 1), signal.SIGKILL)
    code, output = finish(process)
    assert code != 0
    assert (
        "another process of this run ended" in output or "SIGKILL" in output or "Signal 9" in output
    )
    code, output = finish(torchrun("evolution_search.py", *evolution_flags, "--output_dir", folder))
    assert code == 0, output
    assert without_time(read_lines(results)) == without_time(
        read_lines(evolution / "evaluations.jsonl")
    )
    best = [json.loads((f / "summary.json").read_text())["best"][0] for f in (folder, evolution)]
    assert best[0]["config_str"] == best[1]["config_str"]


@pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="finds the worker through /proc"
)
def test_a_signal_to_one_process_stops_all_with_their_state_saved(
    torchrun, teacher_flags, tmp_path
):
    flags = (*teacher_flags, "--nepochs", 1000, "--no_fid", "--log_dir", tmp_path / "two")
    process = torchrun("train.py", *flags, "--batch_size", 2)
    log, deadline = tmp_path / "two" / "log.jsonl", time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(_worker(process.pid, 1), signal.SIGTERM)
    code, output = finish(process, timeout=60)
    assert code != 0 and "stopped by SIGTERM: the state is saved" in output, output
    assert (tmp_path / "two" / "checkpoints" / "state.pth").exists()


SPADE = """
import torch
from data.loader import Batch
from models.generators import GeneratorSpec
from models.layers import init_weights
from models.multi_scale import MultiScaleDiscriminator
from models.spade import SpadeConfig, SpadeForm
from runtime import distributed
from training.spade import Rates, SpadeTask, SpadeWeights
from training.tasks import LossWeights, Subnets

def train(rank, world):
    torch.manual_seed(0)
    form = SpadeForm("normal")
    spec = GeneratorSpec("super_mobile_spade", 2, None, 5, 3, "batch", form=form)
    net = init_weights(spec.build(), "xavier", 0.5)
    net_d = init_weights(MultiScaleDiscriminator(8, 2, 3), "xavier", 0.5)
    configs = SpadeConfig((2,) * 8), SpadeConfig((1, 2, 1, 2, 1, 2, 1, 2))
    subnets = Subnets(lambda step, images: [configs[step % 2]], {})
    rates = Rates((1e-3, 1e-3), (0.0, 0.9))
    task = SpadeTask(net, spec, net_d, LossWeights(), SpadeWeights(1, 0), rates,
                     torch.device("cpu"), subnets=subnets)
    # Adam would make steps of the rounding errors of gradients that are zero.
    sgd = [task._trained(), [*net_d.parameters()]]
    task.optimizers = [torch.optim.SGD(parameters, 0.05) for parameters in sgd]
    draw = torch.Generator().manual_seed(1)
    for step in range(3):
        a = torch.rand(4, 5, 32, 64, generator=draw)
        b = torch.rand(4, 3, 32, 64, generator=draw)
        mine = slice(4 // world * rank, 4 // world * (rank + 1))
        task.step(Batch(a[mine], b[mine], ["x"] * len(a[mine])), step)
    return {k: v for name in "GD" for k, v in task.networks[name].state_dict().items()}
"""


def test_batch_norms_of_spade_take_the_images_of_all_processes(torchrun, tmp_path):
    """Two processes with half of a batch each make the step of one process with all of it."""
    script = tmp_path / "spade.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{SPADE}"
        "distributed.setup('cpu')\n"
        "rank = distributed.rank()\n"
        f"torch.save(train(rank, 2), f'{tmp_path}/{{rank}}.pth')\n"
        "distributed.shutdown()\n"
    )
    code, output = finish(torchrun(str(script)))
    assert code == 0, output
    alone = {}
    exec(SPADE, alone)
    expected = alone["train"](0, 1)
    found = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in (0, 1)]
    for key, wanted in expected.items():
        assert torch.equal(found[0][key], found[1][key]), key
        torch.testing.assert_close(found[0][key], wanted, rtol=0, atol=2e-4, msg=key)
    mean = "head_0.norm_0.param_free_norm.running_mean"
    assert expected[mean].abs().max() > 0.01
