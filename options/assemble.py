"""What the flags mean: namespaces -> objects. Below this room functions take named arguments, never ``opt``."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from data.datasets import AlignedDataset, SingleDataset, Source, path_of_side, unpaired_datasets
from data.loader import Loader, UnpairedLoader
from data.transforms import Crops, Resize
from errors import InputError
from evaluation.evaluator import Evaluator
from evaluation.real import real_statistics
from evaluation.tested import TAKEN, Loaded, TestedModel, short_names
from metrics.criteria import LOWER_IS_BETTER, FeatureCriterion
from metrics.drn import load_drn
from metrics.inception import InceptionFeatures, load_inception
from metrics.miou import LabelStore, SegmentationScorer, read_table
from models.config import ChannelConfig
from models.cost import Architecture, config_cost
from models.discriminators import build_discriminator
from models.generators import GeneratorSpec
from models.layers import init_weights, set_dropout
from models.pruning import prune_into
from models.supernet import extract
from models.weights import load_generator, load_network, load_state, read_spec
from report.pictures import montage_of
from report.plots import plot_search
from report.run import write_run_page
from report.search import write_search_page
from runtime import distributed
from runtime.cuda_graphs import CudaGraphs, StepCapture
from runtime.files import write_json
from runtime.folders import claim_folder, make_folder
from runtime.progress import Bar
from subnets.genetic import GeneticSearch, GeneticSettings
from subnets.objectives import ByFront, ByScore
from subnets.predictor import PredictedSearch
from subnets.results import Evaluated, Results, read_evaluations, write_summary
from subnets.sampling import Sampling
from subnets.search import Measurer, pareto_front
from subnets.space import SearchSpace
from training.schedules import Schedule
from training.state import load_optimizers
from training.tasks import DistillTask, LossWeights, Subnets, make_adaptors
from training.trainer import Evaluation, Plan, Stopped, Trainer

# Flags that change how a run goes but not what comes out: a run may be continued with other values of these.
HARMLESS = {
    "gpu_ids",
    "num_threads",
    "load_in_memory",
    "cache_gb",
    "tensorboard_dir",
    "display_winsize",
    "log_dir",
    "output_dir",
}
# A longer search replays a shorter one.
HARMLESS |= {
    "output_path",
    "explicit",
    "save_freq",
    "max_cache_size",
    "evolution_iters",
    "patience",
}


# ---------------------------------------------------------------------------------------------------------
# Machine


def device_of(opt: argparse.Namespace) -> torch.device:
    """The device of ``--gpu_ids``; under torchrun, the one of this process. Seeds everything."""
    device = _device_of(opt)
    if getattr(opt, "amp", "none") == "fp16" and device.type == "cpu":
        raise InputError("--amp fp16 needs a GPU; on the CPU use --amp bf16")
    if getattr(opt, "cuda_graphs", False) and device.type == "cpu":
        raise InputError("--cuda_graphs needs a CUDA GPU; leave it out on the CPU")
    return device


def _device_of(opt: argparse.Namespace) -> torch.device:
    ids = [int(part) for part in opt.gpu_ids.split(",")]
    seed = getattr(opt, "seed", 0)
    torch.manual_seed(seed)
    if ids[0] < 0 or not torch.cuda.is_available():
        if ids[0] >= 0:
            print("no CUDA GPU was found: using the CPU (--gpu_ids -1 says so)")
        distributed.setup("cpu")
        return torch.device("cpu")
    index = int(os.environ["LOCAL_RANK"]) if "LOCAL_RANK" in os.environ else ids[0]
    if index >= torch.cuda.device_count():
        raise InputError(
            f"--gpu_ids {opt.gpu_ids}: there is no GPU {index}, the machine has {torch.cuda.device_count()}"
        )
    if len(ids) > 1 and "LOCAL_RANK" not in os.environ:
        print(
            f"--gpu_ids {opt.gpu_ids}: one process uses one GPU; start it with torchrun to use {len(ids)}"
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    distributed.setup("cuda")
    return device


# Files that decide a result by what they hold, not by where they are.
INPUT_FILES = {
    "restore_G_path",
    "restore_D_path",
    "restore_teacher_G_path",
    "restore_student_G_path",
    "restore_pretrained_G_path",
}
INPUT_FILES |= {"real_stat_path", "meta_path", "fid_weights", "drn_path", "table_path"}


def _content(path: str) -> str:
    """A file's name and digest; the text itself where there is no such file."""
    if not Path(path).is_file():
        return path
    return f"{Path(path).name} [{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]}]"


