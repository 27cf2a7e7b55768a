"""The pipeline as users run it: every script as a process, what it leaves on disk, and what becomes
of it when it is interrupted."""

import json
import random
import re
import signal
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.config import ChannelConfig
from models.generators import GeneratorSpec, count_parameters
from models.pruning import prune_into
from models.supernet import SuperMobileResnetGenerator
from models.weights import load_generator
from subnets.space import SearchSpace

BUDGET = 4e7  # as in conftest.py
SMALL_BUDGET = 2.4e7  # 12 configurations of channels-32 at 32x32
SIZE, VAL = 32, 6
SPACE = SearchSpace("channels-32", height=SIZE, width=SIZE)
NARROWEST = "16_16_16_16_16_16_16_16"
PUBLISHED = json.loads(
    (Path(__file__).resolve().parents[1] / "golden" / "published.json").read_text()
)

# --------------------------------------------------------------------------------------------------
# Reading what scripts left


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def load(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


def without_seconds(value):
    """The same without the only thing that may differ from run to run."""
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if k != "seconds"}
    return [without_seconds(v) for v in value] if isinstance(value, list) else value


def same_weights(a: Path, b: Path) -> bool:
    first, second = load(a), load(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def checkpoint_names(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "checkpoints").glob("*_net_*.pth"))


def check_training_run(
    folder: Path, script: str, flags: dict, networks: list[str], log: list[dict], first=False
):
    """A finished run of 6 steps in 3 epochs; ``first``: it was measured before its first step."""
    expected = sorted(
        f"{tag}_net_{name}.pth" for tag in ("1", "2", "3", "best", "latest") for name in networks
    )
    assert checkpoint_names(folder) == expected
    options = read_json(folder / "options.json")
    assert options["script"] == script
    assert {key: options[key] for key in flags} == flags

    steps = [record for record in log if record["event"] == "train"]
    assert [record["step"] for record in steps] == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(list(record["losses"].values())).all() for record in steps)
    assert [r["lr"] for r in steps] == pytest.approx([2e-4] * 4 + [1e-4] * 2)
    evaluations = [record for record in log if record["event"] == "eval"]
    assert [record["step"] for record in evaluations] == ([0] if first else []) + [2, 4, 6]
    assert all(m["n"] == VAL for record in evaluations for m in record["metrics"].values())

    results = read_json(folder / "results.json")
    assert (results["finished"], results["epoch"], results["step"]) == (True, 3, 6)
    assert results["best"]["score"] == min(record["score"] for record in evaluations)
    assert results["latest"]["step"] == 6
    assert len(list((folder / "eval").glob("*.png"))) == len(evaluations)
    assert not list(folder.rglob(".*.tmp*"))


# --------------------------------------------------------------------------------------------------
# Training


def test_teacher(teacher, read_lines):
    flags = {
        "netG": "mobile_resnet_9blocks",
        "ngf": 36,
        "nepochs": 2,
        "direction": "BtoA",
        "seed": 233,
    }
    check_training_run(teacher, "train.py", flags, ["G", "D"], read_lines(teacher / "log.jsonl"))


def test_distillation(distilled, teacher, read_lines):
    flags = {
        "student_ngf": 32,
        "restore_pretrained_G_path": f"{teacher}/checkpoints/latest_net_G.pth",
    }
    networks = ["G", "D", "A-0", "A-1", "A-2", "A-3"]
    log = read_lines(distilled / "log.jsonl")
    check_training_run(distilled, "distill.py", flags, networks, log)
    assert {"G_distill0", "G_distill3"} <= set(log[0]["losses"]) or "G_distill" in log[0]["losses"]
    adaptor = load(distilled / "checkpoints" / "latest_net_A-0.pth")
    assert adaptor["weight"].shape == (4 * 36, 4 * 32, 1, 1)  # student -> teacher width


def test_student_starts_as_the_pruned_teacher(call, tmp_path, student_flags, teacher):
    """With a learning rate of 0, what is saved is what training started from."""
    wide, spec = load_generator(teacher / "checkpoints" / "latest_net_G.pth", "")
    assert spec.ngf == 36
    narrow = GeneratorSpec("mobile_resnet_9blocks", 16).build()
    prune_into(wide, narrow)
    flags = (*student_flags, "--student_ngf", 16, "--lr", 0, "--niters", 1, "--no_fid")
    pruned = ("--restore_pretrained_G_path", teacher / "checkpoints" / "latest_net_G.pth")
    call("distill.py", *flags, *pruned, "--log_dir", tmp_path / "pruned").succeeded()
    saved = load(tmp_path / "pruned" / "checkpoints" / "latest_net_G.pth")
    assert all(torch.equal(saved[key], value) for key, value in narrow.state_dict().items())
    first = wide.state_dict()["model.1.weight"]
    strongest = first.abs().sum(dim=(1, 2, 3)).argsort(descending=True)[:16]
    assert torch.equal(saved["model.1.weight"], first[strongest])


