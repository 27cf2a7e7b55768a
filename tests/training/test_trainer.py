"""The loop: a run that was stopped and continued is the run that was never stopped, and nothing
good is ever lost."""

import contextlib
import ctypes
import gc
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cheaper
import numpy as np
import pytest
import torch

from data.loader import Loader
from data.transforms import Crops
from errors import InputError
from evaluation.evaluator import Evaluator
from evaluation.real import measure_real
from metrics.criteria import FeatureCriterion
from metrics.inception import load_inception
from models.config import ChannelConfig
from models.discriminators import build_discriminator
from models.generators import GeneratorSpec
from models.layers import init_weights
from models.weights import load_generator
from report.run import write_run_page
from runtime.files import load_tensors, read_json_lines, save_tensors
from training.augmentation import CHANGES, Augmentation
from training.cycle_gan import CycleGanTask, CycleWeights
from training.feature_networks import DiscriminatorFeatures
from training.image_losses import ImageLosses, ImageLossWeights
from training.online import OnlineTask, RealLosses
from training.quantisation import QuantisedConv2d, Ranges, quantise
from training.schedules import Schedule
from training.tasks import DistillTask, Judge, LossWeights, Subnets, TeacherTask, make_adaptors
from training.trainer import Evaluation, Plan, Stopped, Trainer

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
TEACHER = GeneratorSpec("resnet_3blocks", 2)
DEEPER = GeneratorSpec("mobile_resnet_3blocks", 2, dropout_rate=0.3)
# Dropout draws random numbers in every step: a run is only continued rightly when they are too.
STUDENT = GeneratorSpec("super_mobile_resnet_3blocks", 3, dropout_rate=0.3)
SETTINGS = {"script": "train_supernet.py", "lr": 1e-3, "seed": 1}
pytestmark = pytest.mark.usefixtures("three_blocks")