def _contents(opt: argparse.Namespace, flag: str, path: str) -> str:
    if flag == "meta_path" and opt.dataset_mode == "unaligned":
        return " ".join(_content(path_of_side(path, side)) for side in "AB")
    return _content(path)


def settings_of(opt: argparse.Namespace) -> dict:
    """The flags that decide a run's result, as they are stored with it: files by their content, folders by their real path."""
    plain = {
        k: (v if v == v and abs(v) != float("inf") else str(v)) if isinstance(v, float) else v
        for k, v in vars(opt).items()
    }
    plain = {k: v for k, v in plain.items() if k not in HARMLESS}
    plain |= {k: _contents(opt, k, plain[k]) for k in INPUT_FILES & plain.keys() if plain[k]}
    return plain | {"dataroot": os.path.realpath(plain["dataroot"])}


def options_of(opt: argparse.Namespace) -> dict:
    """The script and every flag's value, as options.json says them."""
    values = {
        k: str(v) if v == float("inf") else v for k, v in vars(opt).items() if k != "explicit"
    }
    return {"script": Path(sys.argv[0]).name} | values


def write_options(opt: argparse.Namespace, folder: Path) -> None:
    write_json(folder / "options.json", options_of(opt))


# ---------------------------------------------------------------------------------------------------------
# Data


def sides_of(opt: argparse.Namespace, **changes) -> tuple:
    """(inputs, real images that outputs are compared with) of the data flags; ``changes`` replace flags, e.g. ``phase='val'``.

    Both are one dataset but for unaligned data.
    """
    o = argparse.Namespace(**vars(opt) | changes)
    source = Source(o.dataroot, o.phase, o.meta_path, o.max_dataset_size)
    resize = Resize(o.preprocess, o.load_size, o.crop_size, o.aspect_ratio)
    if o.dataset_mode == "unaligned":
        return unpaired_datasets(source, o.direction, resize, (o.input_nc, o.output_nc))
    if o.dataset_mode == "single":
        dataset = SingleDataset(source, resize, o.input_nc)
    else:
        dataset = AlignedDataset(source, o.direction, resize, (o.input_nc, o.output_nc))
    return dataset, dataset


def training_loader(opt: argparse.Namespace, device: torch.device) -> Loader | UnpairedLoader:
    if opt.dataset_mode == "single":
        raise InputError(
            "--dataset_mode single has no targets to train on; use aligned or unaligned"
        )
    inputs, targets = sides_of(opt)
    settings = dict(
        batch_size=opt.batch_size,
        device=device,
        crops=Crops(inputs.resize.crop, random=True, flip=not opt.no_flip),
        shuffle=not opt.serial_batches,
        seed=opt.seed,
        threads=opt.num_threads,
        max_bytes=opt.cache_gb * 1e9,
        rank=distributed.rank(),
        world=distributed.world_size(),
    )
    if opt.dataset_mode == "unaligned":
        loader = UnpairedLoader(inputs, targets, **settings)
    else:
        loader = Loader(inputs, **settings)
    if opt.load_in_memory:
        loader.load_all()
    return loader


def inference_loader(
    opt: argparse.Namespace, device: torch.device, batch_size: int, shared: bool = False, **changes
) -> Loader:
    """Inputs in order, without chance; ``shared`` gives each process of the run its share."""
    dataset, _ = sides_of(opt, **changes)
    share = (
        {"rank": distributed.rank(), "world": distributed.world_size(), "fill": False}
        if shared
        else {}
    )
    loader = Loader(
        dataset,
        batch_size,
        device,
        Crops(dataset.resize.crop, random=False, flip=False),
        threads=opt.num_threads,
        max_bytes=opt.cache_gb * 1e9,
        **share,
    )
    if opt.load_in_memory:
        loader.load_all()
    return loader


