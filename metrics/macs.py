"""MACs and parameters of configurations.

``python -m metrics.macs CONFIG...`` prints them. Without a config, it prints the published table
with the values that this code computes.
"""

from __future__ import annotations

from models.cost import config_cost
from models.generators import GeneratorSpec
from models.kinds import KINDS
from models.layers import require_size

# Published results (paper table 1 and the released models), with the configuration if it is known.
PUBLISHED = (
    # dataset, method, network or config, parameters, MACs, quality
    ("edges2shoes", "Original", "resnet_9blocks", "11.4M", "56.8G", "FID 24.12"),
    (
        "edges2shoes",
        "GAN Compression (retrained)",
        "32_32_48_32_48_48_16_16",
        "0.822M",
        "4.99G",
        "FID 26.70",
    ),
    (
        "edges2shoes",
        "Fast GAN Compression",
        "24_24_40_56_24_56_16_40",
        "0.703M",
        "4.83G",
        "FID 25.76",
    ),
    ("cityscapes", "Original", "resnet_9blocks", "11.4M", "56.8G", "mIoU 42.06"),
    (
        "cityscapes",
        "GAN Compression (retrained)",
        "32_32_48_32_32_48_24_24",
        "0.781M",
        "5.59G",
        "mIoU 38.63",
    ),
    (
        "cityscapes",
        "Fast GAN Compression (another config)",
        "16_24_48_56_40_48_24_16",
        "0.867M",
        "5.61G",
        "mIoU 41.71",
    ),
    ("map2sat", "Original", "resnet_9blocks", "11.4M", "56.8G", "FID 47.91"),
    ("map2sat", "GAN Compression", "32_32_48_32_48_32_16_16", "0.746M", "4.68G", "FID 48.02"),
    (
        "map2sat",
        "Fast GAN Compression (another config)",
        "16_16_40_40_40_64_24_16",
        "0.708M",
        "4.53G",
        "FID 48.67",
    ),
)


def _describe(
    name: str,
    size: int,
    ngf: int = 64,
    norm: str = "instance",
    netG: str = "sub_mobile_resnet_9blocks",
) -> tuple[int, int, int, int]:
    """(parameters, published MACs, published MACs without norms, exact MACs).

    Args:
        name: a config string of ``netG``, or the name of a generator that has an ``ngf``
        size: height and width of the image in pixels
    """
    named = name in KINDS and not KINDS[name].by_config
    chosen = (name, ngf) if named else (netG, None, name)
    spec = GeneratorSpec(*chosen, norm=norm)
    require_size(size, size, spec.multiple, "`size`")
    costs = [
        config_cost(spec.config, spec.architecture, kind, size, size)
        for kind in ("published", "no_norm", "exact")
    ]
    return costs[0][1], *(macs for macs, _ in costs)


def _table(rows: list[tuple], headings: tuple[str, ...]) -> str:
    widths = [max(len(str(row[i])) for row in [headings, *rows]) for i in range(len(headings))]
    lines = [
        "  ".join(str(v).ljust(w) for v, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    head = "  ".join(v.ljust(w) for v, w in zip(headings, widths, strict=True)).rstrip()
    return "\n".join([head, "  ".join("-" * w for w in widths), *lines])


def print_costs(
    configs: list[str],
    size: int,
    ngf: int = 64,
    norm: str = "instance",
    netG: str = "sub_mobile_resnet_9blocks",
) -> None:
    """Print the costs of ``configs``; if there are none, the published table with computed values.

    Args:
        configs: config strings of ``netG``, or names of generators that have an ``ngf``
        size:    height and width of the image in pixels
        norm:    of the generators of ``configs``
    """
    if configs:
        rows = []
        for name in configs:
            params, published, bare, exact = _describe(name, size, ngf, norm, netG)
            rows.append((name, f"{params:,}", f"{published:,}", f"{bare:,}", f"{exact:,}"))
        print(
            _table(
                rows, ("config", "parameters", "MACs published", "published, no norm", "MACs exact")
            )
        )
        return
    rows = []
    for dataset, method, name, params_printed, macs_printed, quality in PUBLISHED:
        params, published, bare, exact = _describe(name, size)
        computed = (
            f"{params / 1e6:.3f}M",
            f"{published / 1e9:.3f}G",
            f"{bare / 1e9:.3f}G",
            f"{exact / 1e9:.3f}G",
        )
        rows.append(
            (
                dataset,
                method,
                name,
                quality,
                params_printed,
                computed[0],
                macs_printed,
                *computed[1:],
            )
        )
    headings = (
        *("dataset", "method", "network", "published", "params", "computed", "MACs"),
        *("computed", "no norm", "exact"),
    )
    print(_table(rows, headings))


if __name__ == "__main__":
    from options import MacsOptions, run

    def main() -> None:
        opt = MacsOptions.parse()
        print_costs(opt.configs, opt.size, opt.ngf, opt.norm, opt.netG)

    run(main)
