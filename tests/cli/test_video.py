"""test.py --dataset_mode video, with files that PyAV makes: what is in the output, and when."""

from __future__ import annotations

import importlib.util
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data import video
from errors import InputError
from models.generators import GeneratorSpec
from models.layers import init_weights
from models.weights import save_network

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("av") is None, reason="videos are tested with PyAV: pip install av"
)

WIDTH, HEIGHT = 50, 38  # no multiples of 4
FRAMES = 7
RATE = Fraction(30000, 1001)


def network(path: Path, seed: int, **what) -> Path:
    spec = GeneratorSpec(**what)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = init_weights(spec.build(), gain=0.1).eval()
    save_network(net, path, spec)
    return path


@pytest.fixture(scope="module")
def nets(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("nets")
    return {
        "small": network(
            *(folder / "small.pth", 0),
            netG="sub_mobile_resnet_9blocks",
            config_str="8_8_8_8_8_8_8_8",
        ),
        "teacher": network(folder / "big.pth", 1, netG="resnet_9blocks", ngf=4),
    }


def images(count: int = FRAMES, width: int = WIDTH, height: int = HEIGHT) -> list[np.ndarray]:
    """Random blocks of 8 pixels that differ from frame to frame."""
    blocks = np.random.default_rng(0).integers(0, 256, (count, 9, 9, 3), np.uint8)
    return list(blocks.repeat(8, 1).repeat(8, 2)[:, :height, :width])


def write(
    path: Path,
    frames: list[np.ndarray],
    rate: Fraction = RATE,
    codec: str = "ffv1",
    pixels: str = "bgr0",
    audio: str | None = None,
    times: list[float] | None = None,
    rotation: int = 0,
) -> Path:
    """A video, lossless unless told otherwise, with a tone of the same length as ``audio``."""
    import av

    with av.open(str(path), "w") as file:
        options = {"crf": "10"} if codec == "libx264" else {}
        stream = file.add_stream(codec, rate=rate, options=options)
        stream.pix_fmt = pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, 30000)
        if rotation and not hasattr(stream, "set_display_rotation"):
            pytest.skip("this version of PyAV cannot write turned videos")
        if rotation:
            stream.set_display_rotation(rotation)
        sound = file.add_stream(audio, rate=48000, layout="mono") if audio else None
        stream.height, stream.width = frames[0].shape[:2] if frames else (32, 32)
        if not frames:
            file.start_encoding()
        for i, pixels_of in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels_of, format="rgb24")
            seconds = Fraction(times[i]).limit_denominator(30000) if times else i / rate
            frame.pts, frame.time_base = round(seconds * 30000), Fraction(1, 30000)
            file.mux(stream.encode(frame))
        if sound:
            length = int(48000 * len(frames) / rate)
            wave = np.sin(np.arange(length) * 0.05).astype(np.float32)[None] * 0.5
            tone = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            tone.sample_rate, tone.pts, tone.time_base = 48000, 0, Fraction(1, 48000)
            resampler = av.AudioResampler(sound.codec_context.format or "fltp", "mono", 48000)
            for part in resampler.resample(tone):
                file.mux(sound.encode(part))
            file.mux(sound.encode())
        if frames:
            file.mux(stream.encode())
    return path


def read(path: Path) -> tuple[list[np.ndarray], list[Fraction], Fraction]:
    """(frames, their times in seconds, frames per second), without the code under test."""
    import av

    with av.open(str(path)) as file:
        frames = list(file.decode(file.streams.video[0]))
        rate = file.streams.video[0].average_rate
        times = [frame.pts * frame.time_base for frame in frames]
        # Said twice: older versions of PyAV do not always see what the frame says.
        matrix = {"src_colorspace": "itu709", "dst_colorspace": "itu601"}
        pixels = [
            frame.to_ndarray(format="rgb24", **(matrix if frame.colorspace == 1 else {}))
            for frame in frames
        ]
        return pixels, times, rate


def packets_of_audio(path: Path) -> list[bytes]:
    import av

    with av.open(str(path)) as file:
        return [bytes(p) for p in file.demux(file.streams.audio[0]) if p.size]


@pytest.fixture
def translate(call, nets):
    """``translate(video, output, *flags)``: test.py in this process, on the CPU."""

    def run(source: Path, output: Path, *flags: object):
        mode = ("--dataset_mode", "video", source, "--output_path", output, "--gpu_ids", -1)
        return call("test.py", *mode, "--restore_G_path", nets["small"], *flags)

    return run


