"""Which flags a stage gets from the preset and from the machine."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deploy.formats import require_formats
from errors import InputError
from models.build import Initialisation, new_generator
from models.generators import GeneratorSpec
from models.weights import save_network
from pipeline.commands import Draft, Wanted
from pipeline.plan import make_plan
from pipeline.presets import NAMES, read_preset
from pipeline.stages import WINNER, Stage
from pipeline.teacher import given_teacher
from prepare.builtin import write_builtin_dataset


def draft(kind: str, name: str = "quick", mode="aligned", direction="AtoB", **wanted) -> Draft:
    wanted = Wanted("d", "out", "12x", **wanted)
    new = Draft(wanted, read_preset(name), Path("out"), mode, direction, torch.device(kind))
    new.teacher = new.new_teacher()
    return new


def test_trainings_on_a_gpu_get_its_table():
    for kind, wanted in (("cpu", (None, None)), ("cuda", ("bf16", True))):
        stages = [draft(kind).train_teacher(), draft(kind).supernet(), draft(kind).finetune()]
        for stage in stages:
            assert (stage.flags.get("amp"), stage.flags.get("cuda_graphs")) == wanted
        assert "amp" not in draft(kind).test().flags


@pytest.mark.parametrize("name", NAMES)
def test_every_script_takes_what_the_presets_say(name):
    for kind in ("cpu", "cuda"):
        new = draft(kind, name, fid_weights="w.pth", threads=2)
        for stage in (new.train_teacher(), new.supernet(), new.finetune(), new.test()):
            flags = stage.with_winner("16_16_16_16_16_16_16_16").parse()
            assert (flags.fid_weights, flags.threads) == ("w.pth", 2)
            assert flags.crop_size == new.preset.images.size


@pytest.mark.parametrize("name", ["standard", "best"])
def test_the_winner_goes_on_against_real_images(name):
    new = draft("cpu", name)
    winner = "16_16_16_16_16_16_16_16"
    supernet, tuned = (s.with_winner(winner).parse() for s in (new.supernet(), new.finetune()))
    assert supernet.lambda_ssim and not supernet.lambda_adversarial
    assert tuned.lambda_adversarial and tuned.lambda_real and not tuned.lambda_ssim
    teacher = new.train_teacher().parse()
    for learns in (teacher, tuned):
        assert learns.augment_D == ["color", "translation", "cutout"] and learns.ema
    # One that learned layer by layer has a discriminator already, and unpaired data no real image.
    new.mode = "unaligned"
    teacher = new.train_teacher().parse()
    assert not teacher.augment_D and not teacher.ema
    assert not new.finetune().with_winner(winner).parse().lambda_real
    new = draft("cpu", name)
    new.teacher = replace(new.teacher, given=True, discriminator=None)
    assert new.teacher.recipe == "learning.layers"
    assert not new.finetune().with_winner(winner).parse().lambda_adversarial


def test_a_command_can_be_pasted():
    stage = Stage(
        "x",
        "train.py",
        {"dataroot": "my pairs", "no_flip": True, "lr": 3e-4, "config_str": WINNER, "norm": None}
        | {"backends": ["eager", "fused"], "serial_batches": False, "augment_D": []},
        Path("r"),
        ["it's"],
    )
    assert stage.shown == (
        """python train.py 'it'"'"'s' --dataroot 'my pairs' --no_flip --lr 0.0003 """
        '--config_str "$CONFIG" --backends eager fused'
    )
    assert stage.needs_winner and not stage.with_winner("8_8").needs_winner


@pytest.mark.parametrize(
    ("table", "formats", "result"),
    [
        ({}, ["onnx", "pth"], "compressed.pth"),
        ({"format": ["pth"]}, ["pth"], "compressed.pth"),
        ({"format": ["onnx", "coreml"]}, ["onnx", "coreml", "pth"], "compressed.pth"),
        ({"format": ["pth", "onnx"], "int8": True}, ["onnx", "pth"], "compressed.int8.onnx"),
    ],
)
def test_the_export_ends_with_what_is_written_last(table, formats, result):
    new = draft("cpu", device="cpu")
    new.preset = replace(new.preset, tables=new.preset.tables | {"export": table})
    stage = new.export()
    assert stage.result == Path("out", result)
    opt = stage.with_winner("16_16_16_16_16_16_16_16").parse()
    assert opt.format == formats
    # A phone's file is for the images of the preset, and 8 bits are calibrated on those of train.
    assert opt.size == (new.preset.images.size if "coreml" in formats else 256)
    found = (opt.dataroot, opt.phase, opt.crop_size)
    assert found == (("out/data", "train", 64) if opt.int8 else (None, "train", 256))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"format": ["pth"], "int8": True}, ("stage export", "--int8 needs --format onnx")),
        ({"format": ["coreml"], "size": 66}, ("66x66", "multiples of 4", "`size`")),
    ],
)
def test_an_export_that_cannot_work_is_refused_by_the_plan(table, words, tmp_path, monkeypatch):
    monkeypatch.setattr("deploy.formats._REQUIRE", {})
    write_builtin_dataset(tmp_path / "d", 8, 4, 64, workers=0, progress=False)
    preset = read_preset("quick")
    preset = replace(preset, tables=preset.tables | {"export": table})
    wanted = Wanted(str(tmp_path / "d"), str(tmp_path / "out"), "12x", device="cpu")
    with pytest.raises(InputError) as refused:
        make_plan(wanted, preset)
    assert all(word in str(refused.value) for word in words), refused.value


def test_a_format_whose_package_is_missing_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, package in (("onnx", "onnxscript"), ("coreml", "coremltools"), ("tflite", "litert")):
        with pytest.raises(InputError, match=package):
            require_formats(["pth", name])
    require_formats(["pth", "safetensors", "pt2"])


def test_a_discriminator_of_another_width_sets_it():
    new = draft("cpu")
    new.teacher = replace(new.teacher, discriminator="d.pth", ndf=64)
    flags = new.supernet().flags
    assert (flags["ndf"], flags["restore_D_path"]) == (64, "d.pth")
    assert new.preset.of("training")["ndf"] != 64


def test_several_processes_are_refused(monkeypatch, tmp_path):
    (tmp_path / "train").mkdir()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="without torchrun"):
        make_plan(Wanted(str(tmp_path), "out", "12x"), read_preset("quick"))


# --------------------------------------------------------------------------------------------------
# Images that are no pairs


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_a_teacher_without_pairs_is_one_of_both_directions(name, direction):
    new = draft("cpu", name, "unaligned", direction)
    teacher = new.train_teacher().parse()
    assert (teacher.model, teacher.dataset_mode, teacher.direction) == (
        "cycle_gan",
        "unaligned",
        "AtoB",
    )
    assert teacher.netG == new.teacher.spec.netG and teacher.lambda_A
    # What it learns from is of the wanted direction: G_A makes B, and D_A judges that.
    supernet, side = new.supernet().parse(), direction[0]
    run = "out/teacher/checkpoints/latest_net"
    assert supernet.direction == direction
    assert supernet.restore_teacher_G_path == f"{run}_G_{side}.pth"
    assert supernet.restore_D_path == f"{run}_D_{side}.pth"
    assert supernet.ndf == teacher.ndf


def test_the_table_of_a_cycle_gan_is_not_that_of_pairs():
    assert draft("cpu").train_teacher().parse().netG == "resnet_9blocks"
    new = draft("cpu", mode="unaligned")
    assert new.train_teacher().parse().netG == "resnet_6blocks"
    assert new.train_teacher().flags["nepochs"] == draft("cpu").train_teacher().flags["nepochs"]


# --------------------------------------------------------------------------------------------------
# Which student


@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        ("resnet_9blocks", "super_mobile_resnet_9blocks"),
        ("mobile_resnet_9blocks", "super_mobile_resnet_9blocks"),
        ("resnet_6blocks", "super_mobile_resnet_6blocks"),
        ("unet_128", "super_unet_128"),
        ("unet_256", "super_unet_256"),
        ("mobile_deepest_resnet", "super_mobile_resnet_9blocks"),
    ],
)
def test_the_student_is_of_the_family_of_its_teacher(teacher, student, tmp_path):
    spec = GeneratorSpec(teacher, 4)
    path = tmp_path / "one_net_G.pth"
    save_network(new_generator(spec, Initialisation()), path, spec)
    found = given_teacher(str(path), True, "instance", None)
    assert found.student == student
    fits = teacher != "mobile_deepest_resnet"
    assert found.recipe == ("learning.layers" if fits else "learning.images")
    flags = replace(draft("cpu"), teacher=found).supernet().parse()
    assert (flags.student_netG, flags.student_ngf) == (student, 32)
    # Another one may be wanted.
    other = given_teacher(str(path), True, "instance", "super_unet_128")
    assert other.student == "super_unet_128"
    fits = teacher.startswith("unet")
    assert other.recipe == ("learning.layers" if fits else "learning.images")