def test_supernet(supernet, read_lines):
    networks = ["G", "D", "A-0", "A-1", "A-2", "A-3"]
    log = read_lines(supernet / "log.jsonl")
    check_training_run(
        supernet, "train_supernet.py", {"config_set": "channels-32"}, networks, log, first=True
    )
    assert set(read_json(supernet / "results.json")["latest"]["metrics"]) == {"largest", "smallest"}


def test_fine_tuning(finetuned, best_config, supernet_pth, read_lines):
    """It starts from the supernet's weights and is measured at the one configuration, before its
    first step too."""
    networks = ["G", "D", "A-0", "A-1", "A-2", "A-3"]
    log = read_lines(finetuned / "log.jsonl")
    check_training_run(
        finetuned, "train_supernet.py", {"config_str": best_config}, networks, log, first=True
    )
    assert set(log[0]["metrics"]) == {best_config}
    before, after = load(supernet_pth), load(finetuned / "checkpoints" / "latest_net_G.pth")
    # The file says at which one configuration it may be used.
    assert after._metadata["generator"]["config_str"] == best_config
    assert before._metadata["generator"]["config_str"] is None
    config = ChannelConfig.parse(best_config)
    trained = after["model.1.weight"][: config.widths().stem]
    assert not torch.equal(trained, before["model.1.weight"][: config.widths().stem])
    # Channels outside the configuration are nobody's business.
    assert config.widths().stem < 32 or config.widths().up2 < 32
    unused = after["model.26.weight"][:, config.widths().up2 :]
    assert torch.equal(unused, before["model.26.weight"][:, config.widths().up2 :])


def test_another_seed_trains_another_network(call, tmp_path, teacher_flags):
    """That the same one trains the same network is shown by runs that are killed."""
    short = (*teacher_flags, "--niters", 1, "--no_fid")
    call("train.py", *short, "--seed", 1, "--log_dir", tmp_path / "1").succeeded()
    call("train.py", *short, "--seed", 2, "--log_dir", tmp_path / "2").succeeded()
    one, two = (tmp_path / seed / "checkpoints" / "latest_net_G.pth" for seed in "12")
    assert not same_weights(one, two)


def test_the_same_command_again_trains_nothing(
    call, snapshot, teacher, teacher_flags, supernet, supernet_flags
):
    commands = {
        "train.py": (teacher, teacher_flags),
        "train_supernet.py": (supernet, supernet_flags),
    }
    for script, (folder, flags) in commands.items():
        before = {k: v for k, v in snapshot(folder).items() if not k.endswith("options.json")}
        options = read_json(folder / "options.json")
        outcome = call(script, *flags, "--log_dir", folder).succeeded()
        assert "already finished" in outcome.stdout
        assert str(folder / "checkpoints" / "best_net_G.pth") in outcome.stdout
        after = snapshot(folder)
        assert {k: after.get(k) for k in before} == before
        assert read_json(folder / "options.json") == options


# --------------------------------------------------------------------------------------------------
# Search


def check_search(folder: Path, evaluations: list[dict], budget: float) -> None:
    """The summary is of the evaluations, which are all within the budget and all different."""
    assert all(record["macs"] <= budget for record in evaluations)
    for record in evaluations:
        config = ChannelConfig.parse(record["config_str"])
        assert (record["macs"], record["params"]) == SPACE.cost(config)
        SPACE.number(config)
        assert record["n"] == VAL
    assert len({record["config_str"] for record in evaluations}) == len(evaluations)
    ranked = sorted(evaluations, key=lambda r: (r["metrics"]["fid"], r["config_str"]))
    summary = read_json(folder / "summary.json")
    assert summary["best"] == ranked[:10]
    assert (summary["evaluated"], summary["budget"]) == (len(evaluations), budget)
    text = (folder / "summary.txt").read_text()
    assert ranked[0]["config_str"] in text
    assert "FID (random features, 64)" in text
    with Image.open(folder / "search.png") as image:
        image.load()
    assert read_json(folder / "options.json")["config_set"] == "channels-32"


def test_genetic_search(evolution, read_lines):
    evaluations = read_lines(evolution / "evaluations.jsonl")
    check_search(evolution, evaluations, BUDGET)
    generations = [record["generation"] for record in evaluations]
    assert generations == sorted(generations)
    assert generations.count(1) == 8
    assert 4 <= generations.count(2) <= 8
    assert 4 <= generations.count(3) <= 8
    random_ones = [record["generation"] for record in evaluations if record["origin"] == "random"]
    assert random_ones == [1] * 8
    known = {record["config_str"]: record["generation"] for record in evaluations}
    for record in evaluations[8:]:
        assert len(record["parents"]) == {"mutation": 1, "crossover": 2}[record["origin"]]
        assert all(known[parent] < record["generation"] for parent in record["parents"])
    assert {record["origin"] for record in evaluations} == {"random", "mutation", "crossover"}


