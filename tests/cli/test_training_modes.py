"""Precision, the run's page and TensorBoard files of training."""

import pytest

from models.weights import load_generator


def test_bf16_trains_close_to_float32_and_the_run_has_a_page(
    call, teacher, tmp_path, teacher_flags, read_lines
):
    flags = (*teacher_flags, "--amp", "bf16", "--niters", 2)
    call("train.py", *flags, "--log_dir", tmp_path / "bf16").succeeded()
    first, reference = (
        read_lines(folder / "log.jsonl")[0] for folder in (tmp_path / "bf16", teacher)
    )
    assert first["losses"] == pytest.approx(reference["losses"], rel=0.05, abs=0.05)
    page = (tmp_path / "bf16" / "index.html").read_text()
    for name in ("losses.png", "measures.png"):
        assert name in page and (tmp_path / "bf16" / name).is_file()
    newest = sorted((tmp_path / "bf16" / "eval").glob("*.png"))[-1]
    assert f"eval/{newest.name}" in page


def test_fp16_needs_a_gpu(call, tmp_path, teacher_flags):
    outcome = call("train.py", *teacher_flags, "--amp", "fp16", "--log_dir", tmp_path / "fp16")
    assert (
        outcome.returncode == 2
        and "--amp fp16" in outcome.stderr
        and not (tmp_path / "fp16").exists()
    )


def test_cuda_graphs_are_refused_on_the_cpu(call, teacher_flags, tmp_path):
    outcome = call("train.py", *teacher_flags, "--cuda_graphs", "--log_dir", tmp_path / "graphs")
    assert (
        outcome.returncode == 2
        and "--cuda_graphs" in outcome.stderr
        and not (tmp_path / "graphs").exists()
    )


def test_tensorboard_is_optional(call, tmp_path, teacher_flags):
    """Event files where the package is there, else a line that says what to install."""
    flags = (
        *teacher_flags,
        "--log_dir",
        tmp_path / "run",
        "--tensorboard_dir",
        tmp_path / "events",
    )
    outcome = call("train.py", *flags)
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        assert outcome.returncode == 2 and "pip install tensorboard" in outcome.stderr
    else:
        assert outcome.returncode == 0 and list((tmp_path / "events").glob("events.*"))


# --------------------------------------------------------------------------------------------------
# Online distillation


def test_an_online_student_from_nothing_to_a_trained_teacher(
    call, tmp_path, training_flags, read_lines
):
    """A supernet and its teacher learn together; then another student from that teacher alone."""
    online = (*training_flags, "--distiller", "online")
    flags = ("--teacher_netG", "resnet_9blocks", "--teacher_ngf", 8, "--teacher_freq", 2)
    flags += ("--config_set", "channels-32", "--niters", 3)
    folder = tmp_path / "both"
    call("train_supernet.py", *online, *flags, "--student_ngf", 32, "--log_dir", folder).succeeded()
    train = [r["losses"] for r in read_lines(folder / "log.jsonl") if r["event"] == "train"]
    assert ["T_recon" in losses for losses in train] == [False, True, False]
    assert all({"G_ssim", "G_style", "G_feature", "G_tv"} <= set(losses) for losses in train)

    teacher, net_d = (folder / "checkpoints" / f"best_net_{name}.pth" for name in "TD")
    given = ("--teacher_freq", 0, "--restore_teacher_G_path", teacher, "--restore_D_path", net_d)
    student = ("--student_ngf", 8, "--tap_loss", "alignment", "--niters", 2)
    call("distill.py", *online, *given, *student, "--log_dir", tmp_path / "one").succeeded()
    names = {p.name for p in (tmp_path / "one" / "checkpoints").glob("best_*")}
    assert names == {"best_net_G.pth"}


def test_an_online_student_of_two_teachers_and_of_both_trained(
    call, tmp_path, training_flags, read_lines
):
    online = (*training_flags, "--distiller", "online", "--student_ngf", 2, "--n_layers_D", 2)
    two = ("--deeper_netG", "mobile_deepest_resnet", "--share_D", 2)
    flags = ("--teacher_ngf", 4, "--deeper_ngf", 2, "--teacher_freq", 2, "--niters", 3)
    both = tmp_path / "both"
    call("distill.py", *online, *two, *flags, "--log_dir", both).succeeded()
    train = [r["losses"] for r in read_lines(both / "log.jsonl") if r["event"] == "train"]
    teach = [{"T_recon", "T2_gan", "T2_recon"} <= set(losses) for losses in train]
    assert teach == [False, True, False]
    d, t, t2 = (both / "checkpoints" / f"latest_net_{name}.pth" for name in ("D", "T", "T2"))
    assert load_generator(t2, "")[1].netG == "mobile_deepest_resnet"

    given = ("--teacher_freq", 0, "--restore_teacher_G_path", t, "--restore_D_path", d)
    flags = (*online, *two, *given, "--restore_deeper_G_path", t2, "--niters", 2)
    call("distill.py", *flags, "--log_dir", tmp_path / "one").succeeded()
    names = {p.name for p in (tmp_path / "one" / "checkpoints").glob("best_*")}
    assert names == {"best_net_G.pth", *(f"best_net_A-{i}.pth" for i in range(4))}


