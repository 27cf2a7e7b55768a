"""Cut one subnet out of a supernet as a stand-alone network. ``--help`` lists the flags."""

from models.config import ChannelConfig
from models.generators import GeneratorSpec, count_parameters
from models.supernet import extract
from options import ExportOptions, run
from options import assemble as a
from training.checkpoints import save_network
from training.logs import make_parent


def main() -> None:
    opt = ExportOptions.parse()
    config = ChannelConfig.parse(opt.config_str)
    supernet, spec = a.load_supernet(opt.input_path, "--input_path", opt)
    output = make_parent(opt.output_path, "--output_path")
    subnet = extract(supernet, config)
    sub_spec = GeneratorSpec(
        "sub_mobile_resnet_9blocks",
        None,
        str(config),
        spec.input_nc,
        spec.output_nc,
        spec.norm,
        spec.dropout_rate,
    )
    save_network(subnet, output, sub_spec)
    print(f"{output}: {config}, {count_parameters(subnet):,} parameters")


if __name__ == "__main__":
    run(main)
