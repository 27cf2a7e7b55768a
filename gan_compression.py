"""Generators from Python: load, look, measure, compress, cut and save them.

    from gan_compression import compress, cost, evaluate, load_generator, save, translate

    teacher = load_generator("latest_net_G.pth")  # of this project, pix2pix or CycleGAN
    translate(teacher, "map.png").save("aerial.png")
    small = compress("datasets/maps", "logs/maps", target="12x", teacher="latest_net_G.pth")
    print(cost(teacher, 256), cost(small.generator, 256))
    print(evaluate({"teacher": teacher, "small": small.generator}, "datasets/maps"))
    save(small.generator, "small.onnx")

Everything here is a few lines over the builders that the scripts use. What is wrong with a file or
a setting is an `errors.InputError` that says what to do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from data.build import DataSettings, inference_loader
from data.images import picture_pixels, read_pixels
from data.transforms import to_numpy, to_uint8
from deploy.onnx import export_onnx, require_onnx
from deploy.pt2 import export_pt2
from errors import InputError
from evaluation.build import MeasureSettings, criteria
from evaluation.evaluator import Evaluator
from evaluation.memory import Watched
from models.calibration import calibrate
from models.cost import config_cost
from models.generators import GeneratorSpec, as_supernet
from models.layers import any_size
from models.tiles import Tiling
from models.weights import open_checkpoint, save_network
from pipeline.commands import Wanted
from pipeline.plan import claim, make_plan
from pipeline.presets import read_preset
from pipeline.run import Stopped, run_stages
from report.compressed import RESULTS
from runtime.files import read_json
from runtime.folders import release_folders
from runtime.machine import named_device
from subnets.results import read_evaluations

__all__ = [
    "Compressed",
    "Generator",
    "compress",
    "cost",
    "cut",
    "evaluate",
    "load_generator",
    "save",
    "searched",
    "translate",
]

AnyPath = str | os.PathLike


@dataclass(frozen=True)
class Generator:
    """A network and what it is.

    net:  float32, in evaluation mode; N C H W in [-1, 1] -> the same of the output
    spec: its kind, width or configuration, channels and norm
    """

    net: nn.Module
    spec: GeneratorSpec

    def __str__(self) -> str:
        width = f"ngf {self.spec.ngf}" if self.spec.ngf else self.spec.config_str
        return f"{self.spec.netG} {width}"


def load_generator(path: AnyPath, supernet: bool = False) -> Generator:
    """A generator from a ``.pth`` or ``.safetensors`` file, recognised from the file alone.

    Args:
        path:     a checkpoint of this project, or a state dict of pix2pix or CycleGAN in PyTorch
        supernet: take a bare mobile network for the supernet that its shapes may be as well
    """
    stored = open_checkpoint(path, "path")
    net, spec = stored.supernet() if supernet else stored.generator()
    return Generator(net.eval().requires_grad_(False), spec)


@torch.inference_mode()
def translate(
    generator: Generator,
    image: Image.Image | AnyPath | Tensor,
    tile: int | None = None,
    overlap: int = 64,
    tile_norm: str = "pooled",
) -> Image.Image | Tensor:
    """What a generator makes of an image, at the image's own size.

    Args:
        image: a picture or the path of one -> a picture; or float32 N C H W in [-1, 1] -> the same
        tile, overlap, tile_norm: make larger images in tiles, see `models.tiles.Tiling`

    Raises:
        InputError: the network cannot run on such tiles, or memory ran out; says which would do.
    """
    tiling = None if tile is None else Tiling(tile, overlap, tile_norm)
    made_by = Watched(generator.net, generator.spec, tiling)
    if torch.is_tensor(image):
        return any_size(made_by, image)
    channels = generator.spec.input_nc
    picture = isinstance(image, Image.Image)
    pixels = picture_pixels(image, channels) if picture else read_pixels(Path(image), channels)
    unit = torch.tensor(pixels).permute(2, 0, 1)[None]
    unit = unit.float() / 255 if unit.dtype == torch.uint8 else unit
    made = to_numpy(to_uint8(any_size(made_by, unit * 2 - 1)))[0]
    return Image.fromarray(made[..., 0] if made.shape[-1] == 1 else made)


@dataclass(frozen=True)
class Cost:
    """Of one image: ``macs`` as published, ``exact_macs`` as multiplied; and ``parameters``."""

    macs: int
    exact_macs: int
    parameters: int


def cost(generator: Generator, height: int, width: int | None = None) -> Cost:
    """What a generator costs at a size in pixels, see `models.cost`; square without ``width``."""
    spec, size = generator.spec, (height, height if width is None else width)
    config = spec.tuned_config or spec.config
    macs, parameters = config_cost(config, spec.architecture, "published", *size)
    return Cost(macs, config_cost(config, spec.architecture, "exact", *size)[0], parameters)


def cut(supernet: Generator, config: str | None = None, inputs: Sequence[Tensor] = ()) -> Generator:
    """One subnet of a supernet, with its own weights.

    Args:
        config: e.g. ``16_16_40_40_40_64_24_16``; None = the one that it was fine-tuned at
        inputs: a few batches, float32 N C H W in [-1, 1], where the supernet has batch norms: their
                statistics are taken anew (`models.calibration`)
    """
    spec = as_supernet(supernet.spec)
    if spec is None or not hasattr(supernet.net, "widths_of"):
        raise InputError(f"{supernet} is no supernet: nothing can be cut out of it")
    chosen = spec.parse(config) if config else spec.tuned_config
    if chosen is None:
        raise InputError("`config`: the supernet was trained for a whole space, say which subnet")
    net = spec.kind.extract(supernet.net, chosen).eval()
    if spec.needs_statistics(chosen):
        if not inputs:
            raise InputError("`inputs`: batch norms of a subnet need a few batches to calibrate on")
        net = calibrate(net, inputs)
    return Generator(net, spec.subnet(chosen))


def save(generator: Generator, path: AnyPath) -> Path:
    """Write a generator; the suffix says how: .pth, .safetensors, .onnx or .pt2 (torch.export).

    An .onnx or .pt2 file is run and compared before it is kept.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        require_onnx()
        export_onnx(generator.net, path, False)
    elif path.suffix == ".pt2":
        export_pt2(generator.net, path, False)
    elif path.suffix in (".pth", ".safetensors"):
        save_network(generator.net, path, generator.spec)
    else:
        raise InputError(f"`path` {path}: the suffix is none of .pth, .safetensors, .onnx, .pt2")
    return path


