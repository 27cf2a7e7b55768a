"""``python -m data.check DATAROOT``: is a dataset ready to train? See `prepare.check`.

``--help`` lists the flags.
"""

if __name__ == "__main__":
    from options import run
    from options.check import main

    run(main)
