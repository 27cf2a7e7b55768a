"""Evaluations on disk, and searches that were killed and go on as if they had not been."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import InputError
from models.config import ChannelConfig
from subnets.genetic import GeneticSearch, GeneticSettings
from subnets.objectives import ByFront, ByScore
from subnets.results import Evaluated, Results, read_evaluations, write_summary
from subnets.search import Measurer, evolve, exhaust, pareto_front
from subnets.space import SearchSpace

SPACE = SearchSpace("channels-48")
BUDGET = 5e9
SMALL = GeneticSettings(population_size=8, seed=5)


def record(name: str = "16_16_16_16_16_16_16_16", fid: float = 1.5, **kwargs) -> Evaluated:
    return Evaluated(name, 10, 5, {"fid": fid}, 300, 0.25, **kwargs)


def quality(config: ChannelConfig) -> float:
    return (hash((config.genes, 7)) % 10007) / 97  # 97: not exact in decimal, as real distances are


class Killed(BaseException):
    """What a signal or a lost machine does: nothing gets to clean up."""


def measurer(
    path, kill_at: int | None = None, space=SPACE, capacity=10_000_000, sign=1, **kwargs
) -> Measurer:
    calls = []

    def measure(config):
        if kill_at is not None and len(calls) == kill_at:
            raise Killed
        calls.append(str(config))
        return {"fid": sign * quality(config), "n": 300, "seconds": 0.0}

    made = Measurer(
        space, measure, Results(path, capacity), "fid", sign == 1, "FID (test)", **kwargs
    )
    made.calls = calls
    return made


def run_genetic(
    made: Measurer, budget=BUDGET, genetic=SMALL, generations=4, **kwargs
) -> list[Evaluated]:
    """The search for one best subnet, and its ranking."""
    search = GeneticSearch(made.space, budget, genetic, ByScore(made.score))
    evolve(search, made, generations, **kwargs)
    return made.ranked(budget)


def run_all(made: Measurer, budget: float, *args) -> list[Evaluated]:
    exhaust(made, budget, *args)
    return made.ranked(budget)


# --------------------------------------------------------------------------------------------------
# Results


def test_what_is_added_is_read_back(tmp_path):
    path = tmp_path / "evaluations.jsonl"
    first, second = (
        record(fid=0.1 + 0.2),
        record("8_8_8_8_8_8", 2.0, generation=3, origin="crossover", parents=["a", "b"]),
    )
    results = Results(path)
    results.add(first)
    results.add(second)
    assert list(results) == list(Results(path)) == read_evaluations(path) == [first, second]
    assert "8_8_8_8_8_8" in results and "9_9_9_9_9_9" not in results and len(results) == 2
    assert Results(path)[first.config_str].metrics["fid"] == 0.1 + 0.2


def test_lines_are_appended_to_what_is_there(tmp_path):
    path = tmp_path / "evaluations.jsonl"
    Results(path).add(record("a"))
    Results(path).add(record("b"))
    assert [r.config_str for r in read_evaluations(path)] == ["a", "b"]


def test_a_line_cut_off_is_repaired_when_it_is_opened_again(tmp_path):
    path = tmp_path / "evaluations.jsonl"
    results = Results(path)
    results.add(record("a"))
    results.add(record("b"))
    whole = path.read_bytes()
    first_line = whole.index(b"\n") + 1
    for cut in (first_line, first_line + 1, first_line + 20, len(whole) - 1):
        path.write_bytes(whole[:cut])
        reopened = Results(path)
        assert [r.config_str for r in reopened] == ["a"]
        reopened.add(record("c"))
        assert [r.config_str for r in read_evaluations(path)] == ["a", "c"]
    path.write_bytes(whole[:5])
    assert list(Results(path)) == [] and path.read_bytes() == b""


def test_adopting_remembers_without_writing(tmp_path):
    path = tmp_path / "evaluations.jsonl"
    results = Results(path)
    results.add(record("a", 1.0))
    results.adopt(record("a", 9.0))
    results.adopt(record("b", 2.0))
    assert results["a"].metrics["fid"] == 1.0 and "b" in results
    assert [r.config_str for r in read_evaluations(path)] == ["a"]


def test_the_oldest_is_forgotten_beyond_the_capacity(tmp_path):
    path = tmp_path / "evaluations.jsonl"
    results = Results(path, capacity=2)
    for name in "abc":
        results.add(record(name))
    assert [r.config_str for r in results] == ["b", "c"]
    assert [r.config_str for r in read_evaluations(path)] == ["a", "b", "c"]
    assert len(Results(path, capacity=2)) == 2


@pytest.mark.parametrize(
    "content",
    [
        '{"config_str": "a"}\n',
        '{"step": 1}\n',
        "[1, 2]\n",
        "12\n",
        "text\nmore\n",
        b"\xff\xfe\x00\n{}\n",
    ],
)
def test_other_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "evaluations.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=f"{path}"):
        read_evaluations(path)


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "result.pkl"
    path.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InputError, match=rf"{path}: pickles are not read .*evaluations\.jsonl"):
        read_evaluations(path)
    with pytest.raises(InputError, match=r"none\.jsonl: no such file"):
        read_evaluations(tmp_path / "none.jsonl")


def test_a_summary_holds_the_best_ten(tmp_path):
    ranked = [record(f"{i}_1_1_1_1_1_1_1", float(i)) for i in range(1, 15)]
    write_summary(
        tmp_path, ranked, ranked[:2], {"budget": 5e9, "evaluated": 14}, "fid", "FID (test)"
    )
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["budget"] == 5e9 and summary["measure"] == "FID (test)"
    assert [r["metrics"]["fid"] for r in summary["best"]] == list(range(1, 11))
    assert [r["metrics"]["fid"] for r in summary["front"]] == [1, 2]
    text = (tmp_path / "summary.txt").read_text()
    assert "10_1_1_1_1_1_1_1" in text and "11_1_1_1_1_1_1_1" not in text and "FID (test)" in text
    assert len(list(tmp_path.iterdir())) == 2


# --------------------------------------------------------------------------------------------------
# Evolution


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search of five generations that was never killed."""
    path = tmp_path_factory.mktemp("whole") / "evaluations.jsonl"
    made = measurer(path)
    return path, run_genetic(made), made.calls