def test_an_online_student_then_learns_from_real_images(
    call, tmp_path, teacher, training_flags, read_lines
):
    """By a discriminator of its own, which is saved beside it and taken up again."""
    given = ("--restore_teacher_G_path", teacher / "checkpoints" / "best_net_G.pth")
    images = ("--lambda_ssim", 0, "--lambda_style", 0, "--lambda_feature", 0, "--lambda_tv", 0)
    online = (*training_flags, "--distiller", "online", "--teacher_freq", 0, *given)
    own = ("--lambda_adversarial", 1, "--lambda_real", 10, "--student_ndf", 4)
    own += ("--augment_D", "color", "translation", "cutout", "--ema", 0.9)
    flags = (*online, *images, *own, "--lambda_distill", 0, "--student_ngf", 4)
    first, second = tmp_path / "first", tmp_path / "second"
    call("distill.py", *flags, "--log_dir", first).succeeded()
    train = [r["losses"] for r in read_lines(first / "log.jsonl") if r["event"] == "train"]
    assert all(
        set(losses) == {"D_student_fake", "D_student_real", "G_gan", "G_real"} for losses in train
    )
    raw, net_d = (first / "checkpoints" / f"latest_net_{n}.pth" for n in ("G_raw", "D_student"))
    again = ("--restore_student_G_path", raw, "--restore_student_D_path", net_d)
    call("distill.py", *flags, *again, "--niters", 1, "--log_dir", second).succeeded()
    continued = [r["losses"] for r in read_lines(second / "log.jsonl") if r["event"] == "train"]
    assert continued[0]["G_real"] < train[0]["G_real"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), ("required: --restore_teacher_G_path",)),
        (
            ("--distiller", "online", "--restore_student_D_path", "x.pth"),
            ("--restore_student_D_path", "--lambda_adversarial"),
        ),
        (("--augment_D", "blur"), ("--augment_D", "translation")),
        (("--distiller", "online", "--teacher_freq", 0), ("--teacher_freq 0 trains no teacher",)),
        (
            ("--distiller", "online", "--teacher_freq", 0, "--restore_teacher_G_path", "x.pth"),
            ("--restore_D_path", "--lambda_style 0"),
        ),
        (
            ("--distiller", "online", "--tap_loss", "alignment", "--batch_size", 1),
            ("--batch_size 2",),
        ),
        (
            ("--distiller=online", "--teacher_netG", "super_mobile_resnet_9blocks"),
            ("--teacher_netG", "no supernet"),
        ),
        (
            (
                "--distiller",
                "online",
                "--lambda_distill",
                0,
                "--lambda_ssim",
                0,
                "--lambda_tv",
                0,
                "--lambda_style",
                0,
                "--lambda_feature",
                0,
            ),
            ("all weights", "are 0"),
        ),
        (
            ("--distiller", "online", "--restore_deeper_G_path", "x.pth"),
            ("--restore_deeper_G_path", "--deeper_netG"),
        ),
        (
            (
                *("--distiller", "online", "--deeper_netG", "mobile_deepest_resnet"),
                *("--teacher_freq", 0, "--restore_teacher_G_path", "x.pth"),
            ),
            ("--teacher_freq 0", "--restore_deeper_G_path"),
        ),
        (
            (
                *("--distiller", "online", "--teacher_ngf", 4),
                *("--deeper_netG", "mobile_deepest_resnet", "--share_D", 6),
            ),
            ("--share_D 6", "5 blocks"),
        ),
        (
            ("--distiller", "online", "--deeper_netG", "super_mobile_resnet_9blocks"),
            ("--deeper_netG", "mobile_deepest_resnet"),
        ),
        (
            ("--distiller", "online", "--teacher_netG", "mobile_deepest_resnet"),
            ("--teacher_netG mobile_deepest_resnet", "--lambda_distill 0"),
        ),
        (
            ("--distiller", "online", "--student_netG", "mobile_deepest_resnet"),
            ("--student_netG mobile_deepest_resnet", "no student"),
        ),
        (
            ("--distiller", "online", "--feature_net", "vgg16", "--vgg_path", "gone.pth"),
            ("--feature_net vgg16", "gone.pth"),
        ),
        (
            (
                *("--restore_teacher_G_path", "x.pth", "--student_netG", "resnet_9blocks"),
                *("--config_str", "8_8_8_8_8_8_8_8"),
            ),
            ("--config_str", "resnet_9blocks has no configurations"),
        ),
        (
            (
                *("--distiller", "online", "--teacher_ngf", 4, "--student_ngf", 4, "--lr_policy"),
                *("plateau", "--no_fid"),
            ),
            ("--lr_policy plateau", "--no_fid"),
        ),
    ],
)
def test_online_flags_that_cannot_be(call, tmp_path, training_flags, flags, words):
    outcome = call("distill.py", *training_flags, *flags, "--log_dir", tmp_path / "run")
    assert outcome.returncode == 2 and not (tmp_path / "run").exists()
    assert all(word in outcome.stderr for word in words), outcome.stderr


