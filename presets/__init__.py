"""The presets of compress.py, which `pip install .` packs with the code."""