def test_every_evaluation_is_recorded_once(whole):
    path, ranked, calls = whole
    records = read_evaluations(path)
    assert [r.config_str for r in records] == calls
    assert len(set(calls)) == len(calls) == 5 * 8 == len(ranked)
    assert [r.generation for r in records] == [g for g in range(1, 6) for _ in range(8)]
    for r in records:
        config = ChannelConfig.parse(r.config_str)
        assert (r.macs, r.params) == SPACE.cost(config) and r.macs <= BUDGET
        assert r.metrics == {"fid": quality(config)} and r.n == 300
        assert (r.origin == "random") == (r.generation == 1) == (not r.parents)


def test_the_result_is_everything_best_first(whole):
    _, ranked, calls = whole
    assert [r.metrics["fid"] for r in ranked] == sorted(
        quality(ChannelConfig.parse(c)) for c in calls
    )


@settings(max_examples=12)
@given(st.lists(st.integers(0, 45), min_size=1, max_size=3), st.integers(0, 60))
def test_a_killed_search_goes_on_as_if_it_had_not_been(whole, tmp_path_factory, kills, torn):
    """Killed after any number of measurements, several times, the last line perhaps cut off."""
    path, ranked, _ = whole
    again = tmp_path_factory.mktemp("killed") / "evaluations.jsonl"
    for kill_at in kills:
        made = measurer(again, kill_at)
        try:
            run_genetic(made)
        except Killed:
            made.results._log.close()
            if torn < 40:
                content = again.read_bytes()
                again.write_bytes(content[: max(0, len(content) - torn)])
    resumed = measurer(again)
    assert run_genetic(resumed) == ranked
    assert again.read_bytes() == path.read_bytes()
    assert resumed.best == ranked[0]


def test_a_finished_search_measures_nothing_again(whole):
    path, ranked, _ = whole
    before = path.read_bytes()
    made = measurer(path, kill_at=0)
    assert run_genetic(made) == ranked
    assert path.read_bytes() == before


def test_more_generations_continue_a_finished_search(whole, tmp_path):
    path, _, calls = whole
    longer = tmp_path / "evaluations.jsonl"
    longer.write_bytes(path.read_bytes())
    made = measurer(longer)
    run_genetic(made, generations=5)
    in_one_go = measurer(tmp_path / "other.jsonl")
    run_genetic(in_one_go, generations=5)
    assert calls + made.calls == in_one_go.calls
    assert longer.read_bytes() == (tmp_path / "other.jsonl").read_bytes()


def test_higher_may_be_better(tmp_path):
    made = measurer(tmp_path / "evaluations.jsonl", sign=-1)
    ranked = run_genetic(made, generations=2)
    values = [r.metrics["fid"] for r in ranked]
    assert values == sorted(values, reverse=True) and made.best == ranked[0]
    lower = measurer(tmp_path / "lower.jsonl")
    run_genetic(lower, generations=2)
    assert made.calls == lower.calls


def test_a_small_space_is_exhausted_and_the_search_ends(tmp_path):
    made = measurer(tmp_path / "evaluations.jsonl", space=SearchSpace("test"))
    ranked = run_genetic(made, float("inf"), GeneticSettings(population_size=2), 100)
    assert len(ranked) == len(made.calls) == 4


def test_an_impossible_budget_ends_at_once(tmp_path):
    made = measurer(tmp_path / "evaluations.jsonl")
    for search in (lambda: run_genetic(made, 1.0), lambda: exhaust(made, 1.0)):
        with pytest.raises(InputError, match=r"`budget` 1: .* must be between"):
            search()
    assert made.calls == []


