"""``python -m data.check DATAROOT``: is a dataset ready to train? See `prepare.check`."""

if __name__ == "__main__":
    from options import run
    from scripts.check_dataset import main

    run(main)
