"""The command ``python -m data.check``, which scripts/check_dataset.py runs too."""

from pathlib import Path

from data.labelled import LAYOUTS
from data.labels import Semantics
from data.transforms import Resize
from errors import InputError
from options import FLAGS, CheckOptions
from prepare.check import Usage, check_dataset, format_report
from prepare.check_labels import check_labelled
from runtime.entry import with_flags


def main(argv: list[str] | None = None) -> None:
    opt = CheckOptions.parse(argv)
    labels = opt.dataset_mode in LAYOUTS
    semantics = Semantics(opt.input_nc, opt.contain_dontcare_label, not opt.no_instance)
    usage = Usage(
        dataset_mode=opt.dataset_mode,
        direction=opt.direction,
        resize=Resize(opt.preprocess, opt.load_size, opt.crop_size, opt.aspect_ratio),
        channels=(opt.input_nc, opt.output_nc),
        batch_size=opt.batch_size,
        cache_bytes=opt.cache_gb * 1e9,
        phase=opt.phase,
        meta_path=opt.meta_path,
        semantics=semantics if labels else None,
        portraits=not opt.coco_no_portraits,
        check_pairs=not opt.no_pairing_check,
    )
    check = check_labelled if labels else check_dataset
    report = check(Path(opt.dataroot), usage, opt.num_threads)
    print(with_flags(format_report(report, usage), FLAGS))
    if not report.ready:
        raise InputError(f"{opt.dataroot} is not ready to train; the remedies are listed above")
