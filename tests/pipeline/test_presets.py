"""Presets are TOML files of flags; what does not belong there is named."""

import pytest

from errors import InputError
from options import SCRIPTS
from pipeline.presets import FOLDER, NAMES, TABLES, Images, read_preset


@pytest.mark.parametrize("name", NAMES)
def test_the_presets_of_the_house(name):
    preset = read_preset(name)
    assert preset.about and preset.widths
    for table, flags in preset.tables.items():
        for flag in flags:
            assert any(flag in SCRIPTS[script].flags for script in TABLES[table]), (table, flag)
    # Every table that a stage may need is there to be read and changed.
    # The tuning of the quick one is too short for a new discriminator to learn anything.
    optional = {"export"} | ({"learning.real"} if name == "quick" else set())
    assert all(preset.tables[table] for table in TABLES if table not in optional)
    assert len((FOLDER / f"{name}.toml").read_text().splitlines()) < 120


def test_longer_presets_take_longer():
    quick, standard, best = map(read_preset, NAMES)
    for table in ("teacher", "supernet", "finetune"):
        epochs = [
            preset.of(table)["nepochs"] + preset.of(table)["nepochs_decay"]
            for preset in (quick, standard, best)
        ]
        assert epochs == sorted(set(epochs)), table


def test_a_copy_is_a_preset(tmp_path):
    copy = tmp_path / "my.toml"
    copy.write_text((FOLDER / "quick.toml").read_text().replace("times = 30", "times = 3"))
    preset = read_preset(str(copy))
    assert preset.source == str(copy) and preset.of("latency") == {"times": 3}
    assert {k for k, v in preset.decisive.items() if v != read_preset("quick").decisive[k]} == {
        "latency.times"
    }


def test_tables_and_types(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(
        'widths = "8,16"\n[images]\nsize = 40\n[training]\nlr = 1e-3\nno_flip = true\nndf = 8\n'
        '[supernet]\nndf = 16\n[latency]\nbackends = ["eager", "fused"]\n[test]\ntimes = 4\n'
    )
    preset = read_preset(str(path))
    assert preset.widths == "16,8"  # as the flag reads it
    assert preset.images == Images(size=40) and preset.images.loaded == 44
    assert preset.of("training", "supernet") == {"lr": 1e-3, "no_flip": True, "ndf": 16}
    assert preset.of("latency") == {"backends": ["eager", "fused"]}
    assert preset.images.at(80).loaded == 88 and preset.images.at(None) is preset.images
    assert Images(64, 72).at(256).loaded == 288


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("widths is missing",)),
        ('widths = "8"\nwidth = "9"', ("unknown key width", "did you mean widths", "images")),
        ('widths = "8"\n[trainings]\nlr = 1', ("unknown key trainings", "training", "search")),
        ('widths = "8"\n[images]\nsizes = 8', ("[images] unknown key sizes", "load_size")),
        (
            'widths = "8"\n[search]\npopulation = 8',
            ("[search] unknown key population", "did you mean population_size", "mutate_prob"),
        ),
        ('widths = "8"\n[search]\nbudget = 8', ("[search] budget", "compress.py itself")),
        ('widths = "8"\n[latency]\nbatch_size = 4', ("[latency] batch_size", "compress.py itself")),
        ('widths = "8"\n[teacher]\nrestore_G_path = "x"', ("restore_G_path", "itself")),
        ('widths = "8"\n[learning.imags]\nlr = 1', ("unknown key learning.imags", "images?")),
        ('widths = "8"\n[teacher]\nnetG = "unet"', ("[teacher] netG", "resnet_9blocks")),
        ('widths = "8"\n[teacher]\nngf = "wide"', ("[teacher] ngf", "not a whole number")),
        ('widths = "8"\n[teacher]\nngf = [8]', ("[teacher] ngf", "a number or a text")),
        ('widths = "8"\n[training]\nno_flip = 1', ("no_flip is true or false",)),
        ('widths = "8"\n[images]\nsize = 30', ("size 30 is no multiple of 4",)),
        ('widths = "8"\n[images]\nsize = 32\nload_size = 28', ("load_size 28 is smaller",)),
        ('widths = "8,x"', ("widths", "24,20,16")),
        ("widths = 8", ("widths is a text",)),
        ('widths = "8"\nsearch = 3', ("search is a table",)),
        ("widths = ", ("not TOML",)),
    ],
)
def test_what_does_not_belong_there(text, words, tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        read_preset(str(path))
    said = str(refused.value)
    assert said.startswith(f"`preset` {path}: ") and "\n" not in said
    assert all(word in said for word in words), said


def test_no_such_preset():
    with pytest.raises(InputError, match="`preset` fast: none of quick, standard, best"):
        read_preset("fast")
