"""Build datasets and loaders from settings, for scripts, benchmarks and notebooks alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from data.datasets import (
    AlignedDataset,
    SingleDataset,
    Source,
    require_direction,
    unpaired_datasets,
)
from data.labelled import LAYOUTS, LabelledDataset
from data.labels import Semantics
from data.loader import Loader, UnpairedLoader
from data.transforms import Crops, Resize
from errors import InputError
from runtime import distributed

# Inputs that statistics of batch norms are taken from: a few batches of this size.
CALIBRATION_IMAGES, CALIBRATION_BATCH = 64, 16


@dataclass(frozen=True)
class DataSettings:
    """Which images, how they are brought to size, and how they become batches.

    Args:
        dataroot:         folder of the dataset, see `data.datasets`; of mode video the file
        dataset_mode:     aligned: pairs | unaligned: two folders of unrelated images | single |
                          video: frames, see `data.video` | cityscapes, coco: label maps and photos,
                          see `data.labelled`
        direction:        AtoB | BtoA: which side is the input
        phase:            folder of the dataset: train, val, test ...
        meta_path:        file with the names to use; None = all
        max_dataset_size: only the first of them; -1 = all
        preprocess, load_size, crop_size, aspect_ratio: see `data.transforms.Resize`
        input_nc, output_nc: channels of the inputs and of the targets; of label maps, the labels
        dont_care, instance: of label maps, see `data.labels.Semantics`
        portraits, check_pairs: of label maps, see `data.labelled.LabelledDataset`
        calibration_meta_path: see `for_calibration`
        flip, shuffle:    of training batches
        batch_size:       images per step and process
        seed:             of order, crops and flips
        num_threads:      decoding threads
        load_in_memory:   decode everything at the start, within ``cache_gb``
        cache_gb:         decoded images kept in memory, at most [GB]

    Raises:
        InputError: there is no such direction.
    """

    dataroot: str
    dataset_mode: str = "aligned"
    direction: str = "AtoB"
    phase: str = "train"
    meta_path: str | None = None
    max_dataset_size: int = -1
    preprocess: str = "resize_and_crop"
    load_size: int = 286
    crop_size: int = 256
    aspect_ratio: float = 1.0
    input_nc: int = 3
    output_nc: int = 3
    flip: bool = True
    shuffle: bool = True
    batch_size: int = 1
    seed: int = 0
    num_threads: int = 4
    load_in_memory: bool = False
    cache_gb: float = 4.0
    dont_care: bool = False
    instance: bool = True
    portraits: bool = True
    check_pairs: bool = True
    calibration_meta_path: str | None = None

    def __post_init__(self):
        require_direction(self.direction)

    @property
    def labelled(self) -> bool:
        """Whether inputs are label maps."""
        return self.dataset_mode in LAYOUTS

    @property
    def semantics(self) -> Semantics:
        """What the channels of a label map are."""
        return Semantics(self.input_nc, self.dont_care, self.instance)

    def has_phase(self, phase: str) -> bool:
        """Whether there is a folder for it."""
        if self.labelled:
            folders = [LAYOUTS[self.dataset_mode].folder(phase)]
        else:
            folders = [phase, f"{phase}A"] if self.paired else [f"{phase}A"]
        return any((Path(self.dataroot) / folder).is_dir() for folder in folders)

    @property
    def paired(self) -> bool:
        return self.dataset_mode != "unaligned"

    @property
    def resize(self) -> Resize:
        return Resize(self.preprocess, self.load_size, self.crop_size, self.aspect_ratio)

    @property
    def network_size(self) -> tuple[int, int]:
        """(height, width) that the network sees, in pixels. Where nothing is cut out, it is 256x256
        or, of label maps, which networks expect at one size, that of the flags."""
        if self.labelled:
            return round(self.crop_size / self.aspect_ratio), self.crop_size
        return self.resize.crop or (256, 256)

    @property
    def described(self) -> dict:
        """What a checkpoint records about the images it learned from, as JSON values.

        ``direction`` is missing for single images, frames and label maps. ``size``, [height, width]
        in pixels, is missing if images keep their own sizes.
        """
        alone = self.dataset_mode in ("single", "video") or self.labelled
        found: dict = {} if alone else {"direction": self.direction}
        crop = self.network_size if self.labelled else self.resize.crop
        return found | ({"size": list(crop)} if crop else {})

    @property
    def channels(self) -> tuple[int, int]:
        """(channels of the inputs, channels of the targets)."""
        inputs = self.semantics.channels if self.labelled else self.input_nc
        return inputs, self.output_nc

    def reversed(self) -> DataSettings:
        """The other direction: inputs and targets change places."""
        other = "AtoB" if self.direction == "BtoA" else "BtoA"
        channels = {"input_nc": self.output_nc, "output_nc": self.input_nc}
        return replace(self, direction=other, **channels)

    def at_most(self, count: float) -> DataSettings:
        """The same settings, limited to ``count`` images (``inf`` = no limit)."""
        if count == float("inf"):
            return self
        limit = self.max_dataset_size
        return replace(self, max_dataset_size=min(int(count), limit) if limit > 0 else int(count))

    @property
    def _uncropped(self) -> int:
        """The ``load_size`` of whole images."""
        return self.resize.uncropped().load_size

    def for_validation(self) -> DataSettings:
        """Phase ``val``, uncropped: what a training run is judged on.

        A run on few images is judged on equally few, but on at least two, which FID needs.
        """
        limit = max(2, self.max_dataset_size) if self.max_dataset_size > 0 else -1
        return replace(
            self, phase="val", load_size=self._uncropped, meta_path=None, max_dataset_size=limit
        )

    def for_calibration(self) -> DataSettings:
        """Inputs to take statistics from: `CALIBRATION_IMAGES` of phase ``train``, uncropped, the
        same for all scripts, however few images they use otherwise.

        Where there is no such phase, and of single images, whose other folders may be anything,
        those of this one. With ``calibration_meta_path``, all images of phase ``train`` that this
        list names.
        """
        if self.calibration_meta_path is not None:
            return replace(
                self,
                phase="train",
                load_size=self._uncropped,
                meta_path=self.calibration_meta_path,
                max_dataset_size=-1,
            )
        there = self.dataset_mode != "single" and self.has_phase("train")
        phase = "train" if there else self.phase
        meta_path = self.meta_path if phase == self.phase else None
        return replace(
            self,
            phase=phase,
            load_size=self._uncropped,
            meta_path=meta_path,
            max_dataset_size=CALIBRATION_IMAGES,
        )

    def real_images(self) -> DataSettings:
        """The real images that outputs are compared with as a whole, at the size to measure them.

        For outputs of 256x256 the files are used at their own size, as published statistics were
        taken (SPEC 5); but not photos beside label maps. For other sizes they are resized like the
        outputs, or FID would measure the difference in size. Unpaired outputs are compared with all
        real images, whatever ``max_dataset_size`` is.
        """
        limit = self.max_dataset_size if self.paired else -1
        published = self.resize.crop == (256, 256) and not self.labelled
        preprocess = "none" if published else self.preprocess
        return replace(self, preprocess=preprocess, max_dataset_size=limit)


def datasets(settings: DataSettings) -> tuple:
    """(inputs, real images to compare outputs with): the same dataset unless data are unaligned."""
    s = settings
    source = Source(s.dataroot, s.phase, s.meta_path, s.max_dataset_size)
    if s.dataset_mode == "unaligned":
        return unpaired_datasets(source, s.direction, s.resize, s.channels)
    if s.labelled:
        how = s.output_nc, s.portraits, s.check_pairs
        dataset = LabelledDataset(s.dataset_mode, source, s.resize, s.semantics, *how)
    elif s.dataset_mode == "single":
        dataset = SingleDataset(source, s.resize, s.input_nc)
    else:
        dataset = AlignedDataset(source, s.direction, s.resize, s.channels)
    return dataset, dataset


def training_loader(settings: DataSettings, device: torch.device) -> Loader | UnpairedLoader:
    """Batches to train on: random crops and flips; each process of the run takes its share.

    Raises:
        InputError: single images, which have no targets.
    """
    if settings.dataset_mode == "single":
        raise InputError(
            "`dataset_mode` single has no targets to train on; use aligned or unaligned"
        )
    inputs, targets = datasets(settings)
    how = dict(
        batch_size=settings.batch_size,
        device=device,
        crops=Crops(inputs.resize.crop, random=True, flip=settings.flip),
        shuffle=settings.shuffle,
        seed=settings.seed,
        threads=settings.num_threads,
        max_bytes=settings.cache_gb * 1e9,
        rank=distributed.rank(),
        world=distributed.world_size(),
    )
    unpaired = settings.dataset_mode == "unaligned"
    loader = UnpairedLoader(inputs, targets, **how) if unpaired else Loader(inputs, **how)
    if settings.load_in_memory:
        loader.load_all()
    return loader


def inference_loader(
    settings: DataSettings,
    device: torch.device,
    batch_size: int | None = None,
    shared: bool = False,
) -> Loader:
    """Inputs in the order of their names, nothing random.

    Args:
        batch_size: instead of the one of the settings
        shared:     give each process of the run its share of the images
    """
    dataset, _ = datasets(settings)
    share = {}
    if shared:
        share = {"rank": distributed.rank(), "world": distributed.world_size(), "fill": False}
    loader = Loader(
        dataset,
        batch_size or settings.batch_size,
        device,
        Crops(dataset.resize.crop, random=False, flip=False),
        threads=settings.num_threads,
        max_bytes=settings.cache_gb * 1e9,
        **share,
    )
    if settings.load_in_memory:
        loader.load_all()
    return loader


class _Inputs:
    """The inputs of a loader, made anew from what it keeps each time they are asked for: one-hot
    label maps are fifty times as large as what they are made of."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def __iter__(self) -> Iterator[Tensor]:
        return (batch.A for batch in self.loader.epoch())


def calibration_batches(settings: DataSettings, device: torch.device) -> Iterable[Tensor]:
    """Inputs to take statistics from, see `DataSettings.for_calibration`: N C H W float32 in
    [-1, 1] on ``device``, the same at every call and every time they are gone through. Images that
    keep their sizes come one by one."""
    settings = settings.for_calibration()
    together = CALIBRATION_BATCH if settings.resize.crop or settings.labelled else 1
    inputs = _Inputs(inference_loader(settings, device, together))
    return inputs if settings.labelled else list(inputs)