def test_exhaustive_search(cli, call, tmp_path, search_flags, read_lines):
    """All configurations within the budget; a name that scripts of old give ends in .jsonl; shares
    add up to the whole."""
    flags = (*search_flags, "--budget", SMALL_BUDGET)
    outcome = cli("search.py", *flags, "--output_path", tmp_path / "all.pkl").succeeded()
    assert str(tmp_path / "all.jsonl") in outcome.stdout
    assert not (tmp_path / "all.pkl").exists()
    evaluations = read_lines(tmp_path / "all.jsonl")
    check_search(tmp_path / "all", evaluations, SMALL_BUDGET)
    expected = {str(SPACE.config(int(number))) for number in SPACE.feasible(SMALL_BUDGET)}
    assert {record["config_str"] for record in evaluations} == expected

    shares = []
    for split in (0, 1):
        path = tmp_path / f"{split}.jsonl"
        call(
            "search.py", *flags, "--num_splits", 2, "--split", split, "--output_path", path
        ).succeeded()
        shares += read_lines(path)
    fids = {record["config_str"]: record["metrics"]["fid"] for record in evaluations}
    assert len(shares) == len(fids)
    assert {record["config_str"]: record["metrics"]["fid"] for record in shares} == pytest.approx(
        fids
    )


def test_the_same_search_again_measures_nothing(call, evolution, evolution_flags, snapshot):
    before = snapshot(evolution)
    summary = read_json(evolution / "summary.json")
    call("evolution_search.py", *evolution_flags, "--output_dir", evolution).succeeded()
    path = str(evolution / "evaluations.jsonl")
    assert snapshot(evolution)[path] == before[path]
    assert read_json(evolution / "summary.json") == summary


def test_a_search_of_other_weights_takes_over_no_values(
    call, tmp_path, search_flags, supernet_pth, read_lines
):
    """The supernet was trained on, its checkpoint written over: what was measured before is not
    what it is worth now."""
    path = tmp_path / "net_G.pth"
    state = load(supernet_pth)
    torch.save(state, path)
    flags = (*search_flags, "--restore_G_path", path, "--budget", 2.3e7)
    call("search.py", *flags, "--output_path", tmp_path / "all.jsonl").succeeded()
    before = read_lines(tmp_path / "all.jsonl")[-1]["metrics"]["fid"]
    torch.save({key: value + 0.1 * torch.randn_like(value) for key, value in state.items()}, path)
    outcome = call("search.py", *flags, "--output_path", tmp_path / "all.jsonl")
    if outcome.returncode == 0:
        assert read_lines(tmp_path / "all.jsonl")[-1]["metrics"]["fid"] != pytest.approx(before)
    else:
        assert outcome.returncode == 2
        assert "--restore_G_path" in outcome.stderr


def test_a_search_starts_from_an_earlier_one(
    call, tmp_path, evolution, evolution_flags, read_lines
):
    """``--restore_pkl_path``: what was measured is not measured again, and its best are parents."""
    earlier = read_lines(evolution / "evaluations.jsonl")
    flags = (*evolution_flags, "--restore_pkl_path", evolution / "evaluations.jsonl", "--seed", 5)
    call("evolution_search.py", *flags, "--output_dir", tmp_path).succeeded()
    fresh = {record["config_str"] for record in read_lines(tmp_path / "evaluations.jsonl")}
    assert fresh
    assert not fresh & {record["config_str"] for record in earlier}
    best = read_json(tmp_path / "summary.json")["best"][0]["metrics"]["fid"]
    assert best <= min(record["metrics"]["fid"] for record in earlier)


def test_a_search_whose_start_has_grown_is_another(call, tmp_path, evolution, evolution_flags):
    """Other parents would make other generations."""
    lines = (evolution / "evaluations.jsonl").read_text().splitlines(True)
    earlier, out = tmp_path / "earlier.jsonl", tmp_path / "out"
    earlier.write_text("".join(lines[:-1]))
    flags = (*evolution_flags, "--evolution_iters", 0, "--seed", 5, "--output_dir", out)
    call("evolution_search.py", *flags, "--restore_pkl_path", earlier).succeeded()
    (tmp_path / "moved").mkdir()
    moved = earlier.rename(tmp_path / "moved" / earlier.name)
    call("evolution_search.py", *flags, "--restore_pkl_path", moved).succeeded()
    moved.write_text("".join(lines))
    grown = call("evolution_search.py", *flags, "--restore_pkl_path", moved)
    assert grown.returncode == 2 and "restore_pkl_path" in grown.stderr, grown.stderr