# ---------------------------------------------------------------------------------------------------------
# Measures


def feature_net(opt: argparse.Namespace, device: torch.device) -> InceptionFeatures:
    return load_inception(opt.fid_dims, opt.fid_weights, opt.fid_features, device)


def measures_miou(opt: argparse.Namespace) -> bool:
    """Whether the flags ask for mIoU: as the criterion, or by naming its weights or labels."""
    asked = getattr(opt, "criterion", None) in ("mIoU", "accu")
    return not opt.no_mIoU and (
        asked or not opt.explicit.isdisjoint({"drn_path", "table_path", "cityscapes_path"})
    )


def criteria_of(opt: argparse.Namespace, device: torch.device, **changes) -> list:
    """The criteria that the flags ask for, the deciding one first; ``changes`` replace data flags (the phase that is measured).

    A search by mIoU measures FID too only when it is given statistics, since each would double its time.
    """
    criteria = []
    if measures_miou(opt):
        names = sides_of(opt, **changes)[0].names
        labels = LabelStore(
            names, read_table(opt.table_path, opt.cityscapes_path), threads=max(1, opt.num_threads)
        )
        criteria.append(SegmentationScorer(load_drn(opt.drn_path, device), labels, device))
    by_miou = getattr(opt, "criterion", "fid") != "fid"
    if opt.no_fid or (by_miou and "real_stat_path" not in opt.explicit):
        return criteria
    if opt.dataset_mode == "single" and opt.real_stat_path is None:
        print(
            "--dataset_mode single has no real images to compare with: FID is not measured (give --real_stat_path)"
        )
        return criteria
    net = feature_net(opt, device)
    # As stored, as the published statistics were taken (SPEC 5). Outputs without partners are compared with all real images,
    # however few of them there are.
    whole = {"max_dataset_size": -1} if opt.dataset_mode == "unaligned" else {}
    _, real = sides_of(opt, **changes | {"preprocess": "none"} | whole)
    cache = (Path(opt.dataroot) / ".statistics", _user_cache() / "statistics")
    statistics = real_statistics(real, net, device, opt.real_stat_path, cache, opt.num_threads)
    return [*criteria, FeatureCriterion(net, statistics, device)]


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base) / "gan-compression"
    return (
        path
        if os.access(Path(base).parent, os.W_OK)
        else Path(tempfile.gettempdir()) / "gan-compression"
    )


def evaluation_of(
    opt: argparse.Namespace, device: torch.device, columns: dict
) -> Evaluation | None:
    """How a training run is judged: on phase ``val``; None when that is neither there nor asked for.

    ``columns``: label -> generate, shown in the pictures beside input and target (the teacher of a student).
    """
    measured = dict(phase="val", load_size=opt.crop_size, meta_path=None, max_dataset_size=-1)
    unpaired = opt.dataset_mode == "unaligned"
    folders = ("valA",) if unpaired else ("val", "valA")
    if not any((Path(opt.dataroot) / folder).is_dir() for folder in folders):
        if opt.no_fid:
            return None
        what = "folders 'valA' and 'valB'" if unpaired else "folder 'val'"
        remedy = "add them (rename 'testA' and 'testB')" if unpaired else "add one"
        raise InputError(
            f"--dataroot {opt.dataroot} has no {what} to measure FID on; {remedy} or give --no_fid"
        )
    loader = inference_loader(opt, device, opt.eval_batch_size, shared=True, **measured)
    with distributed.main_first():
        criteria = criteria_of(opt, device, **measured)
    evaluator = Evaluator(loader, criteria, shared=True)
    criterion = criteria[0].keys[0] if criteria else None
    return Evaluation(
        measure=evaluator,
        montage=lambda generators: montage_of(loader, columns | generators, opt.display_winsize),
        criterion=criterion,
        lower_is_better=LOWER_IS_BETTER.get(criterion, True),
        label=evaluator.label,
        page=write_run_page,
    )