@pytest.fixture
def single(call, nets, tmp_path):
    """``single(frames, name, *flags)``: what --dataset_mode single makes of the same images."""

    def run(frames: list[np.ndarray], name: str, *flags: object) -> list[np.ndarray]:
        folder, out = tmp_path / f"images of {name}", tmp_path / f"results of {name}"
        folder.mkdir()
        for i, pixels in enumerate(frames):
            Image.fromarray(pixels).save(folder / f"{i:03}.png")
        mode = ("--dataset_mode", "single", "--dataroot", folder, "--results_dir", out)
        machine = ("--gpu_ids", -1, "--no_fid", "--restore_G_path", nets[name])
        call("test.py", *mode, *machine, *flags).succeeded()
        made = sorted((out / "images" / "fake_B").iterdir())
        return [np.asarray(Image.open(path)) for path in made]

    return run


# --------------------------------------------------------------------------------------------------
# What comes out


@pytest.mark.parametrize(
    "sizes",
    [
        (),
        ("--preprocess", "none"),
        ("--preprocess", "scale_width", "--load_size", 31),
        ("--load_size", 40, "--crop_size", 32),
    ],
    ids=lambda flags: " ".join(map(str, flags)),
)
def test_frames_are_those_of_single_images(translate, single, tmp_path, sizes):
    """Bit for bit: FFV1 loses nothing."""
    sizes = sizes or ("--load_size", 32, "--crop_size", 32)
    source, output = write(tmp_path / "in.mkv", images()), tmp_path / "out.mkv"
    said = translate(source, output, *sizes).succeeded().stdout
    frames, times, rate = read(output)
    assert rate == RATE and times == read(source)[1]
    wanted = single(images(), "small", *sizes)
    assert len(frames) == FRAMES and all(map(np.array_equal, frames, wanted))
    height, width = wanted[0].shape[:2]
    assert f"{output}: {FRAMES} frames of {width}x{height} at 29.97 frames/s" in said
    assert "network alone: small" in said and said.count("\n") == 1


def test_frames_in_batches(translate, single, tmp_path):
    """The last batch is smaller. Kernels round differently for batches."""
    source, output = write(tmp_path / "in.mkv", images()), tmp_path / "out.mkv"
    translate(source, output, "--preprocess", "none", "--batch_size", 3).succeeded()
    wanted = np.stack(single(images(), "small", "--preprocess", "none")).astype(int)
    assert np.abs(np.stack(read(output)[0]) - wanted).max() <= 1


def test_from_a_process_of_its_own_as_h264_with_its_sound(cli, nets, single, tmp_path):
    """Sizes become even, colours and times stay; the form of the issue that asked for it."""
    source = tmp_path / "in.mp4"
    write(source, images(), codec="libx264", pixels="yuv444p", audio="aac")
    # The decoded frames, since this file is not lossless.
    decoded, *_ = read(source)
    flags = ("--restore_G_path", nets["small"], "--preprocess", "crop", "--crop_size", 36)
    output = tmp_path / "new" / "out.mp4"
    cli("test.py", "--dataset_mode", "video", source, "--output", output, *flags).succeeded()
    frames, times, rate = read(output)
    assert rate == RATE and times == [i / RATE for i in range(FRAMES)]
    wanted = single(decoded, "small", "--preprocess", "crop", "--crop_size", 36)
    # Brightness alone: H.264 stores colours at half the size, and these change at every pixel.
    brightness = np.array([0.2126, 0.7152, 0.0722])
    made, wanted = np.stack(frames) @ brightness, np.stack(wanted) @ brightness
    assert np.abs(made - wanted).mean() < 8 < 20 < np.abs(made - wanted[::-1]).mean()
    assert packets_of_audio(output) == packets_of_audio(source) != []
    assert sorted(p.name for p in output.parent.iterdir()) == ["out.mp4"]


def test_colours_survive_h264(tmp_path):
    """Players guess the matrix of a file that does not name it, and show reds that are off."""
    import av

    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 100, 30)]
    for suffix in (".mp4", ".webm"):
        path = tmp_path / f"out{suffix}"
        flat = [np.full((35, 33, 3), colour, np.uint8) for colour in colours]
        with video.VideoWriter(path, Fraction(25)) as writer:
            for pixels in flat:
                writer.write(pixels, None)
        frames, times, rate = read(path)
        assert rate == 25 and times == [Fraction(i, 25) for i in range(4)]
        assert frames[0].shape == (36, 34, 3)  # even
        for frame, pixels in zip(frames, flat, strict=True):
            assert np.abs(frame[4:-4, 4:-4].astype(int) - pixels[0, 0]).max() <= 3, suffix
        with av.open(str(path)) as file:
            context = file.streams.video[0].codec_context
            assert (context.colorspace, context.color_range) == (1, 1)


