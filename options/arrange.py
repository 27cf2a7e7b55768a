"""The command ``python -m prepare.arrange``."""

from pathlib import Path

from options import ArrangeOptions
from prepare.arrange import Sizes, arrange, describe, divide


def main(argv: list[str] | None = None) -> None:
    opt = ArrangeOptions.parse(argv)
    root = Path(opt.dataroot)
    sizes = Sizes(opt.train_images, opt.val_images, opt.test_images)
    division = divide(root, opt.dataset_mode, sizes, opt.seed)
    arrange(division, root, Path(opt.output_dir))
    print(f"{opt.output_dir}: {', '.join(describe(division))}")
