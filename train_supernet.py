"""Train the once-for-all student (--config_set), or fine-tune one subnet of it (--config_str). ``--help`` lists the flags."""

from options import SupernetOptions, run
from options import assemble as a


def main() -> None:
    a.distill(SupernetOptions.parse())


if __name__ == "__main__":
    run(main)