def test_side_by_side(translate, single, nets, tmp_path):
    """Input, teacher and network; the flag shows the input beside a single network."""
    source, output = write(tmp_path / "in.mkv", images(3)), tmp_path / "out.mkv"
    size = ("--preprocess", "none")
    teacher = ("--restore_teacher_G_path", nets["teacher"])
    outcome = translate(source, output, *size, *teacher).succeeded()
    assert "from left to right: input, teacher, small" in outcome.stdout
    assert "teacher " in outcome.stdout.splitlines()[-1]
    parts = images(3), single(images(3), "teacher", *size), single(images(3), "small", *size)
    wanted = [np.concatenate(row, axis=1) for row in zip(*parts, strict=True)]
    assert all(map(np.array_equal, read(output)[0], wanted))
    translate(source, output, *size, "--side_by_side").succeeded()
    wanted = [np.concatenate(row, axis=1) for row in zip(parts[0], parts[2], strict=True)]
    assert all(map(np.array_equal, read(output)[0], wanted))


def test_frames_keep_irregular_times_and_stand_upright(translate, tmp_path):
    """As telephones record: turned, and slower in the dark."""
    times = [0.0, 0.05, 0.1, 0.3, 0.5, 0.51, 0.6]
    source, output = tmp_path / "in.mp4", tmp_path / "out.mkv"
    write(source, images(), codec="libx264rgb", pixels="rgb24", times=times, rotation=90)
    translate(source, output, "--preprocess", "none", "--side_by_side").succeeded()
    frames, found, _ = read(output)
    assert np.allclose([float(time) for time in found], times, atol=2e-3)
    assert frames[0].shape == (WIDTH, 2 * HEIGHT, 3)
    decoded, *_ = read(source)
    assert np.array_equal(frames[3][:, :HEIGHT], np.rot90(decoded[3]))


def test_only_the_first_frames(translate, tmp_path):
    source, output = write(tmp_path / "in.mkv", images()), tmp_path / "out.mkv"
    said = translate(source, output, "--num_test", 3, "--batch_size", 2).succeeded()
    assert len(read(output)[0]) == 3 and "cut off" not in said.stderr


def test_sound_that_does_not_fit_is_dropped_and_said(translate, tmp_path):
    source = write(tmp_path / "in.mkv", images(), audio="aac")
    output = tmp_path / "out.webm"
    said = translate(source, output, "--preprocess", "none").succeeded().stdout
    assert "the sound is dropped: a .webm file cannot hold it" in said
    assert len(read(output)[0]) == FRAMES
    said = translate(source, tmp_path / "out.mkv", "--preprocess", "none").succeeded().stdout
    assert "dropped" not in said
    assert packets_of_audio(tmp_path / "out.mkv") == packets_of_audio(source)


def test_grey_networks_take_grey_frames(call, tmp_path):
    what = dict(netG="resnet_9blocks", ngf=4, input_nc=1, output_nc=1)
    net = network(tmp_path / "grey.pth", 2, **what)
    source, output = write(tmp_path / "in.mkv", images(2)), tmp_path / "out.mkv"
    flags = ("--restore_G_path", net, "--input_nc", 1, "--output_nc", 1, "--side_by_side")
    mode = ("--dataset_mode", "video", "--dataroot", source, "--output_path", output)
    call("test.py", *mode, *flags, "--preprocess", "none", "--gpu_ids", -1).succeeded()
    frame = read(output)[0][0]
    assert (frame[:, :, :1] == frame).all()
    grey = np.asarray(Image.fromarray(images(2)[0]).convert("L"))
    assert np.array_equal(frame[:, :WIDTH, 0], grey)


# --------------------------------------------------------------------------------------------------
# What goes wrong


def test_bad_input_is_one_line_with_the_remedy(translate, nets, tmp_path):
    good = write(tmp_path / "good.mkv", images(3))
    text, empty = tmp_path / "text.mp4", write(tmp_path / "empty.mkv", [])
    text.write_text("no video " * 100)
    sound = tmp_path / "sound.mp4"
    write(tmp_path / "both.mp4", images(), codec="libx264", pixels="yuv420p", audio="aac")
    only_sound(tmp_path / "both.mp4", sound)
    folder = tmp_path / "folder.mp4"
    folder.mkdir()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes((tmp_path / "both.mp4").read_bytes()[:1500])
    before, out = good.read_bytes(), tmp_path / "out.mp4"
    out.write_text("earlier")
    cases = [
        (tmp_path / "none.mp4", out, "--dataroot .*none.mp4: no such file"),
        (folder, out, "is a folder; give one video"),
        (text, out, "not a video that can be read"),
        (cut, out, "not a video that can be read"),
        (sound, out, "holds only sound; give a video"),
        (empty, out, "holds no frames|not a video"),
        (good, tmp_path / "out.txt", "--output_path .*end in .mp4, .m4v, .mov, .webm or .mkv"),
        (good, tmp_path / "out", "--output_path .*no name of a video"),
        (good, good, "--output_path .*is the input itself"),
        (good, folder, "--output_path .*is a folder"),
        (good, text / "out.mp4", "--output_path"),
    ]
    for source, output, message in cases:
        outcome = translate(source, output)
        said = [line for line in outcome.stderr.splitlines() if "error" in line]
        assert outcome.returncode == 2 and len(said) == 1, (source, outcome)
        assert "Traceback" not in outcome.stderr and re.search(message, said[0]), (message, said)
    assert out.read_text() == "earlier" and good.read_bytes() == before
    assert not [p for p in tmp_path.rglob("*") if ".tmp." in p.name]


