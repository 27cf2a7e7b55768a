"""Compress generators of every layout that pix2pix and CycleGAN in PyTorch write, one command each.

Each teacher is trained for a few epochs on the pairs of ``--dataroot``, and written as that
implementation writes it: bare weights, without a discriminator beside them. Then compress.py gets
the file and the images. The last row has no teacher: images of two sides that are no pairs. What
is done is kept in ``--output``; a second run goes on.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from common import ROOT, arguments, machine, report

import numpy as np
import torch
from PIL import Image

from data.datasets import list_images
from models.weights import load_state
from runtime.files import read_json, write_json

WITHOUT = "no teacher: images that are no pairs"


@dataclass(frozen=True)
class Given:
    """A teacher: its kind, the norm of its layers, whether it has dropout, and its images' side."""

    netG: str
    norm: str
    dropout: bool
    size: int = 64

    def __str__(self) -> str:
        return f"{self.netG}, {self.norm} norm, {'' if self.dropout else 'no '}dropout"


# Every value of every part twice among the ResNets.
TEACHERS = [
    Given("resnet_9blocks", "instance", False),  # CycleGAN
    Given("resnet_9blocks", "batch", True),  # pix2pix
    Given("resnet_6blocks", "instance", True),
    Given("resnet_6blocks", "batch", False),
    Given("unet_128", "batch", True, 128),
]


def run(script: str, *flags: object) -> None:
    subprocess.run([sys.executable, ROOT / script, *map(str, flags)], cwd=ROOT, check=True)


def train(given: Given, opt, folder: Path) -> Path:
    """A teacher in the file that the other implementation would have written."""
    path = folder / "latest_net_G.pth"
    if path.exists():
        return path
    data = ["--dataroot", opt.dataroot, "--direction", "BtoA", "--gpu_ids", opt.gpu]
    data += ["--load_size", given.size * 9 // 8, "--crop_size", given.size, "--batch_size", 4]
    net = ["--netG", given.netG, "--ngf", 32, "--ndf", 32, "--norm", given.norm]
    net += ["--dropout_rate", 0.5 if given.dropout else 0, "--lr", 3e-4]
    length = ["--nepochs", opt.epochs, "--nepochs_decay", opt.epochs, "--no_fid"]
    length += ["--max_dataset_size", opt.images]
    run("train.py", *data, *net, *length, "--log_dir", folder / "run")
    state = dict(load_state(folder / "run" / "checkpoints" / "latest_net_G.pth", "the teacher"))
    if not given.dropout:
        state = without_places(state)
    torch.save(state, path)
    return path


def without_places(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The keys of a ResNet in which a network without dropout has no module in its place."""

    def key(name: str) -> str:
        match = re.fullmatch(r"(model\.\d+\.conv_block\.)(\d+)(\..*)", name)
        lower = match and int(match[2]) >= 5
        return f"{match[1]}{int(match[2]) - 1}{match[3]}" if lower else name

    return {key(name): value for name, value in state.items()}


def compress(opt, out: Path, *flags: object) -> dict:
    """results.json of a compression, with its wall time if it was not interrupted."""
    took = out / "minutes.json"
    started = out.exists()
    start = time.perf_counter()
    run(
        "compress.py",
        *("--target", opt.target, "--preset", opt.preset, "--gpu_ids", opt.gpu),
        *("--direction", "BtoA", "--output_dir", out, *flags),
    )
    if not started:
        write_json(took, {"minutes": (time.perf_counter() - start) / 60})
    minutes = read_json(took) if took.exists() else {"minutes": None}
    return read_json(out / "results.json") | minutes


def unpaired(opt, folder: Path) -> Path:
    """The pairs of ``--dataroot`` as images of two sides, none of which has its other half."""
    if folder.exists():
        return folder
    unfinished = folder.with_name(f"{folder.name}.part")
    for phase in ("train", "val"):
        for number, path in enumerate(list_images(Path(opt.dataroot) / phase)):
            image, side = Image.open(path), "AB"[number % 2]
            half = image.width // 2
            box = (
                (0, 0, half, image.height) if side == "A" else (half, 0, image.width, image.height)
            )
            target = unfinished / f"{phase}{side}"
            target.mkdir(parents=True, exist_ok=True)
            image.crop(box).save(target / f"{path.stem}.png")
    os.rename(unfinished, folder)
    return folder


def row(label: str, found: dict) -> dict:
    teacher, small = found["teacher"], found["compressed"]
    fewer = teacher["macs"] / small["macs"]
    return {
        "teacher": label,
        "compressed": small["name"],
        "parameters": f"{teacher['params'] / 1e6:.3f}M -> {small['params'] / 1e6:.3f}M",
        "MACs": f"{teacher['macs'] / 1e9:.3f}G -> {small['macs'] / 1e9:.3f}G ({fewer:.1f}x)",
        "FID": f"{teacher['metrics']['fid']:.2f} -> {small['metrics']['fid']:.2f}",
        "n": found["n"],
        "L1 to teacher": f"{small['l1_to_teacher']:.1f}",
        "minutes": found["minutes"] and f"{found['minutes']:.1f}",
    }


def picture(folders: list[Path], path: Path, count: int = 3, side: int = 128) -> None:
    """Input, teacher and compressed of a few test images: a row for each compression."""
    strips = []
    for folder in folders:
        found = read_json(folder / "results.json")
        images = folder / "test" / "images"
        columns = [images / "real_A"]
        columns += [folder / "test" / found[who]["images"] for who in ("teacher", "compressed")]
        cells = [
            np.asarray(Image.open(column / file.name).convert("RGB").resize((side, side)))
            for file in list_images(columns[0])[:count]
            for column in columns
        ]
        strips.append(np.concatenate(cells, axis=1))
    Image.fromarray(np.concatenate(strips)).save(path, quality=88)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--dataroot", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--target", default="12x")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--epochs", type=int, default=4, help="of a teacher, and as many decaying")
    parser.add_argument("--images", type=int, default=400, help="that a teacher learns from")
    parser.add_argument("--picture", type=Path, metavar="JPG", help="write images here")
    opt = parser.parse_args()
    opt.gpu = "0" if opt.device.startswith("cuda") else "-1"
    opt.output = opt.output.resolve()

    rows, folders = [], []
    for given in TEACHERS:
        folder = opt.output / re.sub(r"\W+", "_", str(given))
        folder.mkdir(parents=True, exist_ok=True)
        flags = ("--teacher", train(given, opt, folder), "--image_size", given.size)
        folders.append(folder / "small")
        found = compress(opt, folders[-1], "--dataroot", opt.dataroot, *flags)
        rows.append(row(str(given), found))
    folder = opt.output / "unpaired"
    folder.mkdir(exist_ok=True)
    sides = ("--dataset_mode", "unaligned", "--dataroot", unpaired(opt, folder / "images"))
    folders.append(folder / "small")
    rows.append(row(WITHOUT, compress(opt, folders[-1], *sides)))
    if opt.picture:
        picture(folders, opt.picture)
    report("One command each", rows, machine(opt.device), opt.json)


if __name__ == "__main__":
    main()