def test_a_student_that_is_no_supernet_is_not_trained_as_one(call, tmp_path, training_flags):
    flags = ("--restore_teacher_G_path", "x.pth", "--student_netG", "resnet_9blocks")
    flags += ("--config_set", "8,4", "--log_dir", tmp_path / "run")
    outcome = call("train_supernet.py", *training_flags, *flags)
    assert outcome.returncode == 2 and not (tmp_path / "run").exists()
    assert "--student_netG resnet_9blocks is no supernet; distill.py" in outcome.stderr


def test_a_student_in_8_bits_is_a_plain_file(call, tmp_path, teacher, training_flags):
    path = teacher / "checkpoints" / "best_net_G.pth"
    flags = (*training_flags, "--niters", 2, "--restore_teacher_G_path", path, "--student_ngf", 4)
    call("distill.py", *flags, "--qat", "--log_dir", tmp_path / "run").succeeded()
    made = tmp_path / "run" / "checkpoints" / "best_net_G.pth"
    net, spec = load_generator(made, "")
    assert set(net.state_dict()) == set(spec.build().state_dict())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ("--student_netG", "super_mobile_resnet_9blocks", "--config_set", "channels-32"),
            ("--qat", "--student_netG super_mobile_resnet_9blocks", "export.py"),
        ),
        (("--cuda_graphs",), ("--qat with --cuda_graphs",)),
    ],
)
def test_8_bits_that_cannot_be(call, tmp_path, training_flags, flags, words):
    given = (*training_flags, "--restore_teacher_G_path", "x.pth", "--qat", *flags)
    outcome = call("distill.py", *given, "--log_dir", tmp_path / "run")
    assert outcome.returncode == 2 and not (tmp_path / "run").exists()
    assert all(word in outcome.stderr for word in words), outcome.stderr


def test_flags_of_the_other_distiller_are_named(call, tmp_path, training_flags, teacher):
    flags = (*training_flags, "--niters", 1, "--no_fid", "--student_ngf", 8)
    flags += ("--restore_teacher_G_path", teacher / "checkpoints" / "latest_net_G.pth")
    others = ("--lambda_ssim", 1, "--deeper_netG", "mobile_deepest_resnet", "--share_D", 1)
    outcome = call("distill.py", *flags, *others, "--log_dir", tmp_path / "run").succeeded()
    named = "--lambda_ssim, --deeper_netG, --share_D: no effect, --distiller is not online"
    assert named in outcome.stdout


def test_the_deepest_network_learns_alone_is_tested_and_teaches_images(
    call, tmp_path, training_flags, inference_flags
):
    """What it cannot be is refused: the teacher of activations, a supernet, one that is pruned."""
    folder, net = tmp_path / "alone", ("--netG", "mobile_deepest_resnet", "--ngf", 2)
    call("train.py", *training_flags, *net, "--niters", 2, "--log_dir", folder).succeeded()
    pth = folder / "checkpoints" / "best_net_G.pth"
    flags = (*inference_flags, "--restore_G_path", pth, "--results_dir", tmp_path / "results")
    tested = call("test.py", *flags, "--need_profile").succeeded()
    assert "mobile_deepest_resnet ngf 2" in tested.stdout
    forms = ("--backends", "eager", "fused", "--times", 2)
    call("latency.py", *flags, *forms).succeeded()

    students = (*training_flags, "--niters", 1, "--student_ngf", 2)
    given = ("--restore_teacher_G_path", pth)
    online = ("--distiller", "online", "--teacher_freq", 0, "--lambda_style", 0)
    online += ("--lambda_feature", 0, "--lambda_distill", 0)
    restored = ("--restore_A_path", "a")
    flags = (*students, *given, *online, *restored, "--log_dir", tmp_path / "one")
    done = call("distill.py", *flags).succeeded()
    # Activations without weight need no adaptors.
    assert "--restore_A_path: no effect, --lambda_distill 0 compares no activations" in done.stdout
    assert not list((tmp_path / "one" / "checkpoints").glob("*_net_A-*"))
    for flags, words in (
        (given, ("--teacher_netG mobile_deepest_resnet", "--distiller online")),
        ((*online, *given, "--restore_pretrained_G_path", pth), ("different kinds",)),
        ((*online, *given, "--restore_student_G_path", pth), ("holds mobile_deepest_resnet",)),
    ):
        refused = call("distill.py", *students, *flags, "--log_dir", tmp_path / "none")
        assert refused.returncode == 2 and not (tmp_path / "none").exists()
        assert all(word in refused.stderr for word in words), refused.stderr
    flags = (*inference_flags, "--restore_G_path", pth, "--config_set", "channels-32")
    refused = call("search.py", *flags, "--output_path", tmp_path / "none.jsonl")
    assert refused.returncode == 2 and "not a supernet" in refused.stderr
