"""Modes of a search: the front, patience, the predictor, lower precision, selection; refusals."""

import json

import pytest


def summary(folder) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_the_whole_front_in_one_run(call, tmp_path, search_flags, read_lines):
    size = ("--population_size", 8, "--evolution_iters", 2, "--parent_ratio", 0.5)
    call(
        "evolution_search.py",
        *search_flags,
        *size,
        "--objective",
        "pareto",
        "--output_dir",
        tmp_path / "s",
    ).succeeded()
    records = read_lines(tmp_path / "s" / "evaluations.jsonl")
    front = summary(tmp_path / "s")["front"]
    macs, fids = [r["macs"] for r in front], [r["metrics"]["fid"] for r in front]
    assert macs == sorted(macs) and fids == sorted(fids, reverse=True)
    for record in records:  # nothing beats a member of the front in both
        assert any(
            m <= record["macs"] and f <= record["metrics"]["fid"]
            for m, f in zip(macs, fids, strict=True)
        )
    page = (tmp_path / "s" / "index.html").read_text()
    assert "sortable" in page and "front.png" in page and (tmp_path / "s" / "front.png").is_file()
    assert all(r["config_str"] in page for r in records)

    # The same file answers for any budget.
    budget = macs[len(macs) // 2]
    outcome = call(
        "search.py", "--select", budget, tmp_path / "s" / "evaluations.jsonl"
    ).succeeded()
    assert front[len(macs) // 2]["config_str"] in outcome.stdout
    outcome = call("search.py", "--select", 1000, tmp_path / "s" / "evaluations.jsonl")
    assert outcome.returncode == 2 and f"{min(r['macs'] for r in records):,}" in outcome.stderr


def test_selection_merges_searches(call, tmp_path, evolution, read_lines):
    records = read_lines(evolution / "evaluations.jsonl")
    halves = [records[::2], records[1::2]]
    for i, half in enumerate(halves):
        (tmp_path / f"{i}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in half))
    outcome = call(
        "search.py", "--select", 1e18, tmp_path / "0.jsonl", tmp_path / "1.jsonl"
    ).succeeded()
    assert min(records, key=lambda r: r["metrics"]["fid"])["config_str"] in outcome.stdout
    assert call("search.py", "--select", 1e18, tmp_path / "none.jsonl").returncode == 2


def test_the_predictor_measures_a_share_and_predictions_are_no_results(
    call, tmp_path, search_flags, read_lines
):
    size = ("--population_size", 20, "--evolution_iters", 3, "--predictor", "--budget", 4e7)
    call("evolution_search.py", *search_flags, *size, "--output_dir", tmp_path / "s").succeeded()
    records = read_lines(tmp_path / "s" / "evaluations.jsonl")
    assert len(records) == 4 * 4  # a fifth of 20 in each of 4 generations
    assert all("predicted" not in json.dumps(r) and r["n"] == 6 for r in records)
    fits = json.loads((tmp_path / "s" / "predictor.json").read_text())
    assert [f["generation"] for f in fits] == [0, 1, 2]
    assert all(
        -1 <= f["spearman_unseen"] <= 1 for f in fits[1:] if f["spearman_unseen"] is not None
    )
    outcome = call(
        "evolution_search.py",
        *search_flags,
        *size,
        "--objective",
        "pareto",
        "--output_dir",
        tmp_path / "t",
    )
    assert outcome.returncode == 2 and "--predictor" in outcome.stderr


def test_patience_and_precision(call, tmp_path, search_flags, read_lines):
    size = ("--population_size", 4, "--evolution_iters", 40, "--budget", 4e7, "--patience", 1)
    outcome = call(
        "evolution_search.py", *search_flags, *size, "--output_dir", tmp_path / "s"
    ).succeeded()
    records = read_lines(tmp_path / "s" / "evaluations.jsonl")
    assert "no better configuration for 1 generations" in outcome.stdout
    assert max(r["generation"] for r in records) < 40
    # bfloat16 measures nearly the same; a folder keeps to one precision.
    call(
        "evolution_search.py", *search_flags, *size, "--amp", "bf16", "--output_dir", tmp_path / "b"
    ).succeeded()
    other = {
        r["config_str"]: r["metrics"]["fid"]
        for r in read_lines(tmp_path / "b" / "evaluations.jsonl")
    }
    for r in records[:4]:
        assert other[r["config_str"]] == pytest.approx(r["metrics"]["fid"], rel=0.1)
    outcome = call(
        "evolution_search.py", *search_flags, *size, "--amp", "bf16", "--output_dir", tmp_path / "s"
    )
    assert outcome.returncode == 2 and "--amp" in outcome.stderr


# --------------------------------------------------------------------------------------------------
# Nothing is mixed, and what cannot be searched by says so


def refused(outcome, *words) -> None:
    assert outcome.returncode == 2, outcome.stderr
    line = outcome.stderr.splitlines()[-1]
    assert "error: " in line and "Traceback" not in outcome.stderr
    for word in words:
        assert str(word) in line


def test_evaluations_measured_otherwise_are_refused_by_their_flags(
    call, tmp_path, evolution, search_flags, snapshot
):
    """To restore from, to continue, to choose from."""
    earlier = tmp_path / "earlier" / "evaluations.jsonl"
    earlier.parent.mkdir()
    earlier.write_bytes((evolution / "evaluations.jsonl").read_bytes())
    before = snapshot(earlier.parent)
    flags = (*search_flags, "--budget", 2.3e7, "--num_test", 4)
    restore = (*flags, "--restore_pkl_path", earlier)
    outcome = call("evolution_search.py", *restore, "--output_dir", tmp_path / "new")
    refused(outcome, f"--restore_pkl_path {earlier}", "`n` 6, not 4", "images")
    assert not [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    refused(call("search.py", *flags, "--output_path", earlier), earlier, "`n` 6, not 4")
    outcome = call("search.py", *flags, "--fid_dims", 192, "--output_path", earlier)
    refused(outcome, "--fid_dims 64, not 192")
    assert snapshot(earlier.parent) == before

    other = tmp_path / "other"
    outcome = call("search.py", *flags, "--output_path", other).succeeded()
    assert f"written to {other}.jsonl" in outcome.stdout and (other / "summary.json").is_file()
    # The same command continues.
    call("search.py", *flags, "--output_path", other).succeeded()
    refused(call("search.py", "--select", 1e9, earlier, f"{other}.jsonl"), "--select", "`n` 4, not")


def test_a_search_by_what_is_not_measured_says_which_flag_to_give(
    call, tmp_path, dataset, search_flags
):
    out = ("--output_dir", tmp_path / "s")
    images = ("--dataset_mode", "single", "--dataroot", dataset / "val")
    outcome = call("evolution_search.py", *search_flags, *images, *out)
    refused(outcome, "no real images to search by", "--real_stat_path")
    assert not [path for path in (tmp_path / "s").rglob("*") if path.is_file()]
    # Cityscapes' recipe without its weights.
    by_miou = (*search_flags, "--criterion", "mIoU", *out)
    for more in (("--no_mIoU",), ("--drn_path", tmp_path / "none.pth")):
        refused(call("evolution_search.py", *by_miou, *more), "--criterion fid")
