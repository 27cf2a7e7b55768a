"""Train the once-for-all student (--config_set), or fine-tune one subnet of it (--config_str).

A supernet run is a distillation whose student runs a different configuration in each step; see
`distill.distill`. ``--help`` lists the flags.
"""

from distill import distill
from options import SupernetOptions, run

if __name__ == "__main__":
    run(lambda: distill(SupernetOptions.parse()))