@pytest.fixture(autouse=True, scope="module")
def no_waiting_for_the_disk():
    """Hundreds of small files are written here; that they reach the disk at once is not what is
    tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


class Noise:
    """Nine pairs of random pixels in memory."""

    names = [f"image{i}" for i in range(9)]

    def __len__(self):
        return len(self.names)

    def load(self, index):
        a, b = np.random.default_rng(index).integers(0, 256, (2, 3, 16, 16), dtype=np.uint8)
        return {"A": a, "B": b}


def make_loader() -> Loader:
    """Five steps an epoch, the last with one image."""
    return Loader(Noise(), 2, CPU, Crops((12, 12), True, True), shuffle=True, seed=1, threads=1)


def make_images() -> torch.Tensor:
    return torch.cat([batch.A for batch in make_loader().epoch()])


def make_task(kind: str = "supernet"):
    torch.manual_seed(0)
    heads = 2 if kind == "two teachers" else 1
    net_d = build_discriminator("n_layers", 6, 2, 1, heads=heads, share=1)
    init_weights(net_d, gain=0.2)
    teacher = init_weights(TEACHER.build(), gain=0.2)
    if kind == "augmented teacher":
        return TeacherTask(
            *([teacher], net_d, [TEACHER], LossWeights(), 1e-3, 0.5, CPU),
            augment=Augmentation(CHANGES),
            ema=0.9,
        )
    if kind == "teacher":  # with a gradient penalty, which draws random numbers
        return TeacherTask([teacher], net_d, [TEACHER], LossWeights("wgangp"), 1e-3, 0.5, CPU)
    if kind == "cycle_gan":  # with pools that draw random images
        nets_g = [teacher, init_weights(TEACHER.build(), gain=0.2)]
        nets_d = [init_weights(build_discriminator("n_layers", 3, 2, 1), gain=0.2) for _ in "AB"]
        rest = (LossWeights("wgangp"), CycleWeights(), 4, 1, 1e-3, 0.5, CPU)
        more = dict(augment=Augmentation(CHANGES), ema=0.9)
        return CycleGanTask(nets_g, nets_d, [TEACHER, TEACHER], *rest, **more)
    if kind == "8 bits averaged":
        spec = replace(STUDENT, netG="mobile_resnet_3blocks")
        student = init_weights(spec.build(), gain=0.2)
        quantise(student, [make_images()])
        adaptors = make_adaptors(spec, TEACHER, "normal", 0.2)
        losses = (LossWeights(), 1e-3, 0.5, CPU)
        return DistillTask(student, teacher, net_d, adaptors, spec, *losses, ema=0.9)
    student = init_weights(STUDENT.build(), gain=0.2)
    adaptors = make_adaptors(STUDENT, TEACHER, "normal", 0.2)
    if kind == "two teachers":  # they learn beside their student
        nets = [teacher, init_weights(DEEPER.build(), gain=0.2)]
        teaching = TeacherTask(nets, net_d, [TEACHER, DEEPER], LossWeights(), 1e-3, 0.5, CPU)
        losses = ImageLosses(ImageLossWeights(), DiscriminatorFeatures(net_d))
        own = init_weights(build_discriminator("n_layers", 6, 2, 1), gain=0.2)
        real = RealLosses(Judge(own, True, Augmentation(CHANGES), "none"))
        draw = lambda step, images: [ChannelConfig.uniform(2 + step % 2)]  # noqa: E731
        return OnlineTask(
            *(student, teaching, adaptors, STUDENT, losses, "mse", 1e-3, 0.5, CPU),
            subnets=Subnets(draw, {"smallest": ChannelConfig.uniform(2)}),
            every=2,
            ema=0.9,
            real=real,
        )
    large, small = ChannelConfig.uniform(3), ChannelConfig.uniform(2)
    subnets = Subnets(
        lambda step, images: [(large, small)[step % 2]], {"largest": large, "smallest": small}
    )
    return DistillTask(
        student, teacher, net_d, adaptors, STUDENT, LossWeights(), 1e-3, 0.5, CPU, subnets
    )


def make_nudged(kind: str = "supernet"):
    """A task whose steps cost nothing: the images and the rate move every weight a little."""
    task = make_task(kind)

    @torch.no_grad()
    def step(batch, index):
        rate = task.optimizers[0].param_groups[0]["lr"]
        for net in task.networks.values():
            for weight in net.parameters():
                weight.add_(rate * batch.A.mean())
        return {"G_recon": batch.A.mean()}

    task.step = step
    return task


def make_evaluation(scores=None, criterion="fid", lower_is_better=True) -> Evaluation:
    """Without ``scores``, a measure that depends on the network; with them, one after another."""
    scores = iter(scores) if scores is not None else None
    images = make_images()

    @torch.no_grad()
    def measure(generate):
        if scores is not None:
            return {criterion: next(scores)}
        return {criterion: float(generate(images).square().mean()), "n": len(images)}

    montage = lambda generators: np.zeros((4, 4, 3), np.uint8)  # noqa: E731
    return Evaluation(measure, montage, criterion, lower_is_better, "FID (test)")


PLAN = Plan(epochs=3, print_freq=4, save_latest_freq=7, save_epoch_freq=2)
SHORT = Plan(epochs=1, max_steps=2, print_freq=1)
SCHEDULE = Schedule("linear", "iter", 1, 2)


def make_trainer(
    folder, task=None, plan=PLAN, schedule=SCHEDULE, evaluation="default", settings=SETTINGS
) -> Trainer:
    evaluation = make_evaluation() if evaluation == "default" else evaluation
    return Trainer(task or make_task(), make_loader(), schedule, plan, folder, evaluation, settings)


def after_step(task, number: int, action):
    """A task that does something in its ``number``-th step of this process, 1-based."""
    step, count = task.step, [0]

    def wrapped(batch, index):
        losses = step(batch, index)
        count[0] += 1
        return action(losses) if count[0] == number else losses

    task.step = wrapped
    return task


def terminate(losses):
    os.kill(os.getpid(), signal.SIGTERM)
    return losses


def equal(a, b) -> bool:
    """Equality of nested states, tensors bit for bit."""
    if torch.is_tensor(a):
        return torch.is_tensor(b) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def assert_same_run(first, second):
    """Everything two runs left is equal."""
    files = [
        sorted(str(p.relative_to(f)) for p in f.rglob("*") if p.name != "state.previous.pth")
        for f in (first, second)
    ]
    assert files[0] == files[1]
    for name in ("log.jsonl", "results.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    states = [load_tensors(f / "checkpoints" / "state.pth", "") for f in (first, second)]
    for key in states[0]:
        assert equal(states[0][key], states[1][key]), key
    for path in (first / "checkpoints").glob("*_net_*.pth"):
        assert equal(
            dict(load_tensors(path, "")), dict(load_tensors(second / "checkpoints" / path.name, ""))
        ), path.name


# --------------------------------------------------------------------------------------------------
# In one go


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 15 steps that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    results = make_trainer(folder).run()
    return folder, results


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """``stopped(step, folder)``: fill ``folder`` with the run as it was stopped after ``step``."""
    made = {}

    def fill(step: int, folder: Path) -> None:
        if step not in made:
            made[step] = tmp_path_factory.mktemp("stopped")
            with pytest.raises(Stopped):
                make_trainer(made[step], after_step(make_task(), step, terminate)).run()
        shutil.copytree(made[step], folder, dirs_exist_ok=True)

    return fill


def test_a_run_leaves_its_checkpoints_and_a_log(whole):
    folder, results = whole
    names = {p.name for p in (folder / "checkpoints").iterdir()}
    nets = ("G", "D", "A-0", "A-1", "A-2", "A-3")
    assert {f"{tag}_net_{net}.pth" for tag in ("latest", "best", "2", "3") for net in nets} <= names
    assert not any(name.startswith(("1_net", ".")) for name in names)
    records = read_json_lines(folder / "log.jsonl")
    train = [r for r in records if r["event"] == "train"]
    assert [r["step"] for r in train] == [4, 8, 12, 15]
    assert set(train[0]["losses"]) >= {
        "D_fake",
        "D_real",
        "G_gan",
        "G_recon",
        "G_distill",
        "G_distill3",
    }
    evaluations = [r for r in records if r["event"] == "eval"]
    assert [(r["epoch"], r["step"]) for r in evaluations] == [(2, 7), (2, 10), (3, 14), (3, 15)]
    assert set(evaluations[0]["metrics"]) == {"largest", "smallest"}
    assert evaluations[0]["measure"] == "FID (test)"
    assert len(list((folder / "eval").glob("*.png"))) == 4
    assert results["finished"] and results["step"] == 15 and results["epoch"] == 3
    assert results == json.loads((folder / "results.json").read_text())
    assert results["best"]["score"] == min(r["score"] for r in evaluations)


def test_the_latest_checkpoint_is_the_network_at_the_end(whole):
    folder, _ = whole
    net, spec = load_generator(folder / "checkpoints" / "latest_net_G.pth", "--restore_G_path")
    assert spec == STUDENT
    state = load_tensors(folder / "checkpoints" / "state.pth", "")
    assert equal(dict(net.state_dict()), dict(state["networks"]["G"]))


def test_a_finished_run_is_not_run_again(whole, capsys):
    folder, results = whole
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    task = make_task()
    task.step = None
    assert make_trainer(folder, task).run() == results
    assert "already finished" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == before


def test_logged_losses_are_means_over_their_steps(tmp_path):
    seen = []
    task = make_task()
    step = task.step
    task.step = lambda batch, i: seen.append(step(batch, i)) or seen[-1]
    make_trainer(tmp_path, task).run()
    train = [r for r in read_json_lines(tmp_path / "log.jsonl") if r["event"] == "train"]
    for record, part in zip(train, (seen[:4], seen[4:8], seen[8:12], seen[12:]), strict=True):
        expected = sum(float(losses["G_recon"]) for losses in part) / len(part)
        assert record["losses"]["G_recon"] == pytest.approx(expected, rel=1e-5)


def test_the_learning_rate_follows_the_schedule(whole):
    train = [r for r in read_json_lines(whole[0] / "log.jsonl") if r["event"] == "train"]
    expected = [1e-3 * SCHEDULE.factor(0, record["step"] - 1, 5) for record in train]
    assert [r["lr"] for r in train] == pytest.approx(expected)


# --------------------------------------------------------------------------------------------------
# Stopped and continued


def test_a_stopped_run_continues_as_if_it_had_not_been(whole, tmp_path):
    """Stopped beside an evaluation."""
    trainer = make_trainer(tmp_path, after_step(make_task(), 7, terminate))
    with pytest.raises(Stopped, match="SIGTERM"):
        trainer.run()
    assert not (tmp_path / "results.json").exists()
    torch.manual_seed(99)  # another process starts with other random numbers
    results = make_trainer(tmp_path).run()
    assert results == whole[1]
    assert_same_run(whole[0], tmp_path)


def test_a_run_may_be_stopped_at_every_step(whole, tmp_path):
    """At the first, in the middle and at the end of an epoch, and at the very end too."""
    for _ in range(15):
        with pytest.raises(Stopped):
            make_trainer(tmp_path, after_step(make_task(), 1, terminate)).run()
    make_trainer(tmp_path).run()
    assert_same_run(whole[0], tmp_path)


@pytest.mark.parametrize(
    ("kind", "policy", "epochs"),
    [
        ("teacher", "plateau", 3),
        ("augmented teacher", "step", 3),
        ("two teachers", "linear", 2),
        ("cycle_gan", "linear", 2),
        ("8 bits averaged", "linear", 2),
    ],
)
def test_other_tasks_continue_as_well(tmp_path, kind, policy, epochs):
    """Stopped after 3 and 8 of 5 steps an epoch."""
    schedule = Schedule(policy, "epoch", 1, 2, decay_steps=1)
    plan = replace(PLAN, epochs=epochs)
    for name, stops in (("one", ()), ("two", (3, 5))):
        for stop in stops:
            with pytest.raises(Stopped):
                make_trainer(
                    tmp_path / name, after_step(make_task(kind), stop, terminate), plan, schedule
                ).run()
            torch.manual_seed(99)
        make_trainer(tmp_path / name, make_task(kind), plan, schedule).run()
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_a_killed_run_continues_from_its_last_state(whole, tmp_path):
    """No signal could be handled: everything since the last save is done, and written, again."""

    class Killed(BaseException):
        pass

    def kill(losses):
        raise Killed

    with pytest.raises(Killed):
        make_trainer(tmp_path, after_step(make_task(), 13, kill)).run()
    state = load_tensors(tmp_path / "checkpoints" / "state.pth", "")
    assert state["progress"]["step"] == 10
    torch.manual_seed(99)
    make_trainer(tmp_path).run()
    assert_same_run(whole[0], tmp_path)


def test_a_run_that_lost_its_pools_would_be_another(tmp_path):
    plan, ends = replace(PLAN, epochs=2), []
    with pytest.raises(Stopped):
        task = after_step(make_task("cycle_gan"), 7, terminate)
        make_trainer(tmp_path / "stopped", task, plan).run()
    for lost in (False, True):
        folder = tmp_path / str(lost)
        shutil.copytree(tmp_path / "stopped", folder)
        path = folder / "checkpoints" / "state.pth"
        state = load_tensors(path, "")
        assert [len(pool["images"]) for pool in state["pools"]] == [4, 4]
        if lost:
            save_tensors(state | {"pools": [{"images": None}] * 2}, path)
        make_trainer(folder, make_task("cycle_gan"), plan).run()
        ends.append(load_tensors(path, "")["networks"])
    assert not equal(*ends)


def test_ranges_of_8_bits_are_in_the_state_and_in_no_network(tmp_path):
    task = make_task("8 bits averaged")
    make_trainer(tmp_path, task, SHORT).run()
    state = load_tensors(tmp_path / "checkpoints" / "state.pth", "")
    assert set(state["ranges"]) == {"G", "G_raw"} and equal(*state["ranges"].values())
    assert equal(state["ranges"]["G"], Ranges(task.student).state_dict())
    net, spec = load_generator(tmp_path / "checkpoints" / "best_net_G.pth", "")
    assert type(net) is type(spec.build())
    assert not any(type(module) is QuantisedConv2d for module in net.modules())
    # What is measured and saved is in 8 bits while it trains.
    x = make_images()
    shown = task.generators()["student"]
    with torch.inference_mode():
        assert not torch.equal(shown.eval()(x), net.eval()(x))


def test_a_damaged_newest_state_costs_only_what_came_after_the_one_before(
    whole, stopped, tmp_path, capsys
):
    stopped(12, tmp_path)
    path = tmp_path / "checkpoints" / "state.pth"
    path.write_bytes(path.read_bytes()[:1000])
    make_trainer(tmp_path).run()
    assert "continuing from state.previous.pth" in capsys.readouterr().out
    assert_same_run(whole[0], tmp_path)


def test_max_steps_ends_a_run_within_an_epoch(tmp_path):
    plan = Plan(epochs=3, max_steps=7, print_freq=100, save_epoch_freq=5)
    results = make_trainer(tmp_path, make_nudged(), plan).run()
    assert results["step"] == 7 and results["latest"]["step"] == 7
    assert (tmp_path / "checkpoints" / "latest_net_G.pth").exists()


@pytest.mark.parametrize(("steps", "epoch"), [(4, 1), (7, 2), (12, 3)])
def test_a_run_ends_in_the_epoch_of_its_last_step(tmp_path, steps, epoch):
    """In the log and for its evaluation; the losses are written first, so the page shows them."""
    plan = Plan(epochs=3, max_steps=steps, print_freq=100, save_epoch_freq=5)
    results = make_trainer(tmp_path, make_nudged(), plan).run()
    assert results["latest"]["epoch"] == results["best"]["epoch"] == epoch
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    events = [(r["event"], r["epoch"], r["step"]) for r in records]
    assert events == [("train", epoch, steps), ("eval", epoch, steps)]
    assert records[-1]["best"]


def test_signal_handlers_are_put_back(tmp_path):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Stopped):
        make_trainer(tmp_path, after_step(make_task(), 2, terminate)).run()
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_signal_does_not_wait(tmp_path):
    def twice(losses):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return losses

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, after_step(make_task(), 2, twice)).run()


def to_earlier_layout(path):
    """Rearrange a state as versions before this one wrote it."""
    state = load_tensors(path, "")
    progress, judge, log = (state.pop(name) for name in ("progress", "judge", "log"))
    position = (progress["epoch"], progress["step_in_epoch"], progress["step"])
    old = {"position": position, "finished": progress["finished"], "seconds": 1.0}
    old |= {"window": log["sums"], "window_steps": log["steps"], "log_position": log["position"]}
    save_tensors(state | judge | old, path)


def test_a_run_begun_by_an_earlier_version_continues(whole, stopped, tmp_path):
    stopped(8, tmp_path)
    to_earlier_layout(tmp_path / "checkpoints" / "state.pth")
    make_trainer(tmp_path).run()
    assert_same_run(whole[0], tmp_path)


def test_a_finished_run_that_lost_its_results_writes_them_again(whole, tmp_path):
    """Killed after its last state was saved."""
    results = whole[1]
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "results.json").unlink()
    assert make_trainer(tmp_path).run() == results
    assert json.loads((tmp_path / "results.json").read_text()) == results


def test_numbered_checkpoints_that_are_gone_are_missed(stopped, tmp_path):
    stopped(12, tmp_path)
    (tmp_path / "checkpoints" / "2_net_G.pth").unlink()
    with pytest.warns(UserWarning, match=r"lost its numbered checkpoints of epoch 2, which"):
        make_trainer(tmp_path).run()


def test_a_run_has_its_page_from_the_start(tmp_path):
    pages = []
    evaluation = replace(make_evaluation(), page=write_run_page)

    def look(losses):
        pages.append((tmp_path / "index.html").read_text())
        return losses

    task = after_step(make_task(), 1, look)
    make_trainer(tmp_path, task, SHORT, evaluation=evaluation).run()
    assert "no evaluation yet" in pages[0]
    assert "no evaluation yet" not in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize("lost", [1.0, 0.01])
def test_a_log_that_lost_its_end_is_warned_of_and_stays_readable(stopped, tmp_path, lost):
    stopped(12, tmp_path)
    log = tmp_path / "log.jsonl"
    log.write_bytes(log.read_bytes()[: -int(lost * log.stat().st_size) or None])
    with pytest.warns(UserWarning, match=rf"{log} has lost its end"):
        make_trainer(tmp_path).run()
    records = read_json_lines(log)
    assert records[-1]["step"] == 15


# --------------------------------------------------------------------------------------------------
# Longer than first asked for


def longer(folder, nepochs, decay=0, niters=10**9, policy="step", counter="epoch", task=None):
    """A trainer whose settings of length are what its plan and schedule say."""
    task = task or make_nudged()
    settings = SETTINGS | {"nepochs": nepochs, "nepochs_decay": decay, "niters": niters}
    schedule = Schedule(policy, counter, nepochs, decay, decay_steps=2)
    plan = Plan(nepochs + decay, niters, 4, 7, 2)
    return make_trainer(folder, task, plan, schedule, settings=settings)


@pytest.mark.parametrize(
    ("policy", "counter", "make"),
    [("step", "epoch", make_task), ("step", "iter", make_nudged), ("linear", "epoch", make_nudged)],
)
def test_a_finished_run_is_extended_to_the_run_that_was_longer_at_once(
    tmp_path, policy, counter, make
):
    for name, lengths in (("once", (3,)), ("twice", (2, 3))):
        for nepochs in lengths:
            how = dict(policy=policy, counter=counter, task=make())
            results = longer(tmp_path / name, nepochs, **how).run()
        assert results["step"] == 15 and results["finished"]
    states = [
        load_tensors(tmp_path / name / "checkpoints" / "state.pth", "")
        for name in ("once", "twice")
    ]
    for key in ("networks", "optimizers", "progress"):
        assert equal(states[0][key], states[1][key]), key
    assert (tmp_path / "twice" / "checkpoints" / "3_net_G.pth").exists()


def test_a_run_cut_by_its_number_of_steps_is_extended_within_its_schedule(tmp_path):
    arguments = dict(nepochs=1, decay=2, policy="linear", counter="iter")
    longer(tmp_path / "once", **arguments).run()
    assert longer(tmp_path / "twice", niters=7, **arguments).run()["step"] == 7
    assert longer(tmp_path / "twice", **arguments).run()["step"] == 15
    states = [
        load_tensors(tmp_path / name / "checkpoints" / "state.pth", "")
        for name in ("once", "twice")
    ]
    assert equal(states[0]["networks"], states[1]["networks"])


def test_a_killed_extension_does_not_look_finished(tmp_path):
    longer(tmp_path, 1).run()
    with pytest.raises(Stopped):
        longer(tmp_path, 2, task=after_step(make_nudged(), 1, terminate)).run()
    assert not (tmp_path / "results.json").exists()
    assert longer(tmp_path, 2).run()["step"] == 10


@pytest.mark.parametrize(
    ("policy", "nepochs", "decay", "counter"),
    [("linear", 1, 1, "epoch"), ("linear", 1, 0, "iter"), ("cosine", 2, 0, "epoch")],
)
def test_a_run_whose_rates_would_have_been_others_is_not_extended(
    tmp_path, policy, nepochs, decay, counter
):
    results = longer(tmp_path, nepochs, decay, policy=policy, counter=counter).run()
    words = rf"cannot be extended: with `nepochs` 4 \(was {nepochs}\) its"
    with pytest.raises(InputError, match=words):
        longer(tmp_path, 4, decay, policy=policy, counter=counter).run()
    assert json.loads((tmp_path / "results.json").read_text()) == results


def test_a_run_is_not_made_shorter(tmp_path):
    longer(tmp_path, 2).run()
    with pytest.raises(InputError, match=r"other settings: `nepochs` 1 \(was 2\)"):
        longer(tmp_path, 1).run()


# --------------------------------------------------------------------------------------------------
# Refusals


def test_two_runs_in_one_folder_at_once_are_refused(tmp_path):
    code = (
        "import sys; from pathlib import Path; from runtime.folders import take_folder\n"
        "take_folder(Path(sys.argv[1]), 'train.py', ''); print('taken', flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "taken\n"
    try:
        with pytest.raises(InputError, match=rf"`log_dir` {tmp_path}: another run is writing"):
            make_trainer(tmp_path).run()
    finally:
        other.kill()
        other.communicate()
    make_trainer(tmp_path, plan=SHORT).run()


@pytest.mark.parametrize("other", ["results.csv", "latency.json", "options.json", "settings.json"])
def test_a_folder_of_another_kind_of_run_is_refused(tmp_path, other):
    (tmp_path / other).write_text('{"script": "evolution_search.py"}')
    with pytest.raises(InputError, match=rf"`log_dir` {tmp_path} holds a run of \w+\.py"):
        make_trainer(tmp_path).run()
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.parametrize("name", ["log.jsonl", "eval", "checkpoints", "results.json"])
def test_a_damaged_folder_gives_one_line(tmp_path, name):
    """A folder where a file should be, or a file where a folder should be."""
    if "." in name:
        (tmp_path / name / "sub").mkdir(parents=True)
    else:
        (tmp_path / name).write_text("")
    with pytest.raises(InputError, match=f"{tmp_path}/{name}"):
        make_trainer(tmp_path, make_nudged()).run()


def test_a_foreign_state_is_refused(stopped, tmp_path):
    """E.g. a network that was copied over it."""
    stopped(8, tmp_path)
    state = tmp_path / "checkpoints" / "state.pth"
    (tmp_path / "checkpoints" / "state.previous.pth").unlink()
    good = load_tensors(state, "")
    for bad in ({"w": torch.zeros(1)}, good | {"networks": {}}, good | {"progress": {"a": 1}}):
        save_tensors(bad, state)
        with pytest.raises(InputError, match=rf"`log_dir` {state}: not (the|a) state of"):
            make_trainer(tmp_path).run()


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    left = tmp_path / "checkpoints" / f".{2**22 + 1}.tmp.state.new.pth"
    left.touch()
    make_trainer(tmp_path, plan=SHORT).run()
    assert not left.exists()


def test_other_settings_in_the_same_folder_are_refused_naming_the_flag(stopped, tmp_path):
    stopped(8, tmp_path)
    before = (tmp_path / "log.jsonl").read_bytes()
    with pytest.raises(InputError, match=rf"`log_dir` {tmp_path} .*`lr` 0\.5 \(was 0\.001\)"):
        make_trainer(tmp_path, settings=SETTINGS | {"lr": 0.5}).run()
    with pytest.raises(InputError, match=r"holds a run of train_supernet\.py"):
        make_trainer(tmp_path, settings=SETTINGS | {"script": "train.py"}).run()
    assert (tmp_path / "log.jsonl").read_bytes() == before


def test_a_finished_run_without_its_state_is_not_begun_again(tmp_path):
    """Whoever deletes the large state keeps the networks."""
    make_trainer(tmp_path, plan=SHORT).run()
    for state in (tmp_path / "checkpoints").glob("state*.pth"):
        state.unlink()
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="holds a finished run without its state"):
        make_trainer(tmp_path, plan=SHORT).run()
    assert {p: p.read_bytes() for p in before} == before
    # One that was killed before its first state is.
    (tmp_path / "results.json").unlink()
    make_trainer(tmp_path, plan=SHORT).run()


def test_checkpoints_of_another_tool_are_not_overwritten(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "latest_net_G.pth").write_bytes(b"theirs")
    with pytest.raises(InputError, match=f"`log_dir` {tmp_path} holds checkpoints of another tool"):
        make_trainer(tmp_path).run()
    assert (tmp_path / "checkpoints" / "latest_net_G.pth").read_bytes() == b"theirs"


# --------------------------------------------------------------------------------------------------
# Losses that are not finite


def poison(losses):
    return losses | {"G_recon": losses["G_recon"] * math.nan}


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(whole, tmp_path):
    with pytest.raises(
        InputError, match=rf"loss G_recon is not finite at step 12;.*{tmp_path}/checkpoints"
    ):
        make_trainer(tmp_path, after_step(make_task(), 12, poison)).run()
    state = load_tensors(tmp_path / "checkpoints" / "state.pth", "")
    assert state["progress"]["step"] == 10
    assert all(v.isfinite().all() for net in state["networks"].values() for v in net.values())
    assert "NaN" not in (tmp_path / "log.jsonl").read_text()
    make_trainer(tmp_path).run()
    assert_same_run(whole[0], tmp_path)


def test_a_run_that_diverges_before_its_first_state_says_so(tmp_path):
    """In the very step after which it would have been saved."""
    message = r"G_recon is not finite at step 7; no state was saved in .*: start again with a lower"
    with pytest.raises(InputError, match=message):
        make_trainer(tmp_path, after_step(make_nudged(), 7, poison)).run()
    assert not list((tmp_path / "checkpoints").iterdir())
    assert "NaN" not in (tmp_path / "log.jsonl").read_text()


def test_an_infinite_loss_stops_it_too(tmp_path):
    with pytest.raises(InputError, match="loss D_fake is not finite at step 3"):
        make_trainer(
            tmp_path,
            after_step(make_task(), 3, lambda losses: losses | {"D_fake": torch.tensor(math.inf)}),
        ).run()


# --------------------------------------------------------------------------------------------------
# The best checkpoint


@pytest.mark.parametrize(
    "scores, lower_is_better, best_epoch",
    [
        ([5.0, 2.0, 3.0], True, 2),
        ([5.0, 2.0, 6.0], False, 3),
        ([1.0, 2.0, 3.0], True, 1),
        ([2.0, 2.0, 2.0], True, 1),
    ],
)
def test_the_best_checkpoint_is_kept(tmp_path, capsys, scores, lower_is_better, best_epoch):
    plan = Plan(epochs=3, save_epoch_freq=1)
    evaluation = make_evaluation(scores, "mIoU", lower_is_better)
    trainer = make_trainer(tmp_path, make_nudged("teacher"), plan, evaluation=evaluation)
    results = trainer.run()
    assert (
        results["best"]["epoch"] == best_epoch
        and results["best"]["score"] == scores[best_epoch - 1]
    )
    best = load_tensors(tmp_path / "checkpoints" / "best_net_G.pth", "")
    assert equal(
        dict(best), dict(load_tensors(tmp_path / "checkpoints" / f"{best_epoch}_net_G.pth", ""))
    )
    assert f"at epoch {best_epoch}" in capsys.readouterr().out.splitlines()[-1]


def test_a_supernet_is_judged_by_the_mean_of_its_subnets(tmp_path):
    scores = [1.0, 9.0, 4.0, 4.0, 3.0, 6.0]  # largest and smallest of three epochs
    plan = Plan(epochs=3, save_epoch_freq=1)
    task, evaluation = make_nudged(), make_evaluation(scores)
    results = make_trainer(tmp_path, task, plan, evaluation=evaluation).run()
    assert results["best"]["epoch"] == 2 and results["best"]["score"] == 4


def test_both_directions_of_a_cycle_gan_are_judged_on_their_own_images(tmp_path, capsys):
    """A checkpoint is kept as the best when either is better than it ever was."""
    there = iter([9.0, 8.0, 8.5, 8.25, 8.0])
    back = iter([5.0, 6.0, 5.5, 4.0, 4.0])
    evaluation = replace(
        make_evaluation(there), measures={"G_B": lambda generate: {"fid": next(back)}}, each=True
    )
    plan = Plan(epochs=5, print_freq=5, save_epoch_freq=1)
    trainer = make_trainer(tmp_path, make_nudged("cycle_gan"), plan, evaluation=evaluation)
    kept, save = [], trainer.archive.save_networks
    trainer.archive.save_networks = lambda tag: (
        kept.append(trainer.progress.step) if tag == "best" else None,
        save(tag),
    )
    results = trainer.run()
    assert kept == [5, 10, 20]
    assert results["best"]["step"] == 20
    assert results["best"]["records"] == {"G_A": 8.0, "G_B": 4.0}
    evaluations = [r for r in read_json_lines(tmp_path / "log.jsonl") if r["event"] == "eval"]
    assert [r["score"] for r in evaluations] == [7.0, 7.0, 7.0, 6.125, 6.0]
    said = capsys.readouterr().out
    assert "G_A 8.25, G_B 4.00" in said and "best_net_G_A.pth" in said
    # Numbered checkpoints are missed by the same name.
    (tmp_path / "checkpoints" / "2_net_G_A.pth").unlink()
    with pytest.warns(UserWarning, match="epoch 2, which"):
        make_trainer(tmp_path, make_nudged("cycle_gan"), plan, evaluation=evaluation).run()


def test_what_is_fine_tuned_may_have_been_better_before(tmp_path):
    """Measured before the first step: the network that came in is the best one, and is kept as it
    was."""
    task = make_task("teacher")
    before = {k: v.clone() for k, v in task.nets_g[0].state_dict().items()}
    plan = Plan(epochs=1, save_epoch_freq=1, evaluate_first=True)
    results = make_trainer(tmp_path, task, plan, evaluation=make_evaluation([1.0, 2.0])).run()
    assert results["best"]["step"] == 0
    assert equal(dict(load_tensors(tmp_path / "checkpoints" / "best_net_G.pth", "")), before)
    assert not equal(dict(load_tensors(tmp_path / "checkpoints" / "latest_net_G.pth", "")), before)


def test_without_evaluation_there_is_no_best(tmp_path):
    results = make_trainer(tmp_path, make_nudged(), evaluation=None).run()
    assert results["best"] is None and results["finished"]
    assert not list((tmp_path / "checkpoints").glob("best*"))
    assert (tmp_path / "checkpoints" / "3_net_G.pth").exists()


# --------------------------------------------------------------------------------------------------
# Memory


def resident_megabytes() -> float:
    """What is in use: memory that the allocator only keeps is given back first."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="reads the memory of the process from /proc"
)
def test_memory_stays_flat_over_steps_and_their_evaluations(tmp_path, monkeypatch):
    """A supernet with averaged weights; an evaluation, its page and its checkpoints every 20
    steps. What 60 steps left behind, 1,200 would too."""
    monkeypatch.setattr("metrics.inception.F", cheaper.REPLACED["metrics.inception.F"])
    task = make_task()
    net = load_inception(64, None, "random", CPU)
    loader = make_loader()
    statistics = FeatureCriterion(net, measure_real(Noise(), net, CPU, threads=1), CPU)
    evaluation = Evaluation(
        Evaluator(loader, [statistics]),
        lambda generators: np.zeros((4, 4, 3), np.uint8),
        "fid",
        True,
        "FID (test)",
        write_run_page,
    )
    plan = Plan(
        epochs=1000, max_steps=120, print_freq=50, save_latest_freq=20, save_epoch_freq=1000
    )
    after = {}
    step = task.step

    def watched(batch, index):
        if index in (50, 119):
            after[index] = resident_megabytes()
        return step(batch, index)

    task.step = watched
    make_trainer(tmp_path, task, plan, evaluation=evaluation).run()
    evaluations = [r for r in read_json_lines(tmp_path / "log.jsonl") if r["event"] == "eval"]
    assert len(evaluations) == 6
    assert after[119] - after[50] < 12


class LossOnGpu:
    """A loss whose value is counted when it is read, since reading waits for the device."""

    reads = 0

    def __add__(self, other):
        return self

    __radd__ = __add__

    def __float__(self):
        LossOnGpu.reads += 1
        return 1.0


class LoaderOfGpu:
    """A loader whose batches, it says, are on a GPU."""

    def __init__(self):
        self.loader, self.device = make_loader(), torch.device("cuda")
        self.epoch, self.images = self.loader.epoch, self.loader.images

    def __len__(self):
        return len(self.loader)


def test_other_processes_read_losses_only_for_the_log(tmp_path, monkeypatch):
    """Hours into a run too, when the main process saves now and then."""
    clock = iter(range(0, 10**9, 1000))
    monkeypatch.setattr("training.archive.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("runtime.distributed.is_main", lambda: False)
    task = make_task("teacher")
    task.step = lambda batch, step: {"G": LossOnGpu()}
    LossOnGpu.reads = 0
    Trainer(task, LoaderOfGpu(), SCHEDULE, PLAN, tmp_path, None, SETTINGS).run()
    # 15 steps in windows of 4: each window is checked once and averaged once.
    assert LossOnGpu.reads <= 4 * 3
