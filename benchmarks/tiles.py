"""Measure images made in tiles against the same images made as a whole, on real inputs.

Both sides are measured in one run: how far outputs differ, how much more change there is across the
borders of tiles, seconds, and peak memory. The large images are mosaics of real ones: a network
that was trained at 64 pixels sees in a mosaic of 64 what it knows.
"""

from common import add_images, arguments, data_of, machine, report

import time
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from data.build import inference_loader
from deploy.forms import Form
from evaluation.speed import peak_memory
from models.tiles import TILE_NORMS, Tiled, Tiling, tile_starts
from models.weights import load_generator
from runtime.machine import wait


def mosaic(images: Tensor, side: int) -> Tensor:
    """N C H H -> 1 C side side, of the first images in rows, repeated where there are too few."""
    count = side // images.shape[2]
    chosen = images[torch.arange(count * count) % len(images)]
    rows = [torch.cat(list(row), 2) for row in chosen.split(count)]
    return torch.cat(rows, 1)[None]


def borders(length: int, tile: int, overlap: int) -> list[int]:
    """The pixels after which the part of the next tile begins, in the middle of two overlaps."""
    starts = tile_starts(length, tile, overlap)
    return [(a + tile + b) // 2 - 1 for a, b in pairwise(starts)]


def seam(made: Tensor, whole: Tensor, tile: int, overlap: int) -> float:
    """How much more an image changes across the borders of its tiles than it should.

    The change from each pixel to the next is |difference|, as a mean over channels. Its mean within
    8 pixels of a border of two tiles is divided by its mean elsewhere, in rows and in columns. The
    result is the ratio of that of ``made`` to that of ``whole``, which has the same content and no
    tiles: 1 = no seam.

    Args:
        made, whole: 1 C H W
    """
    ratio = 1.0
    for axis in (2, 3):
        places = borders(made.shape[axis], tile, overlap)
        if not places:
            continue
        index = torch.arange(made.shape[axis] - 1)
        near = (index[:, None] - torch.tensor(places)).abs().amin(1) < 8
        for image, power in ((made, 1), (whole, -1)):
            change = image.diff(dim=axis).abs().transpose(axis, 3).mean((0, 1, 2)).cpu()
            ratio *= float(change[near].mean() / change[~near].mean()) ** (power / 2)
    return ratio


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--restore_G_path", required=True)
    add_images(parser, phase="val", images=64, size=64)
    parser.add_argument("--side", type=int, default=512, help="side of a mosaic [px]")
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--overlap", type=int, default=84)
    parser.add_argument("--norms", nargs="+", choices=TILE_NORMS, default=TILE_NORMS)
    opt = parser.parse_args()
    device = torch.device(opt.device)
    net = load_generator(Path(opt.restore_G_path), "--restore_G_path")[0].to(device).eval()
    batches = inference_loader(data_of(opt), device).epoch()
    x = mosaic(torch.cat([batch.A for batch in batches]), opt.side)

    def measured(run) -> tuple[Tensor, dict]:
        made = []

        def once(x: Tensor) -> None:
            made.append(run(x))
            wait(device)

        start = time.perf_counter()
        memory = peak_memory(Form("tiles", True, once, 0.0, 0.0), x)
        spent = time.perf_counter() - start
        return made[0], {"s": spent, "peak [MB]": (memory or 0) / 1e6}

    with torch.inference_mode():
        net(x)  # libraries choose their kernels
        whole, spent = measured(net)
        nothing = {"mean [levels]": 0.0, "largest": 0.0, "seam": 1.0}
        rows = [{"made": "as a whole", "overlap": 0} | nothing | spent]
        ways = [("own", 0), *((norm, opt.overlap) for norm in opt.norms)]
        for norm, overlap in ways:
            made, spent = measured(Tiled(net, Tiling(opt.tile, overlap, norm)))
            levels = (made - whole).abs() * 127.5
            found = {
                "mean [levels]": float(levels.mean()),
                "largest": float(levels.max()),
                "seam": seam(made, whole, opt.tile, overlap),
            }
            rows.append({"made": f"in tiles, {norm}", "overlap": overlap} | found | spent)
    images = f"{opt.side}x{opt.side}, a mosaic of real {opt.size} px inputs, tiles of {opt.tile}"
    report("tiles against the whole image", rows, machine(opt.device) | {"image": images}, opt.json)


if __name__ == "__main__":
    main()
