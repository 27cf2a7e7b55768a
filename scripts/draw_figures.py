#!/usr/bin/env python3
"""Draw the figures of docs/how_it_works.md from the code itself: layout, widths, costs, the search.

Nothing is measured. The learning curves come from the figures of docs/quality.md.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle
from torch import nn

from models.config import ChannelConfig
from models.cost import config_cost
from models.generators import GeneratorSpec
from models.layout import DOWN1, GENE_NAMES, GROUPS, STEM, TRUNK, Layout
from options import run
from runtime.files import written_whole
from subnets.genetic import GeneticSearch, GeneticSettings
from subnets.objectives import ByScore
from subnets.space import SearchSpace

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "figures"
# Of edges→shoes, published.
CHOSEN = "24_24_40_56_24_56_16_40"
TEACHER = GeneratorSpec("resnet_9blocks", ngf=64)
SMALL = GeneratorSpec("sub_mobile_resnet_9blocks", config_str=CHOSEN)
SPACE, BUDGET, SIZE = "channels-64-pix2pix", 4.9e9, 256
# One colour for each gene; of Paul Tol's "muted", which the colour-blind can tell apart.
COLOURS = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#AA4499")
GREY = "#777777"


def new(width: float, height: float, rows: int = 1, columns: int = 1, **how) -> tuple[Figure, list]:
    """A figure in inches and its axes, row by row."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False, **how).ravel()
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def save(figure: Figure, path: Path) -> None:
    with written_whole(path, flush=False) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    text = path.read_text(encoding="utf-8")
    # git reports blanks at the ends of lines.
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")
    print(path)


# --------------------------------------------------------------------------------------------------
# Networks


def gene_of(index: int, layout: Layout) -> int | None:
    """The gene that decides the output of a layer; of a block, its inner width. None: the image."""
    if index in layout.blocks:
        return 3 + (index - layout.blocks.start) // (layout.count // GROUPS)
    return {STEM: 0, DOWN1: 1, TRUNK: 2, layout.up1: 6, layout.up2: 7}.get(index)


def costs_of_layers(spec: GeneratorSpec) -> dict[int, tuple[int, int, int]]:
    """Layer of ``model`` -> its MACs at 256x256: exact; more as published, for transposed
    convolutions and for norms. They are counted in a pass, and add up to `models.cost`."""
    size = 64
    counted: dict[int, np.ndarray] = {}
    layout = Layout(9)
    convs = (*layout.elastic, layout.last)

    def count(index):
        def hook(module, inputs, output):
            pixels = output.shape[2] * output.shape[3]
            macs = np.zeros(3, dtype=np.int64)
            if isinstance(module, nn.ConvTranspose2d):
                read = inputs[0].shape[2] * inputs[0].shape[3]
                macs[:2] = read * module.weight.numel(), (pixels - read) * module.weight.numel()
            elif isinstance(module, nn.Conv2d):
                macs[0] = pixels * module.weight.numel()
            else:
                macs[2] = output[0].numel()
            # A norm belongs to the convolution before it.
            owner = max(i for i in convs if i <= index)
            counted[owner] = counted.get(owner, 0) + macs * (SIZE // size) ** 2

        return hook

    net = spec.build().eval()
    for index, layer in enumerate(net.model):
        for module in layer.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.InstanceNorm2d)):
                module.register_forward_hook(count(index))
    with torch.inference_mode():
        net(torch.zeros(1, 3, size, size))
    total = sum(counted.values())
    for convention, sums in (("exact", total[0]), ("published", total.sum())):
        assert sums == config_cost(spec.config, spec.architecture, convention)[0]
    return {index: tuple(int(v) for v in counted[index]) for index in convs}


def names_of_layers(layout: Layout) -> dict[int, str]:
    names = dict(zip((STEM, DOWN1, TRUNK), GENE_NAMES, strict=False))
    names |= {index: str(n) for n, index in enumerate(layout.blocks)}
    return names | {layout.up1: "up1", layout.up2: "up2", layout.last: "image"}


def draw_widths(axes: Axes, spec: GeneratorSpec, layout: Layout) -> None:
    """Each layer as a bar as high as its channels; a block with its inner width inside."""
    w = spec.config.widths()
    widths = dict(
        zip(layout.elastic, (w.stem, w.down1, w.trunk, *w.inner, w.up1, w.up2), strict=True)
    )
    widths[layout.last] = spec.output_nc
    for x, (index, width) in enumerate(widths.items()):
        gene = gene_of(index, layout)
        colour = GREY if gene is None else COLOURS[gene]
        if index in layout.blocks:
            axes.bar(x, w.trunk, 0.8, -w.trunk / 2, color=COLOURS[2], alpha=0.3)
            axes.bar(x, width, 0.45, -width / 2, color=colour)
        else:
            axes.bar(x, width, 0.8, -width / 2, color=colour)
        top = max(width, w.trunk if index in layout.blocks else 0) / 2
        axes.text(x, top + 5, str(width), ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(widths)), names_of_layers(layout).values(), fontsize=8)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-140, 160)


