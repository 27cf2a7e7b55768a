"""Files a run leaves: lines that survive a crash, folders that belong to one run."""

import json

import pytest

from errors import InputError
from runtime.files import JsonLines, read_json_lines, write_json
from runtime.folders import check_settings, claim_folder, make_folder

# ------------------------------------------------------------------------------------------------------------
# Lines


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
    """The log was deleted or lost its end: rewinding to where it once was must not fill the gap with zeros."""
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


# ------------------------------------------------------------------------------------------------------------
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
        with pytest.raises(InputError, match="--new"):
            check_settings({"a": 1}, {"a": 1, "new": value}, tmp_path, "--log_dir")