# --------------------------------------------------------------------------------------------------
# Export, test, speed, statistics


def test_the_exported_network_is_the_subnet(exported, finetuned, best_config):
    supernet = SuperMobileResnetGenerator(32)
    supernet.load_state_dict(load(finetuned / "checkpoints" / "latest_net_G.pth"))
    subnet, spec = load_generator(exported, "--restore_G_path")
    assert (spec.netG, spec.config_str) == ("sub_mobile_resnet_9blocks", best_config)
    config = ChannelConfig.parse(best_config)
    assert count_parameters(subnet) == SPACE.cost(config)[1]
    supernet.eval(), subnet.eval()
    with torch.inference_mode():
        for shape in ((1, 3, 32, 32), (2, 3, 64, 48)):
            x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
            assert torch.equal(subnet(x), supernet(x, config))
            assert not torch.equal(subnet(x), supernet(x))


@pytest.fixture(scope="module")
def tested(cli, tmp_path_factory, exported, inference_flags) -> Path:
    """The exported network, tested without a word on its architecture."""
    flags = (*inference_flags, "--restore_G_path", exported, "--need_profile")
    folder = tmp_path_factory.mktemp("tested")
    outcome = cli("test.py", *flags, "--results_dir", folder).succeeded()
    assert f"{read_json(folder / 'results.json')['macs']:,} MACs (published" in outcome.stdout
    return folder


def test_test(tested, exported, best_config, dataset):
    names = sorted(p.stem for p in (dataset / "val").iterdir())
    assert len(names) == VAL
    for side in ("real_A", "fake_B", "real_B"):
        assert sorted(p.name for p in (tested / "images" / side).iterdir()) == [
            f"{n}.png" for n in names
        ]
    pair = np.asarray(Image.open(dataset / "val" / f"{names[0]}.png").convert("RGB")).astype(int)
    for side, half in (("real_A", pair[:, SIZE:]), ("real_B", pair[:, :SIZE])):  # BtoA
        with Image.open(tested / "images" / side / f"{names[0]}.png") as image:
            assert abs(np.asarray(image).astype(int) - half).max() <= 1

    results = read_json(tested / "results.json")
    assert (results["macs"], results["params"]) == SPACE.cost(ChannelConfig.parse(best_config))
    assert (results["height"], results["width"], results["metrics"]["n"]) == (SIZE, SIZE, VAL)
    assert best_config in results["name"]
    assert results["checkpoint"] == str(exported)

    assert results["models"] == [
        {k: v for k, v in results.items() if k not in ("models", "reference")}
    ]
    assert results["latency"] is None, "one model is timed when --times is given"
    assert not (tested / "images.csv").exists()

    page = (tested / "index.html").read_text()
    links = re.findall(r'<img[^>]* src="([^"]+)"', page) or re.findall(r'src="([^"]+)"', page)
    assert len(links) == 3 * VAL
    assert all((tested / link).is_file() for link in links)
    assert best_config in page


def test_the_supernet_at_a_config_makes_the_images_of_the_export(
    call, tmp_path, tested, finetuned, inference_flags, best_config
):
    source = finetuned / "checkpoints" / "latest_net_G.pth"
    flags = (*inference_flags, "--restore_G_path", source, "--config_str", best_config)
    call("test.py", *flags, "--results_dir", tmp_path).succeeded()
    for path in (tested / "images" / "fake_B").iterdir():
        with (
            Image.open(path) as expected,
            Image.open(tmp_path / "images" / "fake_B" / path.name) as image,
        ):
            assert np.array_equal(np.asarray(image), np.asarray(expected))
    ours, theirs = (read_json(folder / "results.json") for folder in (tmp_path, tested))
    assert ours["metrics"]["fid"] == pytest.approx(theirs["metrics"]["fid"], rel=1e-4)
    assert (ours["macs"], ours["params"]) == (theirs["macs"], theirs["params"])