# ---------------------------------------------------------------------------------------------------------
# Training


def schedule_of(opt: argparse.Namespace) -> Schedule:
    return Schedule(
        opt.lr_policy,
        opt.scheduler_counter,
        opt.nepochs,
        opt.nepochs_decay,
        opt.lr_decay_steps,
        opt.gamma,
    )


def plan_of(opt: argparse.Namespace, evaluate_first: bool = False) -> Plan:
    return Plan(
        epochs=opt.nepochs + opt.nepochs_decay,
        max_steps=opt.niters,
        print_freq=opt.print_freq,
        save_latest_freq=opt.save_latest_freq,
        save_epoch_freq=opt.save_epoch_freq,
        epoch_base=opt.epoch_base,
        iter_base=opt.iter_base,
        evaluate_first=evaluate_first,
    )


def weights_of(opt: argparse.Namespace) -> LossWeights:
    return LossWeights(
        gan_mode=opt.gan_mode,
        recon=opt.recon_loss_type,
        gan=opt.lambda_gan,
        reconstruction=opt.lambda_recon,
        distill=getattr(opt, "lambda_distill", 0.0),
    )


def spec_of(opt: argparse.Namespace, prefix: str, config_str: str | None = None) -> GeneratorSpec:
    """The generator of ``--{prefix}netG`` and its companions."""
    name = getattr(opt, f"{prefix}netG")
    by_config = name.startswith(("sub_", "legacy_"))
    rate = getattr(opt, f"{prefix}dropout_rate", 0.0)
    ngf = None if by_config else getattr(opt, f"{prefix}ngf")
    return GeneratorSpec(
        name, ngf, config_str if by_config else None, opt.input_nc, opt.output_nc, opt.norm, rate
    )


def discriminator_of(opt: argparse.Namespace, channels: int) -> nn.Module:
    net = build_discriminator(opt.netD, channels, opt.ndf, opt.n_layers_D, opt.norm)
    init_weights(net, opt.init_type, opt.init_gain)
    if opt.restore_D_path:
        load_network(net, opt.restore_D_path, "--restore_D_path")
    return net


def new_generator(opt: argparse.Namespace, spec: GeneratorSpec) -> nn.Module:
    return init_weights(spec.build(), opt.init_type, opt.init_gain)


def check_channels(opt: argparse.Namespace, flag: str, path: str, spec: GeneratorSpec) -> None:
    """InputError when a generator is not made for the images of ``--input_nc`` and ``--output_nc``."""
    if (spec.input_nc, spec.output_nc) != (opt.input_nc, opt.output_nc):
        raise InputError(
            f"{flag} {path} maps {spec.input_nc} to {spec.output_nc} channels, the images have {opt.input_nc} and {opt.output_nc}; "
            f"give --input_nc {spec.input_nc} --output_nc {spec.output_nc}"
        )


def teacher_spec_and_net(opt: argparse.Namespace) -> tuple[GeneratorSpec, nn.Module]:
    """The trained teacher, rebuilt from its checkpoint; explicit flags must agree with it."""
    renamed = {
        "teacher_netG": "netG",
        "teacher_ngf": "ngf",
        "input_nc": "input_nc",
        "output_nc": "output_nc",
        "norm": "norm",
    }
    wanted = {name: getattr(opt, flag) for flag, name in renamed.items() if flag in opt.explicit}
    net, spec = load_generator(
        opt.restore_teacher_G_path, "--restore_teacher_G_path", wanted, "teacher_"
    )
    check_channels(opt, "--restore_teacher_G_path", opt.restore_teacher_G_path, spec)
    if spec.is_supernet:
        raise InputError(
            f"--restore_teacher_G_path {opt.restore_teacher_G_path} is a supernet; export a subnet of it first"
        )
    return spec, net


