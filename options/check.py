"""The command ``python -m data.check``, which scripts/check_dataset.py runs too."""

from pathlib import Path

from data.transforms import Resize
from errors import InputError
from options import FLAGS, CheckOptions
from prepare.check import Usage, check_dataset, format_report
from runtime.entry import with_flags


def main(argv: list[str] | None = None) -> None:
    opt = CheckOptions.parse(argv)
    usage = Usage(
        dataset_mode=opt.dataset_mode,
        direction=opt.direction,
        resize=Resize(opt.preprocess, opt.load_size, opt.crop_size, opt.aspect_ratio),
        channels=(opt.input_nc, opt.output_nc),
        batch_size=opt.batch_size,
        cache_bytes=opt.cache_gb * 1e9,
        phase=opt.phase,
        meta_path=opt.meta_path,
    )
    report = check_dataset(Path(opt.dataroot), usage, opt.num_threads)
    print(with_flags(format_report(report, usage), FLAGS))
    if not report.ready:
        raise InputError(f"{opt.dataroot} is not ready to train; the remedies are listed above")