def test_teacher_and_compressed_side_by_side(
    call, tmp_path, tested, teacher, exported, supernet_pth, inference_flags, best_config
):
    """One run gives each model what a run of its own gives it; a supernet is cut to
    --config_str."""
    checkpoint = teacher / "checkpoints" / "latest_net_G.pth"
    flags = (*inference_flags, "--restore_teacher_G_path", checkpoint, "--restore_G_path", exported)
    outcome = call(
        *("test.py", *flags, "--compare", supernet_pth, "--config_str", best_config, "--times", 2),
        *("--results_dir", tmp_path),
    ).succeeded()
    found, alone = read_json(tmp_path / "results.json"), read_json(tested / "results.json")
    assert [m["label"] for m in found["models"]] == ["teacher", "exported", "supernet"]
    assert found["metrics"] == pytest.approx(alone["metrics"], rel=1e-4)
    assert {k: found[k] for k in ("name", "macs", "params", "checkpoint")} == {
        k: alone[k] for k in ("name", "macs", "params", "checkpoint")
    }
    assert found["models"][0]["name"] == "mobile_resnet_9blocks ngf 36"
    assert found["models"][2]["params"] == found["params"]
    for path in (tested / "images" / "fake_B").iterdir():
        with (
            Image.open(path) as expected,
            Image.open(tmp_path / "images" / "exported" / path.name) as image,
        ):
            assert np.array_equal(np.asarray(image), np.asarray(expected))
    assert {p.name for p in tmp_path.iterdir()} == {
        *("images", ".images.json", "images.csv", "index.html"),
        *("results.json", "results.csv", "results.md"),
    }
    assert "KID (random features, 64), n=6" in outcome.stdout and "L1 to teacher" in outcome.stdout


def test_a_search_and_a_test_measure_alike(
    call, tmp_path, evolution, supernet_pth, inference_flags
):
    best = read_json(evolution / "summary.json")["best"][0]
    flags = (*inference_flags, "--restore_G_path", supernet_pth, "--config_str", best["config_str"])
    call("test.py", *flags, "--results_dir", tmp_path).succeeded()
    fid = read_json(tmp_path / "results.json")["metrics"]["fid"]
    assert fid == pytest.approx(best["metrics"]["fid"], rel=1e-4)


def test_latency(cli, tmp_path, exported, inference_flags, best_config):
    flags = (*inference_flags, "--restore_G_path", exported, "--batch_size", 2, "--times", 5)
    outcome = cli("latency.py", *flags, "--results_dir", tmp_path).succeeded()
    timing = read_json(tmp_path / "latency.json")
    assert 0 < timing["p10_ms"] <= timing["median_ms"] <= timing["p90_ms"]
    assert (timing["batch"], timing["height"], timing["width"], timing["times"]) == (
        2,
        SIZE,
        SIZE,
        5,
    )
    assert (timing["macs"], timing["params"]) == SPACE.cost(ChannelConfig.parse(best_config))
    assert f"{timing['median_ms']:.2f} ms" in outcome.stdout


def test_statistics(cli, call, tmp_path, tested, exported, data_flags, inference_flags):
    """They are what a test makes for itself; of other images they change the measure."""
    path = tmp_path / "new" / "real.npz"
    outcome = cli("get_real_stat.py", *data_flags, "--output_path", path).succeeded()
    assert str(path) in outcome.stdout
    with np.load(path, allow_pickle=False) as data:
        assert (data["mu"].shape, data["sigma"].shape, int(data["n"])) == ((64,), (64, 64), VAL)
    other = tmp_path / "train.npz"
    call("get_real_stat.py", *data_flags, "--phase", "train", "--output_path", other).succeeded()

    def fid(statistics: Path) -> float:
        flags = (*inference_flags, "--restore_G_path", exported, "--real_stat_path", statistics)
        call("test.py", *flags, "--results_dir", tmp_path / "test").succeeded()
        return read_json(tmp_path / "test" / "results.json")["metrics"]["fid"]

    expected = read_json(tested / "results.json")["metrics"]["fid"]
    assert fid(path) == pytest.approx(expected, rel=1e-4)
    assert fid(other) != pytest.approx(expected, rel=1e-3)


def test_macs(cli):
    configs = list(PUBLISHED["configs"])
    outcome = cli("metrics.macs", *configs).succeeded()
    rows = {line.split()[0]: line.split()[1:] for line in outcome.stdout.splitlines()[2:]}
    for config, row in PUBLISHED["configs"].items():
        expected = (row["params"], row["macs_published"], row["macs_no_norm"], row["macs_exact"])
        assert rows[config] == [f"{value:,}" for value in expected]


# --------------------------------------------------------------------------------------------------
# Checkpoints and the flags beside them


def test_images_of_another_direction_or_size_are_pointed_out(
    call, tmp_path, dataset, exported, supernet_pth, inference_flags, search_flags
):
    """Exported networks and supernets know what they learned from."""
    flags = (*inference_flags, "--restore_G_path", exported, "--num_test", 2, "--no_fid")
    turned = call("test.py", *flags, "--direction", "AtoB", "--results_dir", tmp_path / "1")
    assert "was trained BtoA and gets images AtoB" in turned.succeeded().stderr
    larger = ("--load_size", 2 * SIZE, "--crop_size", 2 * SIZE)
    larger = call("test.py", *flags, *larger, "--results_dir", tmp_path / "2")
    assert "was trained at 32x32 and gets images of 64x64" in larger.succeeded().stderr
    usual = call("test.py", *flags, "--results_dir", tmp_path / "3")
    assert "was trained" not in usual.succeeded().stderr
    # Single images have no direction, and whole ones no size that all have.
    single = ("--dataset_mode", "single", "--preprocess", "none", "--direction", "AtoB")
    single += ("--dataroot", dataset, "--phase", "val", "--results_dir", tmp_path / "5")
    assert "was trained" not in call("test.py", *flags, *single).succeeded().stderr
    flags = (*search_flags, "--direction", "AtoB", "--population_size", 1, "--evolution_iters", 1)
    search = call("evolution_search.py", *flags, "--output_dir", tmp_path / "4")
    assert "--restore_G_path" in search.stderr and "was trained BtoA" in search.stderr