def test_a_search_may_start_from_the_best_of_an_earlier_one(tmp_path):
    start = [
        ChannelConfig.parse("32_32_32_32_32_32_16_16"),
        SPACE.largest,
    ]  # the second is over budget
    made = measurer(tmp_path / "evaluations.jsonl")
    run_genetic(made, generations=2, generation_base=7, start=start)
    records = read_evaluations(tmp_path / "evaluations.jsonl")
    assert (records[0].config_str, records[0].origin) == (str(start[0]), "restored")
    assert str(SPACE.largest) not in made.calls
    assert {r.generation for r in records} == {7, 8, 9}


def test_evaluations_adopted_from_elsewhere_are_not_measured_again(whole, tmp_path):
    path, ranked, calls = whole
    made = measurer(tmp_path / "evaluations.jsonl")
    for r in read_evaluations(path)[:20]:
        made.results.adopt(r)
    assert run_genetic(made) == ranked
    assert made.calls == calls[20:]


def test_a_small_memory_does_not_break_the_search(whole, tmp_path):
    """``max_cache_size`` below what a generation needs: what is forgotten may be measured again, no more."""
    _, ranked, _ = whole
    made = measurer(tmp_path / "evaluations.jsonl", capacity=4)
    assert run_genetic(made)[0] == ranked[0]


def test_every_new_result_is_told(tmp_path):
    told = []
    run_genetic(measurer(tmp_path / "evaluations.jsonl", on_result=told.append), generations=1)
    assert told == list(range(1, 17))


def test_patience_ends_a_search_that_stands_still(tmp_path):
    """All are equally good but the first: no later generation brings a new best."""
    first = []

    def measure(config):
        first.append(config)
        return {"fid": 1.0 if config == first[0] else 2.0, "n": 2, "seconds": 0.0}

    made = Measurer(SPACE, measure, Results(tmp_path / "evaluations.jsonl"), "fid", True)
    run_genetic(made, generations=50, patience=3)
    assert {r.generation for r in made.results} == {1, 2, 3, 4}


def test_patience_waits_while_the_front_still_moves(tmp_path):
    """Searching for the best of every budget: a new member of the front is progress, wherever on it."""
    folder = tmp_path
    made = measurer(folder / "evaluations.jsonl")
    search = GeneticSearch(SPACE, BUDGET, SMALL, ByFront(made.score, lambda c: SPACE.cost(c)[0]))
    evolve(search, made, 40, patience=2)
    records = read_evaluations(folder / "evaluations.jsonl")
    last = max(r.generation for r in records)
    before = [r for r in records if r.generation <= last - 2]
    front = pareto_front(records, "fid", True)
    assert last == 41 or set(map(repr, front)) == set(map(repr, pareto_front(before, "fid", True)))


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=12),
    st.booleans(),
)
def test_the_front_is_what_nothing_beats_in_both(points, lower_is_better):
    sign = 1 if lower_is_better else -1
    records = [
        Evaluated(str(i), macs, 1, {"q": sign * q}, 2, 0.0) for i, (macs, q) in enumerate(points)
    ]
    front = pareto_front(records, "q", lower_is_better)
    found = [(r.macs, sign * r.metrics["q"]) for r in front]
    beaten = {p for p in points if any(o != p and o[0] <= p[0] and o[1] <= p[1] for o in points)}
    assert found == sorted(set(points) - beaten)


# --------------------------------------------------------------------------------------------------
# Brute force


def test_all_within_the_budget_are_measured(tmp_path):
    budget = sorted(SPACE.macs)[25]
    made = measurer(tmp_path / "evaluations.jsonl")
    ranked = run_all(made, budget)
    assert len(ranked) == len(made.calls) == 26 and all(r.macs <= budget for r in ranked)
    assert {r.origin for r in ranked} == {"exhaustive"}
    assert [r.metrics["fid"] for r in ranked] == sorted(r.metrics["fid"] for r in ranked)


def test_splits_share_the_work(tmp_path):
    budget = sorted(SPACE.macs)[25]
    parts = []
    for split in range(3):
        made = measurer(tmp_path / f"{split}.jsonl")
        exhaust(made, budget, 3, split)
        parts.append(made.calls)
    assert sorted(map(len, parts)) == [8, 9, 9]
    every = measurer(tmp_path / "all.jsonl")
    exhaust(every, budget)
    assert sorted(name for part in parts for name in part) == sorted(every.calls)


def test_brute_force_goes_on_where_it_was_killed(tmp_path):
    budget = sorted(SPACE.macs)[25]
    path = tmp_path / "evaluations.jsonl"
    with pytest.raises(Killed):
        exhaust(measurer(path, 10), budget)
    made = measurer(path)
    assert len(run_all(made, budget)) == 26 and len(made.calls) == 16
