"""Numbers and tables as text."""

import csv
import io

from report.tables import csv_table, giga, markdown_table, measured, mega, ratio, text_table


def test_numbers():
    assert (giga(56831770624), mega(11378179)) == ("56.832G", "11.378M")
    assert (ratio(56.8e9, 4.6e9), ratio(1, 0)) == ("12.3x", "-")


def test_columns_are_aligned():
    lines = text_table(["model", "FID"], [["teacher", "24.12"], ["a", "5.1"]]).splitlines()
    assert lines == ["model      FID", "-------  -----", "teacher  24.12", "a          5.1"]


def test_markdown():
    assert markdown_table(["a", "b"], [[1, 2]]).splitlines() == [
        "| a | b |",
        "| --- | ---: |",
        "| 1 | 2 |",
    ]


def test_markdown_keeps_its_columns_whatever_a_name_holds():
    assert markdown_table(["a"], [["x|y"]]).splitlines()[-1] == r"| x\|y |"


def test_csv_is_read_back_as_it_was():
    rows = [["a, b", 0.1 + 0.2, None], ['c "d"', 3, "é"]]
    found = list(csv.reader(io.StringIO(csv_table(["name", "x", "y"], rows))))
    assert found == [["name", "x", "y"], ["a, b", "0.30000000000000004", ""], ['c "d"', "3", "é"]]


def test_measures_have_the_digits_that_they_need():
    assert (measured("fid", 24.118), measured("kid", 0.00123)) == ("24.12", "0.00123")