RELEASED = {
    # network -> flags that its checkpoint needs
    GeneratorSpec("resnet_9blocks", 8): (),
    GeneratorSpec("mobile_resnet_9blocks", 12): (),
    GeneratorSpec("super_mobile_resnet_9blocks", 12): ("--netG", "super_mobile_resnet_9blocks"),
    GeneratorSpec("sub_mobile_resnet_9blocks", None, "8_12_16_8_20_4_8_12"): (),
    GeneratorSpec("sub_mobile_resnet_9blocks", None, "8_12_16_8_12_8"): (),
    GeneratorSpec("legacy_sub_mobile_resnet_9blocks", None, "8_12_16_8_12_8"): (),
}


@pytest.mark.parametrize("spec", RELEASED, ids=lambda s: f"{s.netG} {s.config}")
def test_released_checkpoints_load(call, tmp_path, spec, inference_flags, dataset):
    """A plain state dict says what it is; of a supernet, which looks like a mobile network, the
    user must say so."""
    torch.manual_seed(3)
    net = spec.build().eval()
    torch.save(OrderedDict(net.state_dict().items()), tmp_path / "net_G.pth")
    assert not hasattr(load(tmp_path / "net_G.pth"), "_metadata")
    flags = (
        *inference_flags,
        "--restore_G_path",
        tmp_path / "net_G.pth",
        *RELEASED[spec],
        "--no_fid",
    )
    subnet = "4_8_12_6_10_12_8_4"
    if spec.is_supernet:
        flags += ("--config_str", subnet)
    call("test.py", *flags, "--results_dir", tmp_path / "results").succeeded()

    results = read_json(tmp_path / "results" / "results.json")
    parameters = (
        SPACE.cost(ChannelConfig.parse(subnet))[1] if spec.is_supernet else count_parameters(net)
    )
    assert results["params"] == parameters
    name = sorted(p.stem for p in (dataset / "val").iterdir())[0]
    pair = np.asarray(Image.open(dataset / "val" / f"{name}.png").convert("RGB"))
    x = torch.from_numpy(pair[:, SIZE:].copy()).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        y = net(x, ChannelConfig.parse(subnet)) if spec.is_supernet else net(x)
    expected = ((y[0] + 1) / 2 * 255).permute(1, 2, 0).numpy()
    with Image.open(tmp_path / "results" / "images" / "fake_B" / f"{name}.png") as image:
        assert abs(np.asarray(image) - expected).max() < 1.01  # truncated
    assert expected.std() > 1


