"""``python -m data.check DATAROOT``: what a dataset holds and whether it is ready to train, see `prepare.check`."""

if __name__ == "__main__":
    from prepare.check import main
    from runtime.entry import run

    run(main)