def student_spec_and_net(opt: argparse.Namespace) -> tuple[GeneratorSpec, nn.Module]:
    """The student: new, from a checkpoint, or pruned from a wider network."""
    spec = spec_of(opt, "student_", opt.config_str)
    if spec.netG.startswith("sub_") and not opt.config_str:
        raise InputError(f"--student_netG {spec.netG} needs --config_str")
    if opt.restore_student_G_path:
        renamed = {"student_ngf": "ngf", "config_str": "config_str", "norm": "norm"}
        wanted = {
            name: getattr(opt, flag) for flag, name in renamed.items() if flag in opt.explicit
        }
        wanted["netG"] = opt.student_netG
        net, found = load_generator(
            opt.restore_student_G_path, "--restore_student_G_path", wanted, "student_"
        )
        spec = replace(found, dropout_rate=opt.student_dropout_rate)
        set_dropout(net, opt.student_dropout_rate)
        return spec, net
    net = new_generator(opt, spec)
    pretrained = getattr(opt, "restore_pretrained_G_path", None)
    if pretrained:
        renamed = {"pretrained_netG": "netG", "pretrained_ngf": "ngf"}
        wanted = {
            name: getattr(opt, flag) for flag, name in renamed.items() if flag in opt.explicit
        }
        wide, _ = load_generator(pretrained, "--restore_pretrained_G_path", wanted, "pretrained_")
        prune_into(wide, net)
    return spec, net


def subnets_of(opt: argparse.Namespace, spec: GeneratorSpec) -> Subnets | None:
    """What a supernet is trained and measured at: one config (fine-tuning) or a whole space; None for other students."""
    if not spec.is_supernet:
        return None
    if opt.config_str:
        config = ChannelConfig.parse(opt.config_str)
        config.check_fits(spec.ngf)
        if opt.config_set:
            SearchSpace(opt.config_set).number(config)
        return Subnets(lambda step, images: [config], {str(config): config})
    space = SearchSpace(opt.config_set)
    space.largest.check_fits(spec.ngf)
    if opt.config_per_image and opt.batch_size * distributed.world_size() == 1:
        raise InputError(
            "--config_per_image with one image per step changes nothing: give --batch_size 2 or more"
        )
    draw = Sampling(
        space, opt.seed, opt.sandwich, opt.config_per_image, distributed.rank(), opt.batch_size
    )
    return Subnets(draw, {"largest": space.largest, "smallest": space.smallest})


def restore_optimizers(opt: argparse.Namespace, optimizers: list[torch.optim.Optimizer]) -> None:
    if opt.restore_O_path:
        load_optimizers(optimizers, opt.restore_O_path, "--restore_O_path")


# ---------------------------------------------------------------------------------------------------------
# Search and inference


def wanted_architecture(opt: argparse.Namespace) -> dict:
    """The architecture flags that were typed, for `resolve_spec`."""
    names = ("netG", "ngf", "config_str", "input_nc", "output_nc", "norm")
    return {name: getattr(opt, name) for name in names if name in opt.explicit}


def load_supernet(path: str, flag: str, opt: argparse.Namespace) -> tuple[nn.Module, GeneratorSpec]:
    """A supernet from a checkpoint of ours or a released one, whose shapes alone cannot say that it is one."""
    wanted = wanted_architecture(opt) | {"netG": "super_mobile_resnet_9blocks"}
    wanted.pop("config_str", None)
    found = read_spec(load_state(Path(path), flag), Path(path), flag)
    if found.netG not in ("super_mobile_resnet_9blocks", "mobile_resnet_9blocks"):
        raise InputError(f"{flag} {path} holds {found.netG} {found.config}, not a supernet")
    return load_generator(path, flag, wanted)


def space_of(opt: argparse.Namespace, spec: GeneratorSpec, height: int, width: int) -> SearchSpace:
    arch = Architecture(True, spec.input_nc, spec.output_nc, spec.norm)
    space = SearchSpace(opt.config_set, arch, opt.macs_convention, height, width)
    space.largest.check_fits(spec.ngf)
    return space


