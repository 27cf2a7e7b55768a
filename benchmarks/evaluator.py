"""Time one evaluation of a search against the plain way, and show where the time goes.

This project decodes images once, keeps them as uint8 and measures in one pass. The plain way
decodes images, makes float round trips and computes sqrtm for every candidate.
"""

import tempfile
import time
from pathlib import Path

from common import arguments, machine, report, seconds
from frechet import reference

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from prepare.builtin import write_builtin_dataset
from data.datasets import AlignedDataset, Source
from data.loader import Loader
from data.transforms import Crops, Resize
from metrics.criteria import FeatureCriterion
from metrics.inception import load_inception
from models.build import Initialisation, new_generator
from models.config import ChannelConfig
from models.generators import GeneratorSpec
from models.supernet import extract
from evaluation.evaluator import Evaluator
from evaluation.real import measure_real


class Timed:
    """A function that adds the wall time of its calls to ``total`` [s]."""

    def __init__(self, function, device: str):
        self.function, self.total = function, 0.0
        self.wait = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)

    def __call__(self, *args):
        self.wait()
        start = time.perf_counter()
        result = self.function(*args)
        self.wait()
        self.total += time.perf_counter() - start
        return result

    def __getattr__(self, name: str):
        return getattr(self.function, name)


def plain(root: Path, supernet, config: ChannelConfig, net, real, size: int, device: str) -> float:
    """FID of a candidate, measured the common way.

    The subnet is cut out of the supernet. Images are read again, run one at a time and rounded to
    uint8 as in a PNG. The Frechet distance takes sqrtm.

    Args:
        net:  layers of the feature network, by name
        real: mean (d,) and covariance (d, d) of the real features
        size: side of an image [px]
    """
    subnet = extract(supernet, config).eval()
    features = []
    with torch.inference_mode():
        for path in sorted((root / "val").iterdir()):
            pair = Image.open(path).convert("RGB")
            half = pair.crop((pair.width // 2, 0, pair.width, pair.height)).resize(
                (size, size), Image.Resampling.BICUBIC
            )
            x = (
                torch.from_numpy(np.asarray(half).astype(np.float32) / 127.5 - 1)
                .permute(2, 0, 1)[None]
                .contiguous()
            )
            y = subnet(x.to(device)).cpu().numpy()
            image = np.clip((y + 1) / 2 * 255, 0, 255).astype(np.uint8).astype(np.float32) / 255
            z = (
                F.interpolate(
                    torch.from_numpy(image).to(device),
                    size=(299, 299),
                    mode="bilinear",
                    align_corners=False,
                )
                * 2
                - 1
            )
            for layer in net.values():
                z = layer(z)
            features.append(z.mean(dim=(2, 3)).double().cpu().numpy())
    return reference(np.concatenate(features), *real)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--ngf", type=int, default=64)
    parser.add_argument("--dims", type=int, default=2048)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--config_str", default="24_24_40_56_24_56_16_40")
    parser.add_argument("--repeats", type=int, default=1)
    opt = parser.parse_args()
    facts = machine(opt.device) | {
        k: getattr(opt, k) for k in ("images", "size", "ngf", "dims", "batch_size", "config_str")
    }

    import metrics.inception as inception

    fold = inception._fold_batch_norms
    inception._fold_batch_norms = lambda net: None
    unfolded = load_inception(opt.dims, features="random", device=opt.device).to(
        memory_format=torch.contiguous_format
    )
    inception._fold_batch_norms = fold
    net = load_inception(opt.dims, features="random", device=opt.device)
    torch.manual_seed(0)
    spec = GeneratorSpec("super_mobile_resnet_9blocks", ngf=opt.ngf)
    supernet = new_generator(spec, Initialisation()).eval().to(opt.device)
    config = ChannelConfig.parse(opt.config_str)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_builtin_dataset(root, train=1, val=opt.images, size=opt.size)
        resize = Resize("resize_and_crop", opt.size, opt.size)
        dataset = AlignedDataset(Source(folder, "val"), "BtoA", resize)
        real = measure_real(dataset, net, torch.device(opt.device))
        criterion = FeatureCriterion(net, real, torch.device(opt.device))
        generate = Timed(lambda x: supernet(x, config), opt.device)
        criterion.net = Timed(net, opt.device)
        loader = Loader(
            dataset, opt.batch_size, torch.device(opt.device), Crops(resize.crop, False, False)
        )
        rows = []
        for name, bf16 in (("ours", False), ("ours, bf16", True)):
            evaluator = Evaluator(loader, [criterion], bf16)
            evaluator(generate)
            generate.total = criterion.net.total = 0.0
            took = seconds(
                lambda evaluator=evaluator: evaluator(generate), opt.device, opt.repeats, warmup=0
            )
            share = (generate.total + criterion.net.total) / opt.repeats / took
            rows.append(
                {
                    "how": name,
                    "seconds": took,
                    "share of the two networks": share,
                    "FID": evaluator(generate)["fid"],
                }
            )
        arrays = real.mu.cpu().numpy(), real.sigma.cpu().numpy()
        start = time.perf_counter()
        fid = plain(root, supernet, config, unfolded.layers, arrays, opt.size, opt.device)
        rows.append(
            {
                "how": "plain",
                "seconds": time.perf_counter() - start,
                "share of the two networks": "",
                "FID": fid,
            }
        )
    for row in rows:
        row["candidates per hour"] = round(3600 / row["seconds"])
        row["ratio to plain"] = rows[-1]["seconds"] / row["seconds"]
    report(
        "One evaluation of a subnet (random features, untrained networks: for time only)",
        rows,
        facts,
        opt.json,
    )


if __name__ == "__main__":
    main()