def evaluate(
    generators: Mapping[str, Generator],
    dataroot: AnyPath,
    direction: str = "AtoB",
    size: int = 256,
    phase: str = "val",
    images: int | None = None,
    features: str = "inception",
    fid_dims: int = 2048,
    fid_weights: AnyPath | None = None,
    batch_size: int = 8,
    device: str = "cpu",
) -> dict[str, dict]:
    """Measure generators on pairs: FID and KID, and L1, PSNR and SSIM to the real images.

    Args:
        generators: label -> generator
        dataroot:   holds ``<phase>``, or ``<phase>A`` and ``<phase>B``
        direction:  AtoB | BtoA
        size:       height and width that images are brought to [px]
        images:     only the first of them; None = all
        features:   inception | random (no weights needed; compare only with each other)
        fid_dims:   64 | 192 | 768 | 2048 features
        device:     cpu | cuda | mps | xpu, or with a number, such as cuda:1

    Returns:
        label -> measures by name, with ``n``, the number of images

    Raises:
        InputError: the images, the weights of the features or a setting are not as they should be.
    """
    where = named_device(device)
    if images is not None and images < 1:
        raise InputError(f"`images` {images}: give 1 or more, or None to use all")
    data = DataSettings(
        str(dataroot),
        direction=direction,
        phase=phase,
        max_dataset_size=-1 if images is None else images,
        load_size=size,
        crop_size=size,
        batch_size=batch_size,
    )
    weights = None if fid_weights is None else str(fid_weights)
    measures = MeasureSettings(fid_features=features, fid_dims=fid_dims, fid_weights=weights)
    evaluator = Evaluator(inference_loader(data, where), criteria(measures, data, where), bar=True)
    # Copies: the networks of the caller stay on their device.
    return {label: evaluator(deepcopy(each.net).to(where)) for label, each in generators.items()}


@dataclass(frozen=True)
class Compressed:
    """What `compress` leaves.

    folder:    everything: checkpoints, logs, pages (index.html), MODEL_CARD.md
    generator: the small network
    results:   what results.json says: costs and measures of teacher and small network
    """

    folder: Path
    generator: Generator
    results: dict


def compress(
    dataroot: AnyPath,
    output_dir: AnyPath,
    target: str = "12x",
    preset: str = "standard",
    teacher: AnyPath | None = None,
    direction: str | None = None,
    image_size: int | None = None,
    student_netG: str | None = None,
    fid_weights: AnyPath | None = None,
    seed: int = 233,
    device: str | None = None,
    threads: int | None = None,
) -> Compressed:
    """Compress a generator as compress.py does, whose arguments these are (docs/compress.md).

    Each stage is a process of its own, which shows its progress. After an interruption, the same
    call continues; when everything is there, it only loads it.

    Args:
        target:  ``12x`` fewer MACs than the teacher | ``4.6e9`` MACs | ``20ms`` on this machine
        preset:  quick | standard | best, or a TOML file
        teacher: its checkpoint; None trains one first
        student_netG: the supernet that learns; None = the one of the teacher's family

    Raises:
        InputError:        something cannot work; said before the first stage where possible
        KeyboardInterrupt: it was told to stop; what is done is kept
    """
    paths = dict(dataroot=dataroot, output_dir=output_dir, teacher=teacher, fid_weights=fid_weights)
    wanted = Wanted(
        **{name: None if path is None else os.fspath(path) for name, path in paths.items()},
        target=target,
        direction=direction,
        image_size=image_size,
        student_netG=student_netG,
        seed=seed,
        device=device,
        threads=threads,
    )
    plan = make_plan(wanted, read_preset(preset))
    try:
        claim(plan)
        run_stages(plan)
    except Stopped as stop:
        raise KeyboardInterrupt(str(stop)) from None
    finally:
        # A notebook lives on, and another process may want to continue.
        release_folders()
    small = load_generator(plan.folder / "compressed.pth")
    return Compressed(plan.folder, small, read_json(plan.folder / RESULTS))


def searched(folder: AnyPath) -> Sequence[dict]:
    """What a search measured, cheapest first: ``config``, ``macs``, ``parameters`` and measures.

    Args:
        folder: the ``--output_dir`` of evolution_search.py, or a folder of compress.py
    """
    folder = Path(folder)
    found = [f / "evaluations.jsonl" for f in (folder, folder / "search")]
    path = next((f for f in found if f.exists()), None)
    if path is None:
        raise InputError(f"`folder` {folder} holds no evaluations.jsonl of a search")
    records = sorted(read_evaluations(path), key=lambda r: r.macs)
    return [
        {"config": r.config_str, "macs": r.macs, "parameters": r.params} | r.metrics
        for r in records
    ]