CONTRADICTIONS = {
    "test ngf": ("test.py", "teacher", ("--ngf", 24), ("--ngf 24", "36")),
    "test config_str": (
        "test.py",
        "exported",
        ("--config_str", "16_8_16_16_16_16_16_16"),
        ("--config_str 16_8",),
    ),
    "test netG": (
        "test.py",
        "exported",
        ("--netG", "resnet_9blocks"),
        ("--netG resnet_9blocks", "sub_mobile"),
    ),
    "test norm": ("test.py", "exported", ("--norm", "batch"), ("--norm batch", "instance")),
    "test input_nc": ("test.py", "exported", ("--input_nc", 1), ("--input_nc 1", "3")),
    "export ngf": ("export.py", "supernet", ("--ngf", 24), ("--ngf 24", "32")),
    "search ngf": ("evolution_search.py", "supernet", ("--ngf", 24), ("--ngf 24", "32")),
    "finetune student_ngf": (
        "train_supernet.py",
        "supernet",
        ("--student_ngf", 24),
        ("--student_ngf 24", "32"),
    ),
    "distil teacher_ngf": (
        "distill.py",
        "teacher",
        ("--teacher_ngf", 24),
        ("--teacher_ngf 24", "36"),
    ),
    "distil teacher_netG": (
        *("distill.py", "teacher", ("--teacher_netG", "resnet_9blocks")),
        ("--teacher_netG resnet_9blocks", "mobile_resnet_9blocks"),
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_flags_that_contradict_the_checkpoint(
    call,
    tmp_path,
    case,
    teacher,
    supernet_pth,
    exported,
    inference_flags,
    training_flags,
    student_flags,
    search_flags,
):
    script, source, typed, words = CONTRADICTIONS[case]
    paths = {
        "teacher": teacher / "checkpoints" / "latest_net_G.pth",
        "supernet": supernet_pth,
        "exported": exported,
    }
    path, output = paths[source], tmp_path / "out" / "net_G.pth"
    flags = {
        "test.py": (*inference_flags, "--restore_G_path", path, "--results_dir", tmp_path / "out"),
        "export.py": ("--input_path", path, "--output_path", output, "--config_str", NARROWEST),
        "evolution_search.py": (*search_flags, "--output_dir", tmp_path / "out"),
        "train_supernet.py": (
            *(*student_flags, "--restore_student_G_path", path),
            *("--config_str", NARROWEST, "--log_dir", tmp_path / "out"),
        ),
        "distill.py": (
            *training_flags,
            "--restore_teacher_G_path",
            path,
            "--log_dir",
            tmp_path / "out",
        ),
    }
    outcome = call(script, *flags[script], *typed)
    assert outcome.returncode == 2
    assert "Traceback" not in outcome.stderr
    message = outcome.stderr.splitlines()[-1]
    assert message.startswith("error: ")
    assert str(path) in message
    for word in words:
        assert word in message
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_flags_that_agree_with_the_checkpoint(
    call, tmp_path, exported, best_config, inference_flags
):
    """Scripts of old repeat the architecture; an --ngf beside a config string never meant
    anything."""
    flags = (*inference_flags, "--restore_G_path", exported, "--no_fid", "--results_dir", tmp_path)
    agreeing = ("--netG", "sub_mobile_resnet_9blocks", "--config_str", best_config, "--ngf", 48)
    call("test.py", *flags, *agreeing).succeeded()
    assert best_config in read_json(tmp_path / "results.json")["name"]


# --------------------------------------------------------------------------------------------------
# Interruptions


def wait_until(condition, process, what: str, seconds: float = 90):
    """Poll ``condition`` while the process lives."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"ended before {what}: {process.communicate()[0]}"
        assert time.monotonic() < end, f"{what} never came"
        time.sleep(0.005)


def last_step(log: Path) -> int:
    """Of the last whole line."""
    if not log.exists():
        return -1
    lines = log.read_bytes().split(b"\n")[:-1]
    return json.loads(lines[-1])["step"] if lines else -1


def interrupt_training(process, folder: Path, step: int, delay: float, signum: int) -> str:
    """Signal a training run ``delay`` seconds after it has logged ``step``; what it printed."""
    log = folder / "log.jsonl"
    before = log.stat().st_mtime_ns if log.exists() else 0
    # Lines of an earlier run do not count: this one begins by taking back what it will do again.
    wait_until(
        lambda: log.exists() and log.stat().st_mtime_ns != before and last_step(log) >= step,
        process,
        f"step {step}",
    )
    time.sleep(delay)
    process.send_signal(signum)
    return process.communicate(timeout=60)[0]


def same_run(folder: Path, reference: Path, read_lines) -> None:
    assert checkpoint_names(folder) == checkpoint_names(reference)
    for name in checkpoint_names(reference):
        assert same_weights(folder / "checkpoints" / name, reference / "checkpoints" / name), name
    ours, theirs = (without_seconds(read_lines(run / "log.jsonl")) for run in (folder, reference))
    assert ours == theirs
    ours, theirs = (without_seconds(read_json(run / "results.json")) for run in (folder, reference))
    assert ours == theirs


def test_a_teacher_that_is_killed_twice_ends_as_if_it_had_not_been(
    spawn, cli, tmp_path, teacher, teacher_flags, read_lines
):
    flags = (*teacher_flags, "--log_dir", tmp_path)
    for steps in ((1, 2), (3, 4)):
        step, delay = random.choice(steps), random.uniform(0, 0.1)
        process = spawn("train.py", *flags)
        interrupt_training(process, tmp_path, step, delay, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL, (
            f"finished before the kill at step {step} + {delay:.3f} s"
        )
    cli("train.py", *flags).succeeded()
    same_run(tmp_path, teacher, read_lines)


def test_a_supernet_with_all_options_that_is_killed_ends_as_if_it_had_not_been(
    spawn, cli, tmp_path, quality_supernet, quality_flags, read_lines
):
    """Several passes, a configuration per image and the average of the weights."""
    flags = (*quality_flags, "--log_dir", tmp_path)
    process = spawn("train_supernet.py", *flags)
    interrupt_training(
        process, tmp_path, random.choice((1, 2, 3)), random.uniform(0, 0.1), signal.SIGKILL
    )
    assert process.returncode == -signal.SIGKILL
    cli("train_supernet.py", *flags).succeeded()
    assert "latest_net_G_raw.pth" in checkpoint_names(tmp_path)
    same_run(tmp_path, quality_supernet, read_lines)


def test_an_online_student_that_is_killed_with_its_teacher_ends_as_if_it_had_not_been(
    spawn, cli, tmp_path, training_flags, read_lines
):
    """Both learn in one loop: the teacher in every second step, the student from its images and by
    a discriminator of its own, which sees them augmented."""
    online = ("--distiller", "online", "--teacher_ngf", 4, "--teacher_freq", 2, "--student_ngf", 4)
    own = ("--lambda_adversarial", 1, "--student_ndf", 4, "--augment_D", "color", "--ema", 0.9)
    flags = (*training_flags, *online, *own, "--log_dir")
    reference, folder = tmp_path / "reference", tmp_path / "killed"
    cli("distill.py", *flags, reference).succeeded()
    process = spawn("distill.py", *flags, folder)
    interrupt_training(
        process, folder, random.choice((1, 2, 3)), random.uniform(0, 0.1), signal.SIGKILL
    )
    assert process.returncode == -signal.SIGKILL
    cli("distill.py", *flags, folder).succeeded()
    names = set(checkpoint_names(folder))
    assert {f"latest_net_{name}.pth" for name in ("G", "G_raw", "T", "D", "D_student")} <= names
    same_run(folder, reference, read_lines)


def test_a_run_killed_while_it_saves_ends_as_if_it_had_not_been(
    spawn, cli, tmp_path, supernet, supernet_flags, read_lines
):
    flags = (*supernet_flags, "--log_dir", tmp_path)
    checkpoints = tmp_path / "checkpoints"
    killed = 0
    for _ in range(3):  # the moment is short: a save may end before the signal comes
        process = spawn("train_supernet.py", *flags)
        wait_until(lambda: list(checkpoints.glob(".*.tmp*")), process, "a file being written")
        process.kill()
        process.communicate(timeout=60)
        killed += process.returncode == -signal.SIGKILL
    assert killed == 3
    cli("train_supernet.py", *flags).succeeded()
    same_run(tmp_path, supernet, read_lines)


def test_a_supernet_that_is_told_to_stop_saves_and_goes_on_after_a_full_disk(
    spawn, cli, tmp_path, supernet, supernet_flags, read_lines
):
    """A run for which the disk is full leaves the saved state as it was."""
    flags = (*supernet_flags, "--log_dir", tmp_path)
    process = spawn("train_supernet.py", *flags)
    printed = interrupt_training(process, tmp_path, 3, random.uniform(0, 0.05), signal.SIGTERM)
    assert process.returncode == 143, printed
    assert "the same command continues" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "results.json").exists()
    state = tmp_path / "checkpoints" / "state.pth"
    before = state.read_bytes()
    process = spawn("train_supernet.py", *flags, max_file_bytes=32_000)  # enough for the log
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 2, printed
    assert "could not be written" in printed and "free some space" in printed
    assert "Traceback" not in printed
    assert state.read_bytes() == before
    assert not list(state.parent.glob(".*.tmp*"))
    outcome = cli("train_supernet.py", *flags).succeeded()
    assert "continuing at epoch" in outcome.stdout
    same_run(tmp_path, supernet, read_lines)


def interrupt_search(process, path: Path, count: int, signum: int) -> None:
    """Signal a search a moment after it has written ``count`` evaluations."""
    wait_until(
        lambda: path.exists() and path.read_bytes().count(b"\n") >= count,
        process,
        f"evaluation {count}",
    )
    time.sleep(random.uniform(0, 0.1))
    process.send_signal(signum)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode in (-signum, 128 + signum), printed
    assert "Traceback" not in printed


def test_a_search_that_is_killed_ends_as_if_it_had_not_been(
    spawn, cli, tmp_path, evolution, evolution_flags, read_lines
):
    """Once by SIGKILL and once by SIGTERM, at random moments."""
    flags = (*evolution_flags, "--output_dir", tmp_path)
    path = tmp_path / "evaluations.jsonl"
    for counts, signum in (((1, 6), signal.SIGKILL), ((8, 12), signal.SIGTERM)):
        interrupt_search(
            spawn("evolution_search.py", *flags), path, random.randint(*counts), signum
        )
    cli("evolution_search.py", *flags).succeeded()
    ours, theirs = (
        without_seconds(read_lines(run / "evaluations.jsonl")) for run in (tmp_path, evolution)
    )
    assert ours == theirs
    ours, theirs = (
        without_seconds(read_json(run / "summary.json")) for run in (tmp_path, evolution)
    )
    assert ours == theirs
    # The table has no seconds in it.
    assert (tmp_path / "summary.txt").read_text() == (evolution / "summary.txt").read_text()
