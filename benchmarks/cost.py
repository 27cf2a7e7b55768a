"""Compare the closed-form cost of a whole search space with networks that are run and counted."""

from common import arguments, machine, report, seconds

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.resnet import ResnetGenerator
from options.flags import config_set
from subnets.space import SearchSpace


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--set", type=config_set, default="channels-64-pix2pix")
    parser.add_argument(
        "--run", type=int, default=10, metavar="N", help="networks that the reference runs"
    )
    opt = parser.parse_args()

    whole = seconds(lambda: SearchSpace(opt.set, convention="exact").macs, opt.device)
    space = SearchSpace(opt.set, convention="exact")
    numbers = np.random.default_rng(0).choice(space.size, opt.run, replace=False)
    x = torch.zeros(1, 3, 256, 256)

    def run(number: int) -> int:
        counter = FlopCounterMode(display=False)
        with torch.inference_mode(), counter:
            ResnetGenerator(space.config(number))(x)
        return counter.get_total_flops() // 2

    equal = all(run(int(number)) == space.macs[number] for number in numbers)
    one = (
        seconds(lambda: [run(int(number)) for number in numbers], opt.device, repeats=1, warmup=0)
        / opt.run
    )
    rows = [
        {
            "configurations": space.size,
            "run and count, each [s]": one,
            "closed form, each [s]": whole / space.size,
            "closed form, all [s]": whole,
            "ratio": one / (whole / space.size),
            "equal": equal,
        }
    ]
    report(f"Cost of {opt.set}", rows, machine(opt.device), opt.json)


if __name__ == "__main__":
    main()