def network_size(opt: argparse.Namespace) -> tuple[int, int]:
    """(height, width) that the network sees, for MACs; 256x256 where images keep their own sizes."""
    return Resize(opt.preprocess, opt.load_size, opt.crop_size, opt.aspect_ratio).crop or (256, 256)


def limit_images(opt: argparse.Namespace) -> None:
    """``--num_test`` and ``--max_dataset_size`` both limit the images: keep the smaller."""
    if opt.num_test != float("inf"):
        limit = int(opt.num_test)
        opt.max_dataset_size = (
            min(limit, opt.max_dataset_size) if opt.max_dataset_size > 0 else limit
        )


# ---------------------------------------------------------------------------------------------------------
# Whole runs that two scripts share


def train(
    opt: argparse.Namespace,
    task,
    loader: Loader,
    evaluation: Evaluation | None,
    evaluate_first: bool = False,
) -> None:
    """Train a task as the flags say, to the end or to a signal."""
    if opt.cuda_graphs:
        task.capture = StepCapture(CudaGraphs(task.device))
    settings = {
        "script": Path(sys.argv[0]).name,
        "processes": distributed.world_size(),
    } | settings_of(opt)
    trainer = Trainer(
        task,
        loader,
        schedule_of(opt),
        plan_of(opt, evaluate_first),
        make_folder(opt.log_dir, "--log_dir"),
        evaluation,
        settings,
        options_of(opt),
        opt.tensorboard_dir,
    )
    try:
        trainer.run()
    except Stopped as stop:
        print(f"stopped by {stop}: the state is saved, the same command continues")
        sys.exit(128 + stop.signum)


def distill(opt: argparse.Namespace) -> None:
    """distill.py and train_supernet.py: a student learns from a teacher."""
    device = device_of(opt)
    loader = training_loader(opt, device)
    teacher_spec, teacher = teacher_spec_and_net(opt)
    spec, student = student_spec_and_net(opt)
    subnets = subnets_of(opt, spec)
    adaptors = make_adaptors(spec, teacher_spec, opt.init_type, opt.init_gain)
    if opt.restore_A_path:
        for index, adaptor in enumerate(adaptors):
            load_network(adaptor, f"{opt.restore_A_path}-{index}.pth", "--restore_A_path")
    # Without pairs there is no input that belongs to a real image: the discriminator sees the images alone (SPEC 3).
    paired = opt.dataset_mode != "unaligned"
    task = DistillTask(
        student.to(device),
        teacher.to(device),
        discriminator_of(opt, opt.output_nc + (opt.input_nc if paired else 0)).to(device),
        [adaptor.to(device) for adaptor in adaptors],
        spec,
        weights_of(opt),
        opt.lr,
        opt.beta1,
        device,
        subnets,
        paired,
        amp=opt.amp,
        ema=opt.ema,
    )
    restore_optimizers(opt, task.optimizers)
    # A student that starts from trained weights is measured before its first step: the best checkpoint is then the better of
    # before and after.
    train(
        opt,
        task,
        loader,
        evaluation_of(opt, device, {"teacher": teacher}),
        bool(opt.restore_student_G_path),
    )


# ---------------------------------------------------------------------------------------------------------
# Whole searches


