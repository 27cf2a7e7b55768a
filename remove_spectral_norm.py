"""Take spectral norm out of a trained generator: its weights become those that it computes with.

``--help`` lists the flags.
"""

from dataclasses import replace
from pathlib import Path

from errors import InputError
from models.spectral import without_spectral
from models.weights import save_network
from options import SpectralOptions, run, settings
from runtime.folders import make_parent


def main() -> None:
    opt = SpectralOptions.parse()
    checkpoint = settings.generator(opt)
    net, spec = checkpoint.load()
    if not getattr(spec.form, "spectral", False):
        raise InputError(
            f"{checkpoint.setting} {checkpoint.path} ({spec.netG}) has no spectral norm: there is "
            "nothing to take out"
        )
    path = Path(opt.output_path)
    make_parent(path, "`output_path`")
    plain = replace(spec, form=replace(spec.form, spectral=False))
    without = plain.build()
    without.load_state_dict(without_spectral(net.state_dict()))
    save_network(without, path, plain)
    print(f"{path}: {plain.netG} of ngf {plain.ngf}, without spectral norm")


if __name__ == "__main__":
    run(main)
