"""Tables for a terminal, to the character."""

from tfbs_shift.text import aligned


def test_a_second_line_of_a_cell_stands_below():
    table = [["network", "none", "worst"], ["a", "0.9\n0.8-1.0", "0.5"], ["longer one", "1", ""]]
    assert aligned(table).split("\n") == [
        "network        none  worst",
        "----------  -------  -----",
        "a               0.9    0.5",
        "            0.8-1.0",
        "longer one        1",
    ]


def test_columns_at_the_left_and_remarks():
    table = [["layer", "class", "FLOPs", "run"], ["x", "Flatten", "", "each time, as it is"]]
    table += [["dense_1", "Dense", "12", ""]]
    assert aligned(table, left=2, remarks=True).split("\n") == [
        "layer    class    FLOPs  run",
        "-------  -------  -----",
        "x        Flatten         each time, as it is",
        "dense_1  Dense       12",
    ]