def measurer_of(
    opt: argparse.Namespace, folder: Path, results_path: Path
) -> tuple[Measurer, Callable[[], None]]:
    """(what measures subnets, its results read back from ``results_path``; a function that ends the search with its summary)."""
    device = device_of(opt)
    net, spec = load_supernet(opt.restore_G_path, "--restore_G_path", opt)
    net.to(device).eval()
    space = space_of(opt, spec, *network_size(opt))
    print(space.describe(opt.budget))
    settings = {"script": Path(sys.argv[0]).name} | settings_of(opt)
    limit_images(opt)
    loader = inference_loader(opt, device, opt.batch_size)
    with distributed.main_first():
        criteria = criteria_of(opt, device)
        # Only a run whose input is good takes the folder.
        flag = "--output_dir" if hasattr(opt, "output_dir") else "--output_path"
        claim_folder(folder, settings, flag)
        write_options(opt, folder)
        results = Results(
            results_path, getattr(opt, "max_cache_size", 10_000_000), distributed.is_main()
        )
    evaluator = Evaluator(loader, criteria, opt.amp == "bf16")

    def generate(config: ChannelConfig) -> Callable:
        return lambda x: net(x, config)

    measurer = Measurer(
        space,
        lambda config: evaluator(generate(config)),
        results,
        opt.criterion,
        LOWER_IS_BETTER[opt.criterion],
        evaluator.label,
    )

    def on_result(count: int) -> None:
        if count % opt.save_freq == 0 and distributed.is_main():
            summarise(opt, folder, measurer)

    def finish() -> None:
        ranked = summarise(opt, folder, measurer)
        write_search_page(
            folder,
            measurer,
            ranked,
            lambda config: montage_of(loader, {"output": generate(config)}, opt.display_winsize, 4),
        )
        best = ranked[0]
        print(
            f"best of {len(ranked)}: {best.config_str}  {measurer.label} {best.metrics[measurer.criterion]:.3f} (n={best.n})  "
            f"{best.macs / 1e9:.3f}G MACs  {best.params / 1e6:.3f}M parameters\npage: {folder / 'index.html'}, table: {folder / 'summary.txt'}"
        )

    measurer.on_result = on_result
    return measurer, finish if distributed.is_main() else lambda: None


def genetic_search_of(opt: argparse.Namespace, measurer: Measurer, folder: Path) -> GeneticSearch:
    """The search that the flags describe: by quality or for the whole front, with or without a predictor."""
    space = measurer.space
    settings = GeneticSettings(
        population_size=opt.population_size,
        parent_ratio=opt.parent_ratio,
        mutation_ratio=opt.mutation_ratio,
        mutate_prob=opt.mutate_prob,
        weighted_sample=opt.weighted_sample,
        weight_strategy=opt.weight_strategy,
        seed=opt.seed,
    )
    if opt.objective == "pareto":
        return GeneticSearch(
            space, opt.budget, settings, ByFront(measurer.score, lambda c: space.cost(c)[0])
        )
    rank = ByScore(measurer.score)
    if not opt.predictor:
        return GeneticSearch(space, opt.budget, settings, rank)
    facts: list[dict] = []

    def on_fit(fit: dict) -> None:
        facts.append(fit)
        if distributed.is_main():
            write_json(folder / "predictor.json", facts)
        Bar.write(
            f"predictor: rank correlation {fit.get('spearman_unseen')} on unseen, {fit['spearman_left_out']} left out"
        )

    return PredictedSearch(
        space, opt.budget, settings, rank, measurer.score, opt.predictor_share, on_fit
    )


def best_configs(measurer: Measurer, records: list[Evaluated], count: int) -> list[ChannelConfig]:
    ranked = sorted(records, key=lambda r: (measurer.score_of(r), r.config_str))
    return [ChannelConfig.parse(r.config_str) for r in ranked[:count]]


def summarise(opt: argparse.Namespace, folder: Path, measurer: Measurer) -> list[Evaluated]:
    """Rewrite summary.json, summary.txt and the plots from what is measured so far; returns it, best first."""
    ranked = measurer.ranked(opt.budget)
    key = measurer.criterion
    front = pareto_front(ranked, key, measurer.lower_is_better)
    facts = {
        "evaluated": len(ranked),
        "budget": opt.budget,
        "macs_convention": opt.macs_convention,
        "config_set": opt.config_set,
    }
    write_summary(folder, ranked, front, facts, key, measurer.label)
    points = [(r.macs, r.metrics[key], r.generation) for r in ranked]
    plot_search(folder / "search.png", points, points[0][:2], key, measurer.label, opt.budget)
    plot_search(
        folder / "front.png",
        points,
        points[0][:2],
        key,
        measurer.label,
        opt.budget,
        [(r.macs, r.metrics[key]) for r in front],
    )
    return ranked


