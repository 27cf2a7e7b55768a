"""Cut one subnet out of a supernet as a stand-alone network, as weights or for other runtimes. ``--help`` lists the flags."""

from dataclasses import replace

import torch
from torch import nn

from data.build import inference_loader
from deploy.checks import Exported, max_difference, rounded
from deploy.int8 import export_int8
from deploy.onnx import export_onnx, require_onnx
from deploy.pt2 import export_pt2
from errors import InputError
from models.build import Checkpoint, load_supernet, may_be_supernet, stored_spec
from models.config import ChannelConfig
from models.generators import GeneratorSpec, count_parameters
from models.supernet import extract
from models.weights import save_network
from options import ExportOptions, run, settings
from runtime.folders import make_parent

SUFFIXES = (".pth", ".onnx", ".pt2")


def load(checkpoint: Checkpoint, config_str: str) -> tuple[nn.Module, GeneratorSpec]:
    """A subnet cut out of a supernet, or a stand-alone network of that config as it is."""
    if not may_be_supernet(stored_spec(checkpoint)):
        return checkpoint.load()
    config = ChannelConfig.parse(config_str)
    supernet, spec = load_supernet(checkpoint)
    spec = replace(spec, netG="sub_mobile_resnet_9blocks", ngf=None, config_str=str(config))
    return extract(supernet, config), spec


def export_pth(net, path, fp16, spec) -> Exported:
    """Write a state dict; with ``fp16`` of float16 tensors, which every script here loads as it loads others."""
    net = net.eval()
    difference = max_difference(net, rounded(net)) if fp16 else 0.0
    save_network(rounded(net).half() if fp16 else net, path, spec)
    return Exported(path, path.stat().st_size, difference)


def main() -> None:
    opt = ExportOptions.parse()
    if "onnx" in opt.format:
        require_onnx()
    if opt.int8 and not ("onnx" in opt.format and opt.dataroot):
        raise InputError("`int8` needs `format` onnx and images to calibrate on: `dataroot` DIR")
    checkpoint, data = settings.generator(opt, "input_path"), settings.data(opt)
    net, spec = load(checkpoint, opt.config_str)
    if opt.int8:
        checkpoint.check_channels(spec, data.channels)
    output = make_parent(opt.output_path, "`output_path`")
    if "format" in opt.explicit and output.suffix in SUFFIXES:
        output = output.with_suffix("")
    for name in opt.format:
        path = output.with_name(f"{output.name}.{name}") if "format" in opt.explicit else output
        make_parent(path, "`output_path`")
        if name == "pth":
            exported = export_pth(net, path, opt.fp16, spec)
        else:
            exported = {"onnx": export_onnx, "pt2": export_pt2}[name](net, path, opt.fp16)
        print(f"{path}: {spec.config}, {count_parameters(net):,} parameters, {exported}")
    if opt.int8:
        loader = inference_loader(data, torch.device("cpu"), 1)
        images = (batch.A for batch in loader.epoch())
        path = output.with_name(f"{output.name}.int8.onnx")
        print(f"{path}: {spec.config}, {export_int8(net, path, images)}")


if __name__ == "__main__":
    run(main)
