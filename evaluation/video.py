"""A video through generators: every frame as a single image would go, and how fast that was."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from data.build import DataSettings
from data.images import channel_tiles, to_channels
from data.transforms import Crops, stacked, to_float, to_numpy, to_uint8
from data.video import Frame, VideoReader, VideoWriter, check_output
from evaluation.evaluator import stored_pixels
from evaluation.tested import Loaded
from models.layers import any_size
from runtime.files import written_whole
from runtime.machine import wait
from runtime.progress import Bar

if TYPE_CHECKING:
    import av


@dataclass(frozen=True)
class Translated:
    """What became of a video.

    Args:
        frames:  number of frames
        seconds: from opening the video to the complete output
        speeds:  label -> frames per second of that network alone: median over the batches
        columns: what is shown from left to right
        size:    (width, height) of the output in pixels, without a row or column that was added
        rate:    frames per second at which the video plays
        sound:   copied | dropped | none
    """

    frames: int
    seconds: float
    speeds: dict[str, float]
    columns: tuple[str, ...]
    size: tuple[int, int]
    rate: float
    sound: str


@dataclass
class _Batch:
    """Frames of one size, and the packets of sound that lie between them in the file."""

    images: list[Tensor] = field(default_factory=list)  # C H W uint8
    times: list[Fraction | None] = field(default_factory=list)
    packets: list[av.Packet] = field(default_factory=list)


def _batches(reader: VideoReader, settings: DataSettings) -> Iterator[_Batch]:
    """The frames of a video as those of single images come, see `data.datasets.SingleDataset`."""
    resize = replace(settings.resize, any_size=True)
    crops = Crops(resize.crop, random=False, flip=False)
    left = settings.max_dataset_size if settings.max_dataset_size > 0 else None
    batch = _Batch()
    for item in reader:
        if not isinstance(item, Frame):
            batch.packets.append(item)
            continue
        pixels = resize.pixels(to_channels(item.pixels, settings.input_nc, reader.path))
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        image = crops.apply(image, np.zeros(3))
        if batch.images and batch.images[0].shape != image.shape:
            yield batch
            batch = _Batch()
        batch.images.append(image)
        batch.times.append(item.time)
        if left is not None:
            left -= 1
        if len(batch.images) == settings.batch_size or left == 0:
            yield batch
            batch = _Batch()
        if left == 0:
            return
    yield batch


@torch.inference_mode()
def translate_video(
    output: Path,
    models: Sequence[Loaded],
    settings: DataSettings,
    device: torch.device,
    beside: bool = False,
) -> Translated:
    """Write the output of generators for every frame of a video.

    Args:
        output:   the file, written whole or not at all; its suffix decides how, see
                  `data.video.ENCODINGS`
        models:   several are shown side by side, after the input
        settings: ``dataroot`` is the video; sizes, channels, ``batch_size`` and the most frames
                  (``max_dataset_size``) as for images
        beside:   show the input beside a single output too

    Raises:
        InputError: the video cannot be read, or the output not written.
    """
    source = Path(settings.dataroot)
    check_output(output, source)
    labels = [loaded.label for loaded in models]
    with_input = beside or len(models) > 1
    spent: dict[str, list[float]] = {label: [] for label in labels}
    frames, width, height = 0, 0, 0
    begin = time.perf_counter()
    # A reader that is closed while its thread decodes would crash: the pool ends first.
    with (
        VideoReader(source, settings.num_threads) as reader,
        ThreadPoolExecutor(1) as pool,
        written_whole(output) as temporary,
        VideoWriter(temporary, reader.rate, reader.audio, output) as writer,
    ):
        limit = settings.max_dataset_size if settings.max_dataset_size > 0 else None
        expected = min((n for n in (reader.count, limit) if n), default=None)
        batches = _batches(reader, settings)
        # The next batch is decoded while the networks run.
        following = pool.submit(next, batches, None)
        with Bar(total=expected, desc="video", unit="frame") as bar:
            while (batch := following.result()) is not None:
                following = pool.submit(next, batches, None)
                for packet in batch.packets:
                    writer.copy(packet)
                if not batch.images:
                    continue
                x = to_float(stacked(batch.images)).to(device)
                shown = {"input": stored_pixels(x)} if with_input else {}
                for loaded in models:
                    wait(device)
                    start = time.perf_counter()
                    y = any_size(loaded.net, x)
                    wait(device)
                    spent[loaded.label].append((time.perf_counter() - start) / len(x))
                    shown[loaded.label] = to_uint8(y)
                for moment, *parts in zip(batch.times, *map(to_numpy, shown.values()), strict=True):
                    picture = np.concatenate([channel_tiles(part) for part in parts], axis=1)
                    writer.write(picture, moment)
                frames += len(x)
                height, width = picture.shape[:2]
                bar.update(len(x))
        sound = "none" if reader.audio is None else "copied" if writer.has_audio else "dropped"
    if expected and frames < expected:
        warnings.warn(
            f"{source} says that it has {reader.count} frames, {frames} could be read; "
            "it may be cut off",
            stacklevel=2,
        )
    return Translated(
        frames=frames,
        seconds=time.perf_counter() - begin,
        speeds={label: 1 / statistics.median(found) for label, found in spent.items()},
        columns=("input", *labels) if with_input else tuple(labels),
        size=(width, height),
        rate=float(reader.rate),
        sound=sound,
    )


def describe_video(output: Path, done: Translated) -> str:
    """What became of a video, as lines for people; the last one is about speed."""
    lines = []
    if len(done.columns) > 1:
        lines.append(f"from left to right: {', '.join(done.columns)}")
    if done.sound == "dropped":
        kind = output.suffix
        lines.append(f"the sound is dropped: a {kind} file cannot hold it as it is; .mkv can")
    width, height = done.size
    alone = ", ".join(f"{label} {fps:.1f} frames/s" for label, fps in done.speeds.items())
    lines.append(
        f"{output}: {done.frames} frames of {width}x{height} at {done.rate:.5g} frames/s; network "
        f"alone: {alone}; all with reading and writing: {done.frames / done.seconds:.1f} frames/s"
    )
    return "\n".join(lines)