def select_subnet(opt: argparse.Namespace) -> None:
    """``search.py --select``: the best subnet within a budget among earlier results."""
    records = {
        r.config_str: r for path in opt.results for r in read_evaluations(Path(path), "--select")
    }
    known = [r for r in records.values() if opt.criterion in r.metrics]
    inside = [r for r in known if r.macs <= opt.select]
    if not inside:
        raise InputError(
            f"--select {opt.select:.4g}: none of the {len(known)} evaluations with {opt.criterion} is that small"
            + (f"; the smallest has {min(r.macs for r in known):,} MACs" if known else "")
        )
    lower = LOWER_IS_BETTER[opt.criterion]
    best = min(
        inside,
        key=lambda r: (r.metrics[opt.criterion] * (1 if lower else -1), r.macs, r.config_str),
    )
    print(
        f"{best.config_str}  {opt.criterion} {best.metrics[opt.criterion]:.3f} (n={best.n})  {best.macs:,} MACs  {best.params:,} parameters  "
        f"(best of {len(inside)} within the budget)"
    )


# ---------------------------------------------------------------------------------------------------------
# Testing


def tested_model(
    opt: argparse.Namespace,
    device: torch.device,
    label: str,
    path: str,
    net: nn.Module,
    spec: GeneratorSpec,
) -> Loaded:
    """A loaded generator ready to be measured; of a supernet, the network of ``--config_str`` or the whole width."""
    config = spec.config
    if spec.is_supernet:
        config = ChannelConfig.parse(opt.config_str) if opt.config_str else config
        net = extract(net, config)
    height, width = network_size(opt)
    arch = Architecture(spec.netG != "resnet_9blocks", spec.input_nc, spec.output_nc, spec.norm)
    macs, params = config_cost(config, arch, opt.macs_convention, height, width)
    by_config = spec.ngf is None or config != spec.config
    name = f"{spec.netG} {config}" if by_config else f"{spec.netG} ngf {spec.ngf}"
    model = TestedModel(name, str(path), macs, params, opt.macs_convention, height, width)
    return Loaded(label, net.to(device).eval(), model)


def load_models(
    opt: argparse.Namespace, device: torch.device
) -> tuple[Loaded | None, list[Loaded]]:
    """(``--restore_teacher_G_path`` or None; ``--restore_G_path`` and each of ``--compare``), each under a name of its own.

    Flags on the architecture speak of ``--restore_G_path``, ``--norm`` of the teacher too; those of ``--compare`` say what they are.
    """
    given = (
        [("--restore_teacher_G_path", opt.restore_teacher_G_path)]
        if opt.restore_teacher_G_path
        else []
    )
    given += [
        ("--restore_G_path", opt.restore_G_path),
        *(("--compare", path) for path in opt.compare),
    ]
    seen: dict[str, str] = {}
    for flag, path in given:
        real = os.path.realpath(path)
        if real in seen:
            raise InputError(f"{flag} {path}: the same checkpoint as {seen[real]}; give each once")
        seen[real] = f"{flag} {path}"

    teacher = None
    if opt.restore_teacher_G_path:
        spec, net = teacher_spec_and_net(opt)
        teacher = tested_model(opt, device, "teacher", opt.restore_teacher_G_path, net, spec)
        given = given[1:]
    paths = [Path(os.path.realpath(path)) for _, path in given]
    labels = short_names(paths, (*TAKEN, "teacher") if teacher else TAKEN)
    models = []
    for label, (flag, path) in zip(labels, given, strict=True):
        wanted = wanted_architecture(opt) if flag == "--restore_G_path" else {}
        net, spec = load_generator(path, flag, wanted)
        check_channels(opt, flag, path, spec)
        models.append(tested_model(opt, device, label, path, net, spec))
    return teacher, models


def timed_runs(opt: argparse.Namespace, images: int, several: bool) -> int | None:
    """How often a test times each network: as ``--times`` says, else not at all or, of several models, so few times that it takes
    no longer than generating the images."""
    if "times" in opt.explicit:
        return opt.times
    return min(10, images) if several else None
