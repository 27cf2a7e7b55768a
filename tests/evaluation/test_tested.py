"""Names of models side by side: one each, none of them taken, all good as names of folders."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.tested import TAKEN, short_names


@pytest.mark.parametrize(
    "paths, expected",
    [
        (["/logs/teacher/checkpoints/best_net_G.pth", "/out/small.pth"], ["teacher", "small"]),
        (
            ["/a/run/checkpoints/best_net_G.pth", "/b/run/checkpoints/best_net_G.pth"],
            ["a-run", "b-run"],
        ),
        (
            ["/run/checkpoints/best_net_G.pth", "/run/checkpoints/5_net_G.pth"],
            ["best_net_G", "5_net_G"],
        ),
        (["/latest_net_G.pth"], ["latest_net_G"]),
        (["/out/real.pth", "/out/x.pth"], ["out-real", "out-x"]),
        (["/out/A.pth", "/tmp/a.pth"], ["out-A", "tmp-a"]),  # one folder where case does not count
        (["/a.pth", "/a.pt"], ["1-a", "2-a"]),
    ],
)
def test_names(paths, expected):
    assert short_names([Path(p) for p in paths]) == expected


PART = st.text("ab-G_.", min_size=1, max_size=3).filter(lambda part: part.strip("."))
FILE = st.sampled_from(
    ["best_net_G.pth", "latest_net_G.pth", "net.pth", "net.pt", "teacher.pth", "Input.pth"]
)
PATH = st.builds(lambda folders, file: Path("/", *folders, file), st.lists(PART, max_size=3), FILE)


@given(st.lists(PATH, min_size=1, max_size=5, unique=True))
def test_names_are_never_mistaken(paths):
    labels = [label.casefold() for label in short_names(paths, (*TAKEN, "teacher"))]
    assert len(set(labels)) == len(paths)
    assert not set(labels) & {"teacher", *map(str.casefold, TAKEN)}
    assert not any("/" in label or label in ("", ".", "..") for label in labels)
