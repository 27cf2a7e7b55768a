"""Files a run leaves: lines that survive a crash, folders that belong to one run."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from errors import InputError
from runtime import entry
from runtime.files import (
    JsonLines,
    check_folder,
    folder_written_whole,
    read_json_lines,
    remove_leftovers,
    write_json,
    written_whole,
)
from runtime.folders import (
    check_settings,
    claim_folder,
    make_folder,
    make_parent,
    release_folders,
    take_folder,
)

ROOT = Path(__file__).parents[2]

# --------------------------------------------------------------------------------------------------
# Lines


@pytest.fixture(autouse=True)
def no_folder_stays_taken():
    yield
    release_folders()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.jsonl"


def write_lines(path, *records):
    log = JsonLines(path)
    for record in records:
        log.write(record)
    log.close()


def test_lines_are_there_when_write_returns(path):
    log = JsonLines(path)
    for i in range(3):
        log.write({"step": i, "loss": 0.1 + i})
        assert len(read_json_lines(path)) == i + 1
    assert read_json_lines(path) == [{"step": i, "loss": 0.1 + i} for i in range(3)]


def test_lines_are_appended(path):
    write_lines(path, {"a": 1})
    write_lines(path, {"a": 2})
    assert read_json_lines(path) == [{"a": 1}, {"a": 2}]


def test_a_log_can_be_rewound(path):
    log = JsonLines(path)
    log.write({"a": 1})
    position = log.position
    log.write({"a": "a longer line than the one that follows"})
    log.rewind(position)
    log.write({"a": 2})
    log.close()
    assert read_json_lines(path) == [{"a": 1}, {"a": 2}]
    log = JsonLines(path)
    assert log.position == path.stat().st_size
    log.rewind(0)
    assert read_json_lines(path) == []


def test_a_log_shorter_than_the_state_remembers_stays_readable(path):
    """The log was deleted or lost its end: rewinding to where it once was must not fill the gap
    with zeros."""
    write_lines(path, {"a": 1})
    log = JsonLines(path)
    log.rewind(500)
    log.write({"a": 2})
    log.close()
    assert read_json_lines(path) == [{"a": 1}, {"a": 2}]


def test_a_last_line_cut_off_is_left_out(path):
    write_lines(path, {"step": 1}, {"step": 22, "losses": {"G": 1.5}})
    whole = path.read_bytes()
    end_of_first = whole.index(b"\n") + 1
    for cut in range(end_of_first, len(whole) - 1):
        path.write_bytes(whole[:cut])
        expected = [{"step": 1}] if cut < len(whole) - 1 else [{"step": 1}, {"step": 22}]
        assert read_json_lines(path) == expected, cut


@pytest.mark.parametrize("bad", ['{"step": 2', "\x00\x00", "step 2"])
def test_a_damaged_line_before_the_last_is_named(path, bad):
    path.write_text(f'{{"step": 1}}\n{bad}\n{{"step": 3}}\n')
    with pytest.raises(InputError, match=rf"{path}: line 2 is damaged"):
        read_json_lines(path)


def test_bytes_that_are_no_text_are_named(path):
    path.write_bytes(b'{"step": 1}\n\xff\xfe{"step": 2}\n{"step": 3}\n')
    with pytest.raises(InputError, match=rf"{path}: line 2 is damaged"):
        read_json_lines(path)


def test_empty_lines_and_files_hold_nothing(path):
    path.write_text("")
    assert read_json_lines(path) == []
    path.write_text('\n{"step": 1}\n\n')
    assert read_json_lines(path) == [{"step": 1}]


def test_damaged_lines_can_be_left_out_with_a_warning(path):
    path.write_text('{"step": 1}\nstep 2\n{"step": 3}\n')
    with pytest.warns(UserWarning, match=rf"{path}: line 2 is damaged and left out"):
        assert read_json_lines(path, strict=False) == [{"step": 1}, {"step": 3}]


def test_a_full_disk_leaves_no_part_of_a_line(path):
    write_lines(path, {"a": 1})
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from errors import InputError; from runtime.files import JsonLines\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "log = JsonLines(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))\n"
        "try: log.write({'a': 'x' * 100})\n"
        "except InputError as error: print(error)\n"
        "log.write({'a': 2})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert f"{path} could not be written" in done.stdout and "free some space" in done.stdout
    assert read_json_lines(path) == [{"a": 1}, {"a": 2}]


# --------------------------------------------------------------------------------------------------
# Written whole


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "figure.png"
    path.write_text("before")
    with pytest.raises(RuntimeError), written_whole(path) as temporary:
        assert temporary.suffix == ".png"
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_link_is_written_through(tmp_path):
    target = tmp_path / "disk" / "real.json"
    link = tmp_path / "link.json"
    link.symlink_to(target)
    for value in (1, 2):  # where the link leads to nothing yet, and to a file
        write_json(link, value)
        assert link.is_symlink() and json.loads(target.read_text()) == value


@pytest.mark.parametrize("through", [False, True])
def test_a_pipe_is_never_replaced(tmp_path, through):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    if through:
        (tmp_path / "link").symlink_to(path)
    target = tmp_path / "link" if through else path
    with pytest.raises(InputError, match=rf"{target} is a device or a pipe"):
        write_json(target, 1)
    with pytest.raises(InputError, match=rf"--output_path {target} is a device or a pipe"):
        make_parent(target, "--output_path")
    assert path.is_fifo()


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    for use in (lambda p: write_json(p, 1), JsonLines):
        with pytest.raises(InputError, match=f"{tmp_path} is a folder"):
            use(tmp_path)
    with pytest.raises(InputError, match=f"{tmp_path}: cannot be read"):
        read_json_lines(tmp_path)


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "free some space"), (errno.EACCES, "check the permi")]
)
def test_a_write_that_fails_says_what_to_do(tmp_path, number, remedy):
    path = tmp_path / "a.png"
    message = rf"{path} could not be written .*: {remedy}"
    with pytest.raises(InputError, match=message), written_whole(path):
        raise OSError(number, os.strerror(number))


def test_a_long_name_has_a_temporary_name_that_fits(tmp_path):
    path = tmp_path / ("n" * 240 + ".png")
    with written_whole(path) as temporary:
        temporary.write_text("x")
    assert path.read_text() == "x"


def made(path: Path, text: str) -> None:
    with folder_written_whole(path, "sign") as temporary:
        assert temporary.suffix == path.suffix and not temporary.exists()
        (temporary / "below").mkdir(parents=True)
        for name in ("sign", "below/a"):
            (temporary / name).write_text(text)


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.set"
    for text in ("first", "second"):
        made(path, text)
        assert (path / "sign").read_text() == (path / "below" / "a").read_text() == text
        assert list(path.parent.iterdir()) == [path]
    with pytest.raises(RuntimeError), folder_written_whole(path, "sign") as temporary:
        temporary.mkdir()
        (temporary / "sign").write_text("half")
        raise RuntimeError
    said = rf"{path} could not be written.*untouched"
    with pytest.raises(InputError, match=said), folder_written_whole(path, "sign"):
        pass  # nothing was made, which the rename finds out
    assert (path / "below" / "a").read_text() == "second"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_what_is_no_such_folder_is_not_replaced(tmp_path, what):
    path, other = tmp_path / "a.set", tmp_path / "other.set"
    made(other, "kept")
    {
        "file": lambda: path.write_text("sign"),
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(other),
    }[what]()
    with pytest.raises(InputError, match=rf"^{path} is there already"):
        made(path, "new")
    with pytest.raises(InputError, match=rf"^--output_path {path} .*it has no sign"):
        check_folder(path, "sign", "--output_path")
    assert path.is_symlink() or path.is_file() or not list(path.iterdir())
    assert (other / "sign").read_text() == "kept"
    check_folder(tmp_path / "free", "sign")
    check_folder(other, "sign")


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / "checkpoints").mkdir()
    gone = [f".{dead.pid}.tmp.a.png", f"checkpoints/.state.new.pth.{dead.pid}.tmp"]
    gone += [".losses.png.tmp", ".summary.txt.tmp", f".real.npz.{dead.pid}.tmp.npz"]
    stay = [f".{os.getppid()}.tmp.a.png", ".tmp.notes", "a.tmp"]
    for name in gone + stay:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} == set(stay)


# --------------------------------------------------------------------------------------------------
# Folders


def test_json_is_written_whole(tmp_path):
    write_json(tmp_path / "new" / "results.json", {"a": [1, None]})
    assert json.loads((tmp_path / "new" / "results.json").read_text()) == {"a": [1, None]}
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=rf"--log_dir {tmp_path}/file/run: cannot be written"):
        make_folder(tmp_path / "file" / "run", "--log_dir")
    with pytest.raises(InputError, match=rf"--log_dir {tmp_path}/file: cannot be written"):
        make_folder(tmp_path / "file", "--log_dir")
    made = make_folder(tmp_path / "a" / "b", "--log_dir")
    assert made.is_dir() and not list(made.iterdir())


def test_other_settings_are_refused_naming_flag_and_both_values(tmp_path):
    settings = {"script": "train.py", "lr": 2e-4, "betas": (0.5, 0.999), "meta": None}
    claim_folder(tmp_path, settings, "--log_dir")
    claim_folder(tmp_path, settings, "--log_dir")
    claim_folder(tmp_path, {k: v for k, v in settings.items() if k != "meta"}, "--log_dir")
    with pytest.raises(
        InputError, match=rf"--log_dir {tmp_path} holds .*`lr` 0\.1 \(was 0\.0002\)"
    ):
        claim_folder(tmp_path, settings | {"lr": 0.1}, "--log_dir")
    with pytest.raises(InputError, match=r"`seed` 1 \(was None\)"):
        claim_folder(tmp_path, settings | {"seed": 1}, "--log_dir")
    with pytest.raises(InputError, match=r"holds a run of train\.py; choose another folder"):
        claim_folder(tmp_path, settings | {"script": "distill.py"}, "--log_dir")


def test_equal_settings_are_accepted(tmp_path):
    check_settings({"a": 1, "b": None}, {"a": 1}, tmp_path, "--log_dir")


def test_a_flag_that_came_later_and_is_off_does_not_matter(tmp_path):
    check_settings({"a": 1}, {"a": 1, "new": False}, tmp_path, "--log_dir")
    for value in (True, 0, 0.0):
        with pytest.raises(InputError, match="`new`"):
            check_settings({"a": 1}, {"a": 1, "new": value}, tmp_path, "--log_dir")


@pytest.mark.parametrize("content", ["", "garbage", "[1, 2]", None])
def test_damaged_settings_are_named_with_a_remedy(tmp_path, content):
    path = tmp_path / "settings.json"
    path.mkdir() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=rf"{path}: damaged.*choose another folder"):
        claim_folder(tmp_path, {"script": "search.py"}, "--output_dir")


def test_a_test_and_a_timing_share_a_folder(tmp_path):
    for name in ("results.csv", "latency.json"):
        (tmp_path / name).touch()
    for script in ("test.py", "latency.py"):
        take_folder(tmp_path, script, "--results_dir")
    with pytest.raises(InputError, match=r"--log_dir .* holds a run of \w+\.py"):
        take_folder(tmp_path, "train.py", "--log_dir")


def take_elsewhere(folder) -> str:
    """What another process says when it takes a folder; nothing when it may."""
    code = (
        "import sys; from pathlib import Path; from runtime.folders import take_folder\n"
        "take_folder(Path(sys.argv[1]), 'train.py', '--log_dir')"
    )
    command = [sys.executable, "-c", code, folder]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr


def test_a_taken_folder_is_free_again_after_its_release(tmp_path):
    take_folder(tmp_path, "train.py", "--log_dir")
    take_folder(tmp_path, "train.py", "--log_dir")
    assert f"--log_dir {tmp_path}: another run is writing there" in take_elsewhere(tmp_path)
    release_folders()
    assert take_elsewhere(tmp_path) == ""
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------
# ----------
# Scripts


def test_a_full_disk_anywhere_ends_in_one_line(capsys):
    def main():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "images.csv")

    with pytest.raises(SystemExit) as stop:
        entry.run(main)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: images.csv could not be written")


def test_a_script_releases_its_folders_however_it_ends(tmp_path):
    def main():
        take_folder(tmp_path, "train.py", "--log_dir")
        raise InputError("wrong")

    with pytest.raises(SystemExit):
        entry.run(main)
    assert take_elsewhere(tmp_path) == ""
