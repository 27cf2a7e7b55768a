"""Which flags a stage gets from the preset and from the machine."""

from pathlib import Path

import pytest
import torch

from errors import InputError
from pipeline.commands import Draft, Wanted
from pipeline.plan import make_plan
from pipeline.presets import NAMES, read_preset
from pipeline.stages import WINNER, Stage
from pipeline.teacher import Teacher


def draft(kind: str, name: str = "quick", **wanted) -> Draft:
    wanted = Wanted("d", "out", "12x", **wanted)
    new = Draft(wanted, read_preset(name), Path("out"), "aligned", "AtoB", torch.device(kind))
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
    assert tuned.augment_D == ["color", "translation", "cutout"] and tuned.ema
    # One that learned layer by layer has a discriminator already, and unpaired data no real image.
    new.mode = "unaligned"
    assert not new.finetune().with_winner(winner).parse().lambda_real
    new = draft("cpu", name)
    new.teacher = Teacher("g.pth", new.teacher.spec, True, None, "")
    assert new.teacher.recipe == "learning.layers"
    assert not new.finetune().with_winner(winner).parse().lambda_adversarial


def test_a_command_can_be_pasted():
    stage = Stage(
        "x",
        "train.py",
        {"dataroot": "my pairs", "no_flip": True, "lr": 3e-4, "config_str": WINNER, "norm": None}
        | {"backends": ["eager", "fused"], "serial_batches": False},
        Path("r"),
        ["it's"],
    )
    assert stage.shown == (
        """python train.py 'it'"'"'s' --dataroot 'my pairs' --no_flip --lr 0.0003 """
        '--config_str "$CONFIG" --backends eager fused'
    )
    assert stage.needs_winner and not stage.with_winner("8_8").needs_winner


def test_a_discriminator_of_another_width_sets_it():
    new = draft("cpu")
    new.teacher = Teacher("g.pth", new.teacher.spec, True, "d.pth", "", 64)
    flags = new.supernet().flags
    assert (flags["ndf"], flags["restore_D_path"]) == (64, "d.pth")
    assert new.preset.of("training")["ndf"] != 64


def test_several_processes_are_refused(monkeypatch, tmp_path):
    (tmp_path / "train").mkdir()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="without torchrun"):
        make_plan(Wanted(str(tmp_path), "out", "12x"), read_preset("quick"))
