"""What an evaluation was measured with. Values are compared only where this is the same."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

# Settings that decide the value of any criterion, and the MACs.
_ALWAYS = (
    "restore_G_path",
    "norm",
    "images",
    "dataset_mode",
    "direction",
    "preprocess",
    "load_size",
    "crop_size",
    "aspect_ratio",
    "amp",
    "macs_convention",
    "num_upsampling_layers",
    "calibration",
)
# Settings that decide the value of one criterion.
_FID = ("fid_features", "fid_dims", "fid_weights", "real_stat_path")
_MIOU = ("drn_path", "table_path", "deeplabv2_path")
_OF_CRITERION = {"fid": _FID, "kid": _FID, "mIoU": _MIOU, "accu": _MIOU}


def conditions(settings: Mapping[str, object], images: str) -> dict[str, object]:
    """The settings of a search that decide its values, as each evaluation records them.

    Args:
        settings: setting -> plain value; of a file, its name and digest: ``net_G.pth [1a2b3c]``;
                  ``calibration``: the digest of the images that batch norms were calibrated on
        images:   what `images_digest` says of the images measured on
    """
    names = (*_ALWAYS, *_FID, *_MIOU)
    found = {name: settings[name] for name in names if settings.get(name) is not None}
    return found | {"images": images}


def images_digest(*datasets) -> str:
    """Eight hex digits that change with the names or sizes of the files, wherever they are stored.

    Args:
        datasets: each with ``folder`` and ``files``, as those of `data.datasets`
    """
    digest = hashlib.sha256()
    for dataset in datasets:
        for path in [*dataset.files, *(getattr(dataset, "files_b", None) or ())]:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:8]


def differences(
    found: Mapping[str, object], wanted: Mapping[str, object], criterion: str
) -> list[str]:
    """What makes two values of ``criterion`` incomparable, each as ```setting` value, not value``.

    Only ``n`` is compared where one of them says nothing else, as files of earlier versions do.
    """
    known = all(set(each) - {"n"} for each in (found, wanted))
    names = ("n", *_ALWAYS, *_OF_CRITERION.get(criterion, ())) if known else ("n",)
    return [
        f"`{name}` {found.get(name)}, not {wanted.get(name)}"
        for name in names
        if not _same(found.get(name), wanted.get(name))
    ]


def _same(a: object, b: object) -> bool:
    """Equal; of two files, equal in content, whatever they are called."""
    digests = [v.rpartition(" [")[2] for v in (a, b) if isinstance(v, str) and v.endswith("]")]
    return a == b or (len(digests) == 2 and digests[0] == digests[1])


def finite(value: object) -> float | None:
    """A metric as it can be ranked: None unless it is a finite number."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None
