"""Generate images with checkpoints and measure them side by side, or translate a video.

``--help`` lists the flags, ``--dataset_mode video --help`` those of videos.
"""

from dataclasses import replace
from pathlib import Path

from data.build import inference_loader
from data.video import check_output, require_av
from evaluation.build import criteria
from evaluation.memory import watched
from evaluation.tested import load_tested
from evaluation.video import describe_video, translate_video
from models.styles import in_one_style
from options import Namespace, TestOptions, run, settings, test_settings
from report.results import test_generators
from runtime.folders import make_folder, make_parent, take_folder


def video(opt: Namespace) -> None:
    """Translate a video instead of images."""
    require_av()
    check_output(Path(opt.output_path), Path(opt.dataroot))
    output = make_parent(opt.output_path, "`output_path`")
    device = settings.start_machine(opt)
    teacher, models = load_tested(test_settings.tested(opt), device)
    models = [teacher, *models] if teacher else models
    models = [replace(each, net=in_one_style(each.net)) for each in models]
    done = translate_video(output, models, settings.data(opt), device, opt.side_by_side)
    print(describe_video(output, done))


def main() -> None:
    opt = TestOptions.parse()
    if opt.dataset_mode == "video":
        video(opt)
        return
    folder = make_folder(opt.results_dir, "`results_dir`")
    take_folder(folder, "test.py", "`results_dir`")
    device = settings.start_machine(opt)
    data = settings.data(opt)

    teacher, models = load_tested(test_settings.tested(opt), device)
    tiling = test_settings.tiling(opt)
    teacher, *models = (each and watched(each, tiling) for each in (teacher, *models))
    loader = inference_loader(data, device)
    judges = criteria(settings.measures(opt), data, device)
    several = teacher is not None or len(models) > 1
    times = test_settings.timed_runs(opt, len(loader.dataset), several)
    flags = settings.written(opt)
    test_generators(folder, models, loader, judges, times, teacher, flags)

    if opt.need_profile:
        for loaded in (teacher, *models) if teacher else models:
            print(f"{loaded.model.name}: {loaded.model.cost}")
    print(f"page: {folder / 'index.html'}")


if __name__ == "__main__":
    run(main)
