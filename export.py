"""Cut one subnet out of a supernet as a stand-alone network. ``--help`` lists the flags."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from data.build import calibration_batches, inference_loader
from deploy.checks import Exported, max_difference, rounded
from deploy.converters import require_fixed_size
from deploy.coreml import MANIFEST
from deploy.formats import FIXED, SUFFIXES, export_file, require_formats
from deploy.int8 import export_int8
from errors import InputError
from models.build import Checkpoint
from models.calibration import calibrate
from models.generators import GeneratorSpec, as_supernet, count_parameters
from models.weights import save_network
from options import ExportOptions, run, settings
from options.no_effect import unread_images
from runtime.files import check_folder
from runtime.folders import make_folder, make_parent


def load(
    checkpoint: Checkpoint,
    config_str: str | None,
    images: Callable[[GeneratorSpec], Iterable[Tensor]],
) -> tuple[nn.Module, GeneratorSpec, bool]:
    """Load a stand-alone network, or cut a subnet out of a supernet.

    The subnet is ``config_str``. Without it, the one that the supernet was fine-tuned at. Its batch
    norms are calibrated on ``images``, batches of its inputs, if it was trained among others.

    Returns:
        (the network, what it is, whether it was calibrated)

    Raises:
        InputError: the file cannot be read, or it holds a supernet and no subnet is known.
    """
    stored = checkpoint.open()
    supernet = as_supernet(stored.spec)
    if supernet is None:
        return *stored.generator(checkpoint.wanted, checkpoint.prefix), False
    config = supernet.parse(config_str) if config_str else supernet.tuned_config
    if config is None:
        reason = "does not say whether it is a supernet" if supernet.inferred else "is a supernet"
        raise InputError(
            f"{checkpoint.setting} {checkpoint.path} {reason}: give `config_str`, the subnet to "
            f"cut out ({supernet.config} is the whole network)"
        )
    net, spec = stored.supernet(checkpoint.wanted)
    subnet = spec.kind.extract(net, config)
    if not spec.needs_statistics(config):
        return subnet, spec.subnet(config), False
    return calibrate(subnet, images(spec)), spec.subnet(config), True


def format_of(output: Path) -> str:
    """The key of `SUFFIXES` that the suffix of a path stands for; without a suffix, weights.

    Raises:
        InputError: the suffix is of no format.
    """
    if not output.suffix:
        return "pth"
    for name, suffix in SUFFIXES.items():
        if output.suffix == suffix:
            return name
    raise InputError(
        f"`output_path` {output}: no format has the suffix {output.suffix}; end it in "
        f"{', '.join(SUFFIXES.values())}, or give `format`"
    )


def output_paths(
    output: Path, formats: Sequence[str], named: bool, int8: bool, input_path: Path
) -> dict[str, Path]:
    """Map each format, and ``int8``, to the file to write, and check that it can be written.

    Args:
        output:     ``--output_path``
        formats:    keys of `SUFFIXES`, one or several
        named:      whether the user typed ``--format``; each file then gets its format as suffix
        int8:       also write ``<output>.int8.onnx``
        input_path: the checkpoint, which must not be overwritten

    Raises:
        InputError: a file is ``input_path``, a link, a device or a folder (for coreml: one that is
            no such program), or its folder cannot be written.
    """
    if named and output.suffix in SUFFIXES.values():
        output = output.with_suffix("")
    paths = {f: output.with_name(output.name + SUFFIXES[f]) if named else output for f in formats}
    if int8:
        paths["int8"] = output.with_name(f"{output.name}.int8.onnx")
    for name, path in paths.items():
        if path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir()):
            raise InputError(
                f"`output_path` {path} is a link or a device, which would be replaced; give the "
                "name of a file"
            )
        if path.exists() and path.samefile(input_path):
            raise InputError(
                f"`output_path` {path} is the file of `input_path` and would replace it; "
                "give another name"
            )
        if name == "coreml":
            check_folder(path, MANIFEST, "`output_path`")
            make_folder(path.parent, "`output_path`")
        else:
            make_parent(path, "`output_path`")
    return paths


def export_weights(net: nn.Module, path: Path, fp16: bool, spec: GeneratorSpec) -> Exported:
    """Write a state dict, in the format of the suffix of ``path``.

    With ``fp16`` its tensors are float16. Every script here can load it.
    """
    net = net.eval()
    difference = max_difference(net, rounded(net)) if fp16 else 0.0
    save_network(rounded(net).half() if fp16 else net, path, spec)
    return Exported(path, path.stat().st_size, difference)


def main() -> None:
    opt = ExportOptions.parse()
    named = settings.was_typed(opt, "format")
    if not named:
        opt.format = [format_of(Path(opt.output_path))]
    require_formats(opt.format)
    checkpoint, data = settings.generator(opt, "input_path"), settings.data(opt)

    def images(spec: GeneratorSpec) -> Iterable[Tensor]:
        if not opt.dataroot:
            raise InputError(
                f"{checkpoint.setting} {checkpoint.path} has batch norms, whose statistics are "
                "taken from images for each subnet: give some as `dataroot`"
            )
        checkpoint.check_channels(spec, data.channels)
        checkpoint.check_images(spec, data.described)
        return calibration_batches(data, torch.device("cpu"))

    net, spec, calibrated = load(checkpoint, opt.config_str, images)
    for line in [] if calibrated else unread_images(opt):
        print(line)
    if opt.int8:
        checkpoint.check_channels(spec, data.channels)
    if set(opt.format) & set(FIXED):
        require_fixed_size(spec.multiple, opt.size)
    if spec.kind.styled and (opt.int8 or set(opt.format) & set(FIXED)):
        raise InputError(
            f"{checkpoint.setting} {checkpoint.path}: files of {spec.netG} take styles beside "
            "images, which `format` onnx and pt2 can express; leave out `int8`, coreml and tflite"
        )
    paths = output_paths(Path(opt.output_path), opt.format, named, opt.int8, Path(checkpoint.path))
    for name, path in paths.items():
        if name == "int8":
            images = (batch.A for batch in inference_loader(data, torch.device("cpu"), 1).epoch())
            float32 = None if opt.fp16 else paths["onnx"]
            print(
                f"{path}: {spec.config}, {export_int8(net, path, images, float32, opt.int8_error)}"
            )
            continue
        if name in ("pth", "safetensors"):
            exported = export_weights(net, path, opt.fp16, spec)
        else:
            exported = export_file(name, net, path, opt.fp16, opt.size)
        print(f"{path}: {spec.config}, {count_parameters(net):,} parameters, {exported}")


if __name__ == "__main__":
    run(main)
