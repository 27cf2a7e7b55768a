"""Train the once-for-all student (--config_set), or fine-tune one subnet of it (--config_str). ``--help`` lists the flags."""

from options import SupernetOptions
from options import assemble as a
from runtime.entry import run


def main() -> None:
    a.distill(SupernetOptions.parse())


if __name__ == "__main__":
    run(main)
