"""Numbers and tables as text."""

from report.tables import giga, markdown_table, mega, ratio, text_table


def test_numbers():
    assert (giga(56831770624), mega(11378179)) == ("56.832G", "11.378M")
    assert (ratio(56.8e9, 4.6e9), ratio(1, 0)) == ("12.3x", "-")


def test_columns_are_aligned():
    lines = text_table(["model", "FID"], [["teacher", "24.12"], ["a", "5.1"]]).splitlines()
    assert lines == ["model      FID", "-------  -----", "teacher  24.12", "a          5.1"]


def test_markdown():
    assert markdown_table(["a", "b"], [[1, 2]]).splitlines() == ["| a | b |", "| --- | ---: |", "| 1 | 2 |"]