def only_sound(source: Path, path: Path) -> None:
    import av

    with av.open(str(source)) as given, av.open(str(path), "w") as file:
        stream = file.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(given.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                file.mux(packet)


def test_a_damaged_video_says_how_far_it_is_good(translate, tmp_path, monkeypatch):
    """FFmpeg's own error in the middle; and a file that ends before the frames that it promises."""
    source, output = tmp_path / "in.mov", tmp_path / "out.mkv"
    write(source, images(), codec="png", pixels="rgb24")
    content = bytearray(source.read_bytes())
    starts = [i for i in range(len(content)) if content[i : i + 4] == b"IHDR"]
    content[starts[4] : starts[4] + 40] = bytes(40)
    source.write_bytes(content)
    outcome = translate(source, output)
    assert outcome.returncode == 2 and "damaged after 4 frames" in outcome.stderr, outcome
    assert "--num_test 4 to use those" in outcome.stderr and not output.exists()
    translate(source, output, "--num_test", 4).succeeded()
    assert len(read(output)[0]) == 4

    real = video.VideoReader.__init__

    def promises(self, *args):
        real(self, *args)
        self.count = 9

    monkeypatch.setattr(video.VideoReader, "__init__", promises)
    whole = write(tmp_path / "whole.mkv", images())
    outcome = translate(whole, output).succeeded()
    assert "says that it has 9 frames, 7 could be read" in outcome.stderr


def test_without_the_package(translate, tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "av" else real(name, *a)
    )
    outcome = translate(tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert outcome.returncode == 2 and "pip install av" in outcome.stderr


def test_a_full_disk(spawn, nets, tmp_path):
    """What was there stays."""
    noise = np.random.default_rng(1).integers(0, 256, (30, 96, 96, 3), np.uint8)
    source, output = write(tmp_path / "in.mkv", list(noise)), tmp_path / "out.mkv"
    output.write_text("earlier")
    flags = ("--restore_G_path", nets["small"], "--preprocess", "none", "--side_by_side")
    words = ("--dataset_mode", "video", source, "--output_path", output, "--gpu_ids", -1)
    process = spawn("test.py", *words, *flags, max_file_bytes=200_000)
    said, _ = process.communicate(60)
    assert process.returncode == 2 and "could not be written" in said, said
    assert "Traceback" not in said and output.read_text() == "earlier"
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []


def test_a_video_of_one_size(tmp_path):
    with (
        pytest.raises(InputError, match="40x40 pixels after some of 40x32"),
        video.VideoWriter(tmp_path / "out.mkv", Fraction(25)) as writer,
    ):
        writer.write(np.zeros((32, 40, 3), np.uint8), None)
        writer.write(np.zeros((40, 40, 3), np.uint8), None)


def test_the_command_line(capsys):
    from options import LatencyOptions, TestOptions

    least = ["--dataset_mode=video", "--restore_G_path", "g"]
    opt = TestOptions.parse([*least, "in.mp4", "--output=out.mp4"])
    assert (opt.dataroot, opt.output_path, opt.load_size) == ("in.mp4", "out.mp4", 256)
    for words, message in (
        ([*least, "--output", "o.mp4"], "give the video once"),
        ([*least, "a.mp4", "--dataroot", "b.mp4", "--output", "o.mp4"], "give the video once"),
        ([*least, "a.mp4"], "--output_path"),
        ([*least, "a.mp4", "--output", "o.mp4", "--results_dir", "r"], "unknown flag"),
    ):
        with pytest.raises(SystemExit) as stop:
            TestOptions.parse(words)
        assert stop.value.code == 2 and message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        LatencyOptions.parse([*least, "--dataroot", "d", "--results_dir", "r"])
    assert "invalid choice: 'video'" in capsys.readouterr().err
