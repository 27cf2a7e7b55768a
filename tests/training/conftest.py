"""What the tests of training share."""

from collections.abc import Iterator

import pytest

from models import kinds


@pytest.fixture(scope="module")
def three_blocks() -> Iterator[None]:
    """Kinds such as ``resnet_3blocks``: the fewest that have all taps, in half the time of six."""
    with pytest.MonkeyPatch.context() as patch:
        for name, kind in kinds._resnets(3).items():
            patch.setitem(kinds.KINDS, name, kind)
        yield
