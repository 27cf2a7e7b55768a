"""Command lines: every flag of the existing implementation is taken with its default and meaning,
and the help helps."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import options
from options import no_effect, settings, test_settings

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "cli_flags.json").read_text())
CLASSES = {script: cls.__name__ for script, cls in options.SCRIPTS.items()}
# Where ours differs on purpose.
# The statistics are made, and checkpoints say what they are, when they are not given.
OPTIONAL_NOW = {"--real_stat_path", "--config_str"}

CYCLE, MUNIT = ["--model", "cycle_gan"], ["--model", "munit"]

# The least that each script must be given.
LEAST = {
    "train.py": ["--dataroot", "d"],
    "distill.py": ["--dataroot", "d", "--restore_teacher_G_path", "t"],
    "train_supernet.py": [
        "--dataroot",
        "d",
        "--restore_teacher_G_path",
        "t",
        "--config_set",
        "channels-32",
    ],
    "evolution_search.py": [
        *(
            "--dataroot",
            "d",
            "--restore_G_path",
            "g",
            "--output_dir",
            "o",
            "--config_set",
            "channels-32",
        )
    ],
    "search.py": [
        *(
            "--dataroot",
            "d",
            "--restore_G_path",
            "g",
            "--output_path",
            "o",
            "--config_set",
            "channels-32",
        )
    ],
    "export.py": ["--input_path", "i", "--output_path", "o", "--config_str", "8_8_8_8_8_8_8_8"],
    "test.py": ["--dataroot", "d", "--restore_G_path", "g", "--results_dir", "r"],
    "latency.py": ["--dataroot", "d", "--restore_G_path", "g", "--results_dir", "r"],
    "get_real_stat.py": ["--dataroot", "d", "--output_path", "o"],
    "remove_spectral_norm.py": ["--restore_G_path", "g", "--output_path", "o"],
    "assemble.py": ["--restore_G_A_path", "a", "--restore_G_B_path", "b", "--output_path", "o"],
}

# A value that every parser of a type takes, other than the default.
SAMPLES = {
    "int": ("7", 7),
    "float": ("0.25", 0.25),
    "str": ("a/b c", "a/b c"),
}


def golden_flags(script: str) -> dict[str, dict]:
    flags = GOLDEN[script]
    return GOLDEN[flags["same as"]] if "same as" in flags else flags


def class_of(script: str) -> type:
    return getattr(options, CLASSES[script])


def actions_of(script: str) -> dict:
    return class_of(script).parser()._option_string_actions


# --------------------------------------------------------------------------------------------------
# Flags of the existing implementation


def test_all_scripts_are_covered():
    assert set(CLASSES) == set(GOLDEN)


@pytest.mark.parametrize("script", CLASSES)
def test_every_flag_is_accepted_with_its_default(script):
    actions = actions_of(script)
    flags = golden_flags(script)
    assert len(flags) >= 7
    assert not set(flags) - set(actions), "missing flags"
    for name, flag in flags.items():
        action = actions[name]
        if flag.get("flag"):
            assert (action.nargs, action.default) == (0, False), name
            continue
        default = float("inf") if flag.get("default") == "inf" else flag.get("default")
        assert action.default == default, name
        assert action.required == (flag.get("required", False) and name not in OPTIONAL_NOW), name
        if "choices" in flag:
            assert set(flag["choices"]) <= set(action.choices), name


@pytest.mark.parametrize("script", CLASSES)
def test_every_flag_takes_values_of_its_type(script):
    """One command line with every flag at a value of its own; what comes out has the type that
    scripts expect."""
    actions, argv, expected = actions_of(script), [], {}
    for name, flag in golden_flags(script).items():
        key, action = name[2:], actions[name]
        if flag.get("flag"):
            argv.append(name)
            expected[key] = True
        elif action.choices:
            value = next(c for c in reversed(list(action.choices)))
            argv += [name, str(value)]
            expected[key] = value
        else:
            special = {
                "gpu_ids": ("0,1", "0,1"),
                "config_str": ("8_8_8_8_8_8_8_8",) * 2,
                "config_set": ("8,24,16", "24,16,8"),
            }
            text, value = special.get(key) or SAMPLES[flag["type"]]
            argv += [name, text]
            expected[key] = value
    # Values that would contradict each other.
    settled = (("no_fid", None), ("no_mIoU", None), ("split", 3), ("num_splits", 9))
    if script == "train.py":
        settled += (("model", "pix2pix"),)
    if script in no_effect.TRAINING:
        settled += tuple((flag, "resnet_9blocks") for flag in ("netG", "teacher_netG"))
        # One that has a configuration.
        settled += (("student_netG", "sub_mobile_resnet_9blocks"),)
    for key, value in (*settled, ("crop_size", 4), ("niters", 9)):
        if key in expected and value is None:
            argv.remove(f"--{key}")
            expected[key] = False
        elif key in expected:
            argv[argv.index(f"--{key}") + 1] = str(value)
            expected[key] = value
    opt = vars(class_of(script).parse(argv))
    got = {key: opt[key] for key in expected}
    assert got == expected
    assert {k: type(v) for k, v in got.items()} == {k: type(v) for k, v in expected.items()}


@pytest.mark.parametrize("script", CLASSES)
def test_defaults_have_the_type_of_their_flag(script):
    opt = vars(class_of(script).parse(LEAST[script]))
    kinds = {"int": int, "float": (int, float), "str": str}
    for name, flag in golden_flags(script).items():
        value = opt[name[2:]]
        if flag.get("flag"):
            assert value is False, name
        elif value is not None and value != float("inf"):
            assert isinstance(value, kinds[flag["type"]]), name


def test_num_test_is_a_count_or_inf():
    least = LEAST["test.py"]
    assert options.TestOptions.parse([*least, "--num_test", "12"]).num_test == 12
    assert options.TestOptions.parse([*least, "--num_test", "inf"]).num_test == float("inf")


def test_whole_numbers_may_be_written_with_an_exponent():
    assert options.TrainOptions.parse([*LEAST["train.py"], "--niters", "1e6"]).niters == 1_000_000


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("nepochs", "1e999", "out of range"),
        ("seed", "1e30", "from 0 to"),
        ("beta1", "1", "from 0 to"),
        ("lr", "inf", "finite"),
        ("lr", "1e999", "finite"),
        ("aspect_ratio", "inf", "from 0.01"),
        ("ngf", "1e9", "from 1 to"),
        ("num_threads", "1000000000", "from 0 to"),
        ("threads", "1000000000", "from 1 to"),
        ("batch_size", "2.9e0", "whole number"),
        ("batch_size", "two", "whole number"),
        ("max_dataset_size", "0", "-1 to use all"),
        ("max_dataset_size", "-2", "1 or more"),
        ("crop_size", "16", "--n_layers_D 3 needs 24 pixels"),
        ("epoch_base", "1000", "nothing to train"),
        ("iter_base", "1e9", "nothing to train"),
        ("log_dir", "", "empty"),
        ("phase", "", "empty"),
        ("meta_path", " ", "empty"),
        ("restore_G_path", "", "empty"),
    ],
)
def test_values_beyond_what_a_flag_can_mean(flag, value, words, capsys):
    with pytest.raises(SystemExit) as stop:
        options.TrainOptions.parse([*LEAST["train.py"], f"--{flag}", value])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.count("\n") == 1
    assert f"--{flag}" in said and words in said


def test_a_weight_without_bounds_is_refused(capsys):
    with pytest.raises(SystemExit):
        options.EvolutionOptions.parse([*LEAST["evolution_search.py"], "--weighted_sample", "inf"])
    assert "--weighted_sample" in capsys.readouterr().err


def test_infinity_where_it_means_all():
    opt = options.EvolutionOptions.parse(
        [*LEAST["evolution_search.py"], "--budget", "inf", "--cache_gb", "inf"]
    )
    assert opt.budget == opt.cache_gb == float("inf")


def test_small_images_are_taken_by_smaller_discriminators():
    least = [*LEAST["train.py"], "--crop_size", "16", "--load_size", "16"]
    assert options.TrainOptions.parse([*least, "--netD", "pixel"]).crop_size == 16
    assert options.TrainOptions.parse([*least, "--n_layers_D", "2"]).crop_size == 16


@pytest.mark.parametrize("typed", [CYCLE, ["--model=cycle_gan"], ["--model", "pix2pix", *CYCLE]])
def test_defaults_follow_the_model(typed, capsys):
    opt = options.TrainOptions.parse([*LEAST["train.py"], *typed, "--nepochs", "7"])
    assert (opt.model, opt.dataset_mode, opt.gan_mode) == ("cycle_gan", "unaligned", "lsgan")
    assert (opt.ndf, opt.nepochs, opt.nepochs_decay, opt.save_epoch_freq) == (64, 7, 100, 20)
    assert (opt.lambda_A, opt.lambda_B, opt.lambda_identity, opt.pool_size) == (10, 10, 0.5, 50)
    assert (opt.lr, opt.beta1, opt.batch_size, opt.netG) == (2e-4, 0.5, 1, "mobile_resnet_9blocks")
    assert (opt.load_size, opt.crop_size, opt.no_flip) == (286, 256, False)
    with pytest.raises(SystemExit):
        options.TrainOptions.parse([*typed, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "factor on --lambda_A" in text and "(default: lsgan)" in text
    # A run of pix2pix is what it was: flags that it does not have are not set.
    opt = options.TrainOptions.parse([*LEAST["train.py"], *CYCLE, "--model", "pix2pix"])
    assert (opt.model, opt.dataset_mode, opt.gan_mode, opt.ndf) == (
        *("pix2pix", "aligned", "hinge"),
        128,
    )
    assert {opt.lambda_A, opt.lambda_B, opt.lambda_identity, opt.real_stat_A_path} == {None}


# --------------------------------------------------------------------------------------------------
# Commands of the existing implementation


def test_the_lists_of_unpaired_data_by_their_own_names(capsys):
    least = [*LEAST["search.py"], "--dataset_mode", "unaligned"]
    both = ["--metaA_path", "lists/train2A.meta", "--metaB_path", "lists/train2B.meta"]
    opt = options.SearchOptions.parse([*least, *both])
    same = options.SearchOptions.parse([*least, "--meta_path", "lists/train2.meta"])
    assert opt.meta_path == same.meta_path == "lists/train2.meta"
    plain = {k: v for k, v in vars(opt).items() if k != "explicit"}
    assert plain == {k: v for k, v in vars(same).items() if k != "explicit"}
    for wrong, words in (
        ([*least, *both[:2]], "give both"),
        ([*LEAST["search.py"], *both], "--dataset_mode unaligned"),
        ([*least, *both, "--meta_path", "x.meta"], "--meta_path"),
        ([*least, *both[:3], "lists/other.meta"], "train2A.meta and train2B.meta"),
    ):
        with pytest.raises(SystemExit):
            options.SearchOptions.parse(wrong)
        assert words in capsys.readouterr().err


def test_published_names_of_a_test_of_styles(capsys):
    own = ["--restore_G_A_path", "g", "--real_stat_B_path", "b.npz", "--model", "munit_test"]
    for script, rest in (
        ("test.py", ["--results_dir", "r"]),
        ("evolution_search.py", ["--output_dir", "o", "--config_set", "channels-64"]),
    ):
        opt = class_of(script).parse(["--dataroot", "d", *rest, *own])
        assert (opt.restore_G_path, opt.real_stat_path) == ("g", "b.npz")
        assert {opt.restore_G_A_path, opt.real_stat_B_path} == {None}
        # It says what the network is, and networks say whether that is true.
        assert settings.generator(opt).wanted == {"styled": True}
    for wrong, words in (
        ([*own[:2], "--real_stat_path", "b"], "--restore_G_A_path is of --model munit_test"),
        (["--restore_G_path", "g", *own[2:4]], "give --real_stat_path"),
        ([*own, "--restore_G_path", "g"], "leave one of them out"),
        ([*own, "--direction", "BtoA"], "give --real_stat_path"),
    ):
        with pytest.raises(SystemExit):
            options.TestOptions.parse(["--dataroot", "d", "--results_dir", "r", *wrong])
        assert words in capsys.readouterr().err


def test_reference_images_are_those_of_a_folder():
    least = ["--restore_G_path", "g", "--ref_root", "/styles/shoes"]
    test = ["--dataroot", "d", "--results_dir", "r", "--dataset_mode", "unaligned"]
    video = ["--dataset_mode", "video", "clip.mp4", "--output_path", "o.mp4"]
    for rest in (test, video):
        opt = options.TestOptions.parse([*least, *rest, "--load_size", "64", "--crop_size", "64"])
        found = test_settings.tested(opt).references
        assert (found.dataroot, found.phase, found.dataset_mode) == ("/styles", "shoes", "single")
        assert (found.meta_path, found.max_dataset_size, found.resize.crop) == (None, -1, (64, 64))


def test_a_search_without_fid_goes_by_miou(capsys):
    for cls, script in ((options.SearchOptions, "search.py"),):
        assert cls.parse([*LEAST[script], "--no_fid"]).criterion == "mIoU"
        for wrong in (["--no_fid", "--no_mIoU"], ["--no_mIoU", "--criterion", "mIoU"]):
            with pytest.raises(SystemExit):
                cls.parse([*LEAST[script], *wrong])
        assert "give --criterion fid" in capsys.readouterr().err


def test_single_images_cannot_be_searched_by_fid(capsys):
    single = [*LEAST["evolution_search.py"], "--dataset_mode", "single"]
    with pytest.raises(SystemExit):
        options.EvolutionOptions.parse(single)
    assert "--real_stat_path" in capsys.readouterr().err
    opt = options.EvolutionOptions.parse([*single, "--real_stat_path", "x.npz"])
    assert opt.dataset_mode == "single"


# --------------------------------------------------------------------------------------------------
# Flags without effect


@pytest.mark.parametrize(
    ("script", "argv", "flags"),
    [
        ("train.py", ["--pool_size", "3"], ["pool_size"]),
        ("train.py", ["--lambda_A", "3", "--real_stat_A_path", "x"], ["lambda_A", "real_stat_A"]),
        ("train.py", [*CYCLE, "--pool_size", "3", "--lambda_identity", "1"], []),
        ("train.py", [*CYCLE, "--lambda_recon", "3"], ["lambda_recon"]),
        ("train.py", [*CYCLE, "--drn_path", "x"], ["drn_path"]),
        ("train.py", [*CYCLE, "--no_fid", "--real_stat_A_path", "x"], ["real_stat_A_path"]),
        ("train.py", [*CYCLE, "--lambda_A", "0", "--lambda_B", "0"], []),
        ("train.py", [*MUNIT, "--lambda_A", "3", "--real_stat_A_path", "x"], ["lambda_A"]),
        ("train.py", [*MUNIT, "--lambda_rec_x", "3", "--num_D", "2", "--mlp_dim", "9"], []),
        ("train.py", ["--lambda_rec_x", "3", "--style_dim", "9"], ["lambda_rec_x", "style_dim"]),
        ("train.py", ["--num_D", "3"], ["num_D"]),
        ("train_supernet.py", ["--style_encoder_step", "3"], ["style_encoder_step"]),
        ("train_supernet.py", ["--teacher_mlp_dim", "9"], ["teacher_mlp_dim"]),
        ("train.py", ["--n_res", "4", "--pad_type", "reflect"], ["n_res", "pad_type"]),
        ("train.py", ["--config_set", "channels-32"], ["config_set"]),
        ("train.py", ["--gamma", "0.1"], ["gamma"]),
        ("train.py", ["--gamma", "0.1", "--lr_policy", "step"], []),
        ("train_supernet.py", ["--teacher_dropout_rate", "0.5"], ["teacher_dropout_rate"]),
        ("test.py", ["--display_winsize", "128"], ["display_winsize"]),
        ("test.py", ["--overlap", "32", "--tile_norm", "image"], ["overlap", "tile_norm"]),
        ("test.py", ["--tile", "512", "--overlap", "32", "--tile_norm", "image"], []),
        ("latency.py", ["--fid_dims", "64", "--no_mIoU"], ["no_mIoU", "fid_dims"]),
        ("latency.py", ["--times", "3", "--threads", "1"], []),
        ("get_real_stat.py", ["--load_size", "64"], ["load_size"]),
        ("export.py", ["--size", "64", "--format", "pth", "onnx"], ["size"]),
        ("export.py", ["--size", "64", "--format", "pth", "tflite"], []),
        ("evolution_search.py", ["--predictor_share", "0.5"], ["predictor_share"]),
        ("evolution_search.py", ["--predictor_share", "0.5", "--predictor"], []),
    ],
)
def test_flags_without_effect_are_named(script, argv, flags, capsys):
    least = [] if "--dataroot" in LEAST[script] and argv[0] == "--dataroot" else LEAST[script]
    class_of(script).parse([*least, *argv])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (1 if flags else 0)
    for flag in flags:
        assert f"--{flag}" in lines[0] and "no effect" in lines[0]


def test_the_table_of_flags_without_effect_names_flags_that_scripts_take():
    table = ["--make_table", "--config_set", "8", "--output", "t.json"]
    others = {no_effect.CHECK: (options.CheckOptions, ["d"])}
    others |= {no_effect.TABLE: (options.TableOptions, table)}
    scripts = {script: (class_of(script), LEAST[script]) for script in CLASSES} | others
    for rule in no_effect.RULES:
        for script in rule.scripts:
            cls, least = scripts[script]
            assert set(rule.flags) <= set(cls.flags), rule
            opt = cls.parse(least)
            assert rule.when(opt) in (True, False)


# --------------------------------------------------------------------------------------------------
# Option classes


@pytest.mark.parametrize("script", CLASSES)
def test_classes_parse_with_and_without_an_instance(script):
    cls, argv = class_of(script), LEAST[script]
    once, again = cls.parse(argv), cls().parse(argv)
    assert vars(once) == vars(again)
    assert once.explicit == {arg[2:] for arg in argv if arg.startswith("--")}


def test_parse_reads_the_command_line_when_no_arguments_are_given(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--dataroot", "d", "--lr=0.5"])
    opt = options.TrainOptions.parse()
    assert (opt.dataroot, opt.lr, opt.explicit) == ("d", 0.5, {"dataroot", "lr"})


def test_one_of_the_two_sizes_sets_both_where_the_other_would_contradict_it():
    """Scripts give ``--load_size 64`` alone, whose default crop of 256 would not fit."""
    least = LEAST["train.py"]
    small = options.TrainOptions.parse([*least, "--load_size", "64"])
    large = options.TrainOptions.parse([*least, "--crop_size", "512"])
    both = options.TrainOptions.parse([*least, "--load_size", "72", "--crop_size", "64"])
    assert (small.load_size, small.crop_size) == (64, 64)
    assert (large.load_size, large.crop_size) == (512, 512)
    assert (both.load_size, both.crop_size) == (72, 64)


@pytest.mark.parametrize("script", ["test.py", "evolution_search.py", "search.py", "latency.py"])
def test_a_smaller_size_alone_is_that_of_whole_images(script):
    """Of images twice as large, a network of 128 pixels would see the middle alone."""
    given = [*LEAST[script], "--crop_size", "128"]
    for more, load_size in (([], 128), (["--load_size", "144"], 144)):
        opt = options.SCRIPTS[script].parse([*given, *more])
        assert (opt.load_size, opt.crop_size) == (load_size, 128)
    # Trainings cut crops out of them.
    opt = options.TrainOptions.parse([*LEAST["train.py"], "--crop_size", "128"])
    assert (opt.load_size, opt.crop_size) == (286, 128)
    opt = options.CheckOptions.parse(["--dataroot", "d", "--crop_size", "128"])
    assert (opt.load_size, opt.crop_size) == (286, 128)


def test_a_size_that_cuts_nothing_is_pointed_out(capsys):
    for preprocess in ("none", "scale_width"):
        given = ["--preprocess", preprocess, "--crop_size", "128", "--load_size", "128"]
        options.TrainOptions.parse([*LEAST["train.py"], *given])
        assert "--crop_size: no effect, --preprocess cuts nothing out" in capsys.readouterr().out


def test_importing_and_parsing_loads_no_network(tmp_path):
    """A wrong flag is answered at once: no weights are looked for, and the packages of the feature
    network stay unimported."""
    code = (
        "import sys, torch\n"
        "def refuse(*args, **kwargs): raise AssertionError('weights were loaded')\n"
        "torch.load = torch.hub.load_state_dict_from_url = torch.hub.download_url_to_file = "
        "refuse\n"
        "import time; start = time.monotonic()\n"
        "import options\n"
        f"for name in {list(CLASSES.values())!r}: getattr(options, name).parser().format_help()\n"
        "seconds = time.monotonic() - start\n"
        "heavy = {'torchvision', 'pytorch_fid', 'matplotlib', 'dominate', 'scipy'} & "
        "set(sys.modules)\n"
        "print(seconds, sorted(heavy))\n"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    seconds, heavy = done.stdout.split(maxsplit=1)
    assert heavy.strip() == "[]"
    assert float(seconds) < 5, "beside torch, the options should take a moment"
    assert time.monotonic() - start < 30


# --------------------------------------------------------------------------------------------------
# Help


def check_help(script: str, text: str) -> None:
    """Grouped, every flag explained, defaults and required flags named."""
    actions = actions_of(script)
    headings = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert len(headings) >= 3, headings
    assert "data" in headings
    explained = text[text.index("\noptions:") :]
    for name, action in actions.items():
        assert re.search(rf"^  (-h, )?{name}\b", explained, re.MULTILINE), (
            f"{name} is not in the help"
        )
        assert action.help, f"{name} is not explained"
    one_line = " ".join(explained.split())
    for name, action in actions.items():
        if action.required:
            assert action.help.endswith("(required)"), name
        elif action.nargs != 0 and action.default is not None:
            assert f"(default: {action.default})" in one_line, name
    # Nothing but a list of choices, which cannot be broken, is wider than a terminal.
    assert not [
        line for line in text.splitlines() if len(line) > 110 and "," not in line.split()[-1]
    ]


@pytest.mark.parametrize("script", CLASSES)
def test_help(script, call):
    outcome = call(script, "--help").succeeded()
    assert outcome.stderr == ""
    assert outcome.stdout.startswith(f"usage: {script} ")
    check_help(script, outcome.stdout)


def test_help_of_a_real_process(cli):
    train = cli("train.py", "--help").succeeded()
    check_help("train.py", train.stdout)
    assert "(default: 0.0002)" in " ".join(train.stdout.split())
    macs = cli("metrics.macs", "--help").succeeded()
    assert macs.stdout.startswith("usage: python -m metrics.macs ")
    assert "CONFIG" in macs.stdout
