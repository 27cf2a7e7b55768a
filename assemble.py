"""Make one generator, from images of A to images of B, of the two that train.py --model munit
trains. ``--help`` lists the flags."""

from pathlib import Path

from models.assembled import assemble
from models.generators import count_parameters
from models.weights import save_network
from options import AssembleOptions, run, settings
from runtime.folders import make_parent


def main() -> None:
    opt = AssembleOptions.parse()
    both = {side: settings.generator_of_side(opt, side) for side in "AB"}
    path = Path(opt.output_path)
    make_parent(path, "`output_path`")
    source, target = ("B", "A") if opt.direction == "BtoA" else ("A", "B")
    parts = {side: checkpoint.load() for side, checkpoint in both.items()}
    net, spec = assemble(parts[source], parts[target], opt.decoder_from_A)
    save_network(net, path, spec)
    print(f"{path}: {spec.netG} {spec.config}, {count_parameters(net):,} parameters")


if __name__ == "__main__":
    run(main)