def draw_network(path: Path) -> None:
    """Teacher and subnet on one scale, and where distillation compares them."""
    layout = Layout(9)
    figure, (above, below) = new(9, 5.4, 2, 1)
    for axes, spec, title in (
        (above, TEACHER, "teacher: resnet_9blocks, ngf 64"),
        (below, SMALL, f"a subnet of the student: {CHOSEN}"),
    ):
        macs, parameters = config_cost(spec.config, spec.architecture)
        draw_widths(axes, spec, layout)
        axes.set_title(
            f"{title}\n{parameters / 1e6:.2f}M parameters, {macs / 1e9:.1f}G MACs",
            fontsize=10,
            loc="left",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
        # The links between the two stand behind both.
        axes.patch.set_visible(False)
    order = [*layout.elastic, layout.last]
    for tap in layout.taps:
        # At the end of what stands before the next layer.
        x = max(i for i, index in enumerate(order) if index <= tap) + 0.5
        link = ConnectionPatch(
            (x, -60), (x, 30), "data", "data", axesA=above, axesB=below,
            arrowstyle="<->", color=GREY, linestyle=":",
        )  # fmt: skip
        link.set_zorder(-1)
        figure.add_artist(link)
    save(figure, path)


def draw_slicing(path: Path) -> None:
    """The same weights serve every subnet: each takes the first channels in and out."""
    full = ChannelConfig.parse("_".join(["64"] * 8))
    configs = {"64_64_64_64_64_64_64_64": GREY, CHOSEN: COLOURS[6]}
    configs["16_16_16_16_16_16_16_16"] = COLOURS[0]
    figure, axes = new(9, 3.6, 1, 3)
    pairs = (
        ("down1: stem → down1", lambda w: (w.stem, w.down1)),
        ("1x1 of a block: trunk → inner", lambda w: (w.trunk, w.inner[0])),
        ("up1: trunk → up1", lambda w: (w.trunk, w.up1)),
    )
    for each, (title, of) in zip(axes, pairs, strict=True):
        for config, colour in configs.items():
            channels_in, channels_out = of(ChannelConfig.parse(config).widths())
            each.add_patch(
                Rectangle((0, 0), channels_in, channels_out, facecolor=colour, alpha=0.35)
            )
            each.add_patch(
                Rectangle((0, 0), channels_in, channels_out, fill=False, edgecolor=colour, lw=2)
            )
        channels_in, channels_out = of(full.widths())
        each.set(xlim=(0, channels_in * 1.03), ylim=(channels_out * 1.03, 0), xlabel="channels in")
        each.set_title(title, fontsize=10)
    axes[0].set_ylabel("channels out")
    handles = [Rectangle((0, 0), 1, 1, color=c, alpha=0.5) for c in configs.values()]
    figure.legend(handles, configs, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    save(figure, path)


def draw_macs(path: Path) -> None:
    """Where the MACs are, exact and as published."""
    layout = Layout(9)
    figure, axes = new(9, 3.6, 1, 2)
    groups = {"stem": (STEM,), "down1": (DOWN1,), "trunk": (TRUNK,), "9 blocks": layout.blocks}
    groups |= {"up1": (layout.up1,), "up2": (layout.up2,), "image": (layout.last,)}
    parts = ("exact", "more as published: transposed convolutions", "norms")
    for each, (spec, title) in zip(axes, ((TEACHER, "teacher"), (SMALL, CHOSEN)), strict=True):
        costs = costs_of_layers(spec)
        values = np.array([[costs[i] for i in layers] for layers in groups.values()], dtype=object)
        values = np.array([np.sum(rows, axis=0) for rows in values], dtype=float) / 1e9
        start = np.zeros(len(groups))
        for column, (name, colour) in enumerate(zip(parts, COLOURS[2::2], strict=False)):
            each.bar(list(groups), values[:, column], bottom=start, color=colour, label=name)
            start += values[:, column]
        exact, published = values[:, 0].sum(), values.sum()
        each.set_title(f"{title}: {exact:.2f}G exact, {published:.2f}G published", fontsize=10)
        each.set_ylabel("GMACs at 256x256")
        each.tick_params("x", rotation=35)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    save(figure, path)


# --------------------------------------------------------------------------------------------------
# The search


def stand_in(space: SearchSpace, config: ChannelConfig) -> float:
    """Made up, in place of a FID: falls with every width, fastest where channels are few."""
    narrow = np.array([min(c) for c in space.choices]) / np.array(config.full)
    noise = np.random.Generator(np.random.Philox(key=list(config.full[:2]))).normal(0, 0.15)
    return float(20 + 8 * np.mean(narrow**1.5 * np.linspace(1.2, 0.8, narrow.size)) + noise)


def draw_search(path: Path) -> None:
    """The space and a budget; the real search on a stand-in for FID."""
    space = SearchSpace(SPACE)
    figure, (left, right) = new(9, 3.6, 1, 2)
    shares = np.histogram(space.macs / 1e9, bins=80)
    within = np.mean(space.macs <= BUDGET)
    for counts, edges in (shares,):
        middle = (edges[1:] + edges[:-1]) / 2
        colours = np.where(middle <= BUDGET / 1e9, COLOURS[2], "#cccccc")
        left.bar(middle, counts / 1e3, np.diff(edges), color=colours)
    left.axvline(BUDGET / 1e9, color=COLOURS[6])
    left.set(xlabel="GMACs as published", ylabel="thousand subnets")
    left.set_title(f"{space.size:,} subnets, {within:.0%} within {BUDGET / 1e9:g}G", fontsize=10)

    scores: dict[ChannelConfig, float] = {}
    search = GeneticSearch(
        space,
        BUDGET,
        GeneticSettings(population_size=40, mutate_prob=0.3),
        ByScore(scores.__getitem__),
    )
    generations = 12
    best = []
    for generation in range(generations):
        children = [candidate.config for candidate in search.propose()]
        scores.update({config: stand_in(space, config) for config in children})
        x = generation + np.linspace(-0.3, 0.3, len(children))
        right.scatter(x, [scores[c] for c in children], s=7, color=COLOURS[1])
        best.append(min(scores.values()))
    right.step(range(generations), best, where="mid", color=COLOURS[0], label="best so far")
    right.set(xlabel="generation", ylabel="stand-in for FID")
    right.set_title(f"the search, {len(scores)} subnets measured", fontsize=10)
    right.legend(frameon=False, fontsize=9)
    save(figure, path)


# --------------------------------------------------------------------------------------------------
# What was measured


def draw_learning(path: Path) -> None:
    """FID of small students over epochs, of the runs that docs/quality.md tells of."""
    losses = json.loads((FIGURES / "study_maps64_losses.json").read_text())["runs"]
    tuning = json.loads((FIGURES / "study_maps64_tuning.json").read_text())["runs"]
    trainings = json.loads((FIGURES / "study_maps64_trainings.json").read_text())["runs"]
    online = next(run for run in losses if run["run"].startswith("online"))
    layerwise = next(run for run in losses if run["run"].startswith("layerwise"))
    real = next(run for run in tuning if run["run"].startswith("the online student"))
    teachers = [run for run in trainings if run["role"] == "teacher"]
    figure, (axes,) = new(7, 3.8)
    ends = [run["evaluations"][-1]["fid"] for run in teachers]
    axes.axhspan(min(ends), max(ends), color=GREY, alpha=0.25, label="three teachers at their end")
    for run_, start, label, colour in (
        (layerwise, 0, "layer by layer (stopped)", COLOURS[5]),
        (online, 0, "online: the teacher's images", COLOURS[2]),
        (real, 100, "then real images", COLOURS[6]),
    ):
        points = [(start + e["epoch"], e["fid"]) for e in run_["evaluations"]]
        axes.plot(*zip(*points, strict=True), "o-", ms=3, color=colour, label=label)
    axes.set(xlabel="epochs", ylabel="FID (768 features, n=300)", ylim=(0.7, None))
    axes.legend(frameon=False, fontsize=9)
    axes.set_title("a student of 12.9 times fewer MACs; maps, 64 px, one seed", fontsize=10)
    save(figure, path)


DRAWN = {
    "how_network.svg": draw_network,
    "how_slicing.svg": draw_slicing,
    "how_macs.svg": draw_macs,
    "how_search.svg": draw_search,
    "how_learning.svg": draw_learning,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=FIGURES, metavar="DIR", help="where to")
    opt = parser.parse_args()
    opt.output.mkdir(parents=True, exist_ok=True)
    # Equal files from equal data.
    style = {"svg.hashsalt": "figures", "svg.fonttype": "path", "font.size": 9}
    with matplotlib.rc_context(style):
        for name, draw in DRAWN.items():
            draw(opt.output / name)


if __name__ == "__main__":
    run(main)
