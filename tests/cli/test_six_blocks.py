"""A CycleGAN file of six blocks, from the bare state dict to a small network of six blocks."""

import json
from collections import OrderedDict

import torch

from models.generators import GeneratorSpec
from models.layers import init_weights
from models.weights import load_generator

SIX = "super_mobile_resnet_6blocks"


def foreign(path):
    """Six dense blocks of width 8 without dropout, as CycleGAN in PyTorch saves them."""
    torch.manual_seed(0)
    state = init_weights(GeneratorSpec("resnet_6blocks", 8).build(), gain=0.1).state_dict()
    keys = (key.replace("conv_block.6.", "conv_block.5.") for key in state)
    path.parent.mkdir(parents=True)
    torch.save(OrderedDict(zip(keys, state.values(), strict=True)), path)
    return path


def test_from_a_bare_file_to_a_compressed_network(call, training_flags, inference_flags, tmp_path):
    teacher = foreign(tmp_path / "checkpoints" / "latest_net_G_A.pth")
    space = ("--config_set", "8,4")
    student = ("--restore_teacher_G_path", teacher, "--student_netG", SIX, "--student_ngf", 8)
    supernet = tmp_path / "supernet"
    flags = (*training_flags, *student, *space, "--log_dir", supernet)
    call("train_supernet.py", *flags).succeeded()
    trained = supernet / "checkpoints" / "latest_net_G.pth"
    assert load_generator(trained, "")[1].netG == SIX

    found = tmp_path / "search"
    flags = (*inference_flags, "--restore_G_path", trained, *space, "--budget", 4e6)
    flags += ("--population_size", 4, "--evolution_iters", 1, "--output_dir", found)
    call("evolution_search.py", *flags).succeeded()
    records = [json.loads(line) for line in (found / "evaluations.jsonl").open()]
    best = min(records, key=lambda r: r["metrics"]["fid"])

    small = tmp_path / "small.pth"
    export = ("--input_path", trained, "--config_str", best["config_str"], "--output_path", small)
    call("export.py", *export).succeeded()
    net, spec = load_generator(small, "")
    assert spec.netG == "sub_mobile_resnet_6blocks"
    assert sum(p.numel() for p in net.parameters()) == best["params"]

    flags = ("--restore_teacher_G_path", teacher, "--restore_G_path", small, "--test_mode", "train")
    call("test.py", *inference_flags, *flags, "--results_dir", tmp_path / "test").succeeded()
    results = json.loads((tmp_path / "test" / "results.json").read_text())
    models = results["models"]
    assert [m["name"].split()[0] for m in models] == ["resnet_6blocks", spec.netG]
    assert {m["mode"] for m in models} == {"train"} and models[1]["macs"] == best["macs"]
    assert "test mode train" in (tmp_path / "test" / "index.html").read_text()
