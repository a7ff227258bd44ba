"""Tables as spreadsheets, R and pandas write them, and what goes wrong in them."""

import csv
import gzip
import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfbs_shift import InputError, data, sequences

PLAIN = "sequence,label\nACGT,1\nTTTT,0\n"


def load(tmp_path, text, name="a.csv", **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return data.load(path, **options)


def letters_and_labels(examples):
    return sequences.decode(examples.codes), examples.y[:, 1].tolist()


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "\ufeff" + PLAIN,
        PLAIN.replace(",", "\t"),
        "\ufeff" + PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.encode("utf-16"),  # a mark, then little-endian
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),  # Excel's Unicode text
        gzip.compress(("\ufeff" + PLAIN).encode()),
        gzip.compress(PLAIN.encode("utf-16")),
        gzip.compress(PLAIN[:20].encode()) + gzip.compress(PLAIN[20:].encode()),  # as bgzip's
        '"sequence","label"\n"ACGT","1"\n"TTTT","0"\n',
        '"sequence"\t"label"\n"ACGT"\t"1"\n"TTTT"\t"0"\n',
        '"sequence", "label"\n"ACGT", "1"\n"TTTT", "0"\n',
        " Sequence , LABEL\u00a0\n ACGT\u00a0, 1\nTTTT,0 ",
        "sep=;\nsequence;label\nACGT;1\nTTTT;0\n",
        '"sep=,"\r\n' + PLAIN,
        "sep=\t\nsequence\tlabel\nACGT\t1\nTTTT\t0\n",
        ",sequence,label\n0,ACGT,1\n1,TTTT,0\n",  # pandas with its index
        '"","sequence","label"\n"1","ACGT",1\n"2","TTTT",0\n',  # R with col.names=NA
        "\n\n" + PLAIN.replace("\nT", "\n\n  \nT") + "\n \n",
        PLAIN + ",\n,\n",  # rows that a spreadsheet had formatted
        "sequence,label,\nACGT,1,\nTTTT,0,\n",
        "# made by x, in 2020\n#\n" + PLAIN,
        "#label\tid\tsequence\n1\t#a\tACGT\n0\tb\tTTTT\n",
        "## columns: sequence\n# label,sequence\n1,ACGT\n0,TTTT\n",
        "note,note,sequence,label,note\na,b,ACGT,1,\n,,TTTT,0,\n",
        'a;b,sequence,label\nx,ACGT,1\n"x,y",TTTT,0\n',
        "sequence,label,value; log2\nACGT,1,2\nTTTT,0,2\n",
    ],
)
def test_what_a_table_says(tmp_path, text):
    assert letters_and_labels(load(tmp_path, text)) == (["ACGT", "TTTT"], [1, 0])
    assert letters_and_labels(load(tmp_path, text, "a.tsv")) == (["ACGT", "TTTT"], [1, 0])


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path, mark):
    def written(name, text):
        path = tmp_path / name
        path.write_bytes(text.encode(mark))
        return path

    assert data.load(written("a.csv", "name,sequence\nx,ACG\n")).names.tolist() == ["x"]
    assert data.load(written("a.data", ">x ACG 1\n")).names.tolist() == ["x"]
    assert data.load(written("a.fa", ">x\nACG\n")).names.tolist() == ["x"]
    genome = tmp_path / "g.fa"
    genome.write_text(">chr1\nACGTACGT\n")
    bed = written("a.bed", "chr1\t1\t4\n")
    assert data.load((bed, genome)).intervals.chrom.tolist() == ["chr1"]
    both = tmp_path / "both.fa"  # cat a.fa b.fa
    both.write_bytes(b"".join(f">{name}\nACG\n".encode("utf-8-sig") for name in "xy"))
    assert data.load(both).names.tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLAIN.encode("utf-16-le"), "line 1: a NUL byte: UTF-16 without its mark"),
        (PLAIN.replace("1", "\0").encode(), "line 2: a NUL byte"),
        ("séquence,label\n".encode("latin-1"), "not a text file in UTF-8 .*: save it as such"),
        (PLAIN.encode("utf-16")[:-1], "not a text file in UTF-8"),
    ],
)
def test_other_encodings_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"a\.csv: {message}") as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)


def test_quotes_of_a_tsv(tmp_path):
    """A quote is one of a writer only where it would stand in a file that a writer wrote."""
    fields = [
        ('"', '"'),
        ('5"', '5"'),
        ('"5 prime', '"5 prime'),
        ('3"prime"', '3"prime"'),
        ('a"b', 'a"b'),
        ('"c""d"', 'c"d'),
        ('"a"b"', '"a"b"'),
        ('"plain"', "plain"),
        ('"with\ttab"', "with\ttab"),
        ('"""', '"""'),
        ('"""e"', '"e'),
        ("'single'", "'single'"),
    ]
    text = "id\tsequence\tlabel\n" + "".join(
        f"{written}\tACG{'ACGT'[i % 4]}\t{i % 2}\n" for i, (written, _) in enumerate(fields)
    )
    examples = load(tmp_path, text, "a.tsv")
    assert examples.names.tolist() == [meant for _, meant in fields]
    assert examples.y[:, 1].tolist() == [0, 1] * 6


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@given(
    st.lists(
        st.text(st.sampled_from('ab ",;\t5'), max_size=8).map(lambda word: word.strip()),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)
def test_what_a_writer_writes_is_read(tmp_path_factory, delimiter, words, quoting):
    """Against Python's own writer: every row comes back, with what stood in it."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting)
    names = [f"{word}{i}" for i, word in enumerate(words)]
    writer.writerow(["note", "sequence", "id", "label"])
    for i, (word, name) in enumerate(zip(words, names, strict=True)):
        writer.writerow([word, "ACGT", name, i % 2])
    path = tmp_path_factory.mktemp("t") / "a.csv"
    path.write_text(out.getvalue(), newline="")
    examples = data.load(path)
    assert examples.names.tolist() == names
    assert examples.y[:, 1].tolist() == [i % 2 for i in range(len(words))]


_NOTES = st.lists(st.text(st.sampled_from("a\"' "), max_size=5), min_size=1, max_size=8)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@given(_NOTES, _NOTES)
def test_no_row_is_lost(tmp_path_factory, delimiter, before, behind):
    """Whatever quotes people leave in notes: as many rows as lines, or a line that says why not."""
    lines = [["note", "sequence", "key"]]
    lines += [[a, "ACGT", b] for a, b in zip(before, behind, strict=False)]
    path = tmp_path_factory.mktemp("t") / "a.csv"
    path.write_text("".join(delimiter.join(fields) + "\n" for fields in lines))
    try:
        examples = data.load(path)
    except InputError as error:
        assert delimiter != "\t"  # where quotes mean nothing
        assert re.search("a quoted field that does not close|want 3 fields", str(error))
    else:
        assert len(examples) == len(lines) - 1


def test_line_breaks_in_a_field(tmp_path):
    text = 'sequence,label,note\nACGT,1,"two\nlines, ""here"""\nTTTT,0,"and\n\nthree"\nGGGG,1,\n'
    examples = load(tmp_path, text)
    assert letters_and_labels(examples) == (["ACGT", "TTTT", "GGGG"], [1, 0, 1])
    examples = load(tmp_path, 'note,id,sequence\n"x\ny",a,ACGT\nz,b,TTTT\n')
    assert examples.names.tolist() == ["a", "b"]
    swallowed = "line 3: a quoted field that does not close before the next row: want quotes"
    for text in (
        'id,sequence,label\na,ACGT,1\n"b,ACGT,1\nc",ACGT,0\n',
        'id,sequence,label\na,ACGT,1\n"b,ACGT,1\nc,ACGT,0\nd",ACGT,0\n',
        'id,sequence,label\na,ACGT,1\n"b,ACGT,1\n',
        'id,sequence,label\na,ACGT,1\n"b"c,ACGT,1\n',
        'sequence\nACGT\n"ACGT\nTTTT"\n',
    ):
        with pytest.raises(InputError, match=swallowed):
            load(tmp_path, text)
    with pytest.raises(InputError, match="line 2: want 3 fields, as the header has, not 2"):
        load(tmp_path, 'id\tsequence\tnote\na\t"ACGT\nTTTT"\tx\n')


def test_long_sequences(tmp_path):
    """Longer than the 131,072 letters at which Python's csv stops, quoted or not."""
    limit = csv.field_size_limit()
    rng = np.random.default_rng(0)
    long = [sequences.decode(rng.integers(0, 4, 200_000)) for _ in range(3)]
    for quote, delimiter in (("", ","), ('"', ","), ('"', "\t")):
        rows = "".join(f"{quote}{text}{quote}{delimiter}1\n" for text in long)
        assert sequences.decode(load(tmp_path, f"sequence{delimiter}label\n{rows}").codes) == long
    assert csv.field_size_limit() == limit


def test_names_that_repeat(tmp_path):
    text = "id,name,sequence,label\na,SP1,ACGT,1\nb,SP1,TTTT,0\n"
    examples = load(tmp_path, text)
    assert examples.names.tolist() == ["a", "b"]
    assert examples.notes == ("a.csv: names from column 'id' ('name' repeats some)",)
    unique = load(tmp_path, text.replace("b,SP1", "b,SP2"))
    assert unique.names.tolist() == ["SP1", "SP2"]
    assert unique.notes == ()
    numbers = load(tmp_path, "name,id,sequence,value\nx,1,ACGT,0.5\ny,2,TTTT,1.5\n")
    assert numbers.y.tolist() == [[0.5], [1.5]]  # ids are no labels
    message = "line 3: the name 'SP1' stands on line 2, too: .* column 'name', or another header"
    for old, new in (("b,", "a,"), ("id,", "key,")):
        with pytest.raises(InputError, match=message):
            load(tmp_path, text.replace(old, new))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # no header
        ("ACGTACGT,1\nTTTTTTTT,0\n", "line 1: 'ACGTACGT' is a sequence: want a header above it"),
        ("x\tacgtrnnnac\t1\n", "line 1: 'acgtrnnnac' is a sequence: want a header"),
        ("# made by x\nACGUACGU\nTTTTTTTT\n", "line 2: 'ACGUACGU' is a sequence: want a header"),
        ("# made by x\n", "line 1: want a header with the columns sequence and label"),
        (">x\nACGTACGT\n", "line 1: want a header .*; a FASTA is named .fa"),
        ("sequence,label\tx\nACG,1\t2\n", "line 1: columns parted by tabs and by ',': want one"),
        # other columns than meant
        ("sequence,label,sequence\nA,1,A\n", "line 1: 2 columns 'sequence': want one of that name"),
        ("sequence,label,label\nA,1,0\n", "line 1: 2 columns 'label': want one of that name"),
        ("# x\nbases,label\nACG,1\n", "line 2: no column has the sequences"),
        ("sequence label\nACG 1\n", "line 1: columns parted by blanks: want commas"),
        ('"sequence" "label"\n"1" "ACG" 1\n', "line 1: columns parted by blanks: want commas"),
        ("'sequence','label'\n'ACG','1'\n", "line 1: no column has the sequences"),
        # other numbers of fields
        (
            "sequence,label\n1,ACGT,1\n2,TTTT,0\n",
            r"line 2: want 2 fields, .*, not 3: row names of R\? write.table\(..., col.names=NA\)",
        ),
        ("sequence,label\nACGT,1,\n", "line 2: .* not 3: it ends with a delimiter that the header"),
        ("sequence,label\nACGT,1\nTTTT,0,\n", "line 3: want 2 fields, .* has, not 3$"),
        ("sequence,label\nACGT;1\n", "line 2: want 2 fields, .* has, not 1$"),
        ("sequence\tlabel\nACGT\t1\nTTTT,0\n", "line 3: want 2 fields, .* has, not 1$"),
        ("sequence,label\nACGT,1\n# the end\n", "line 3: want 2 fields"),
        ("sequence,label\nACGT,0,5\n", "line 2: want 2 fields, .* has, not 3"),
        ('"sequence,label\nACG,1\n', "line 1: a quote that does not close"),
        # labels that are none
        ("sequence,label\nACG,TRUE\n", "line 2: label 'TRUE': want 1 .* for true and 0 .* for"),
        ("sequence,bound\nACG,False\n", "line 2: label 'False' in column 'bound': want 1"),
        ("sequence,label\nACG,1\nACG,NA\n", "line 3: label 'NA': want 1 .* leave the row out"),
        ("sequence,label\nACG,2\nACG,NaN\n", "line 3: label 'NaN': want a number; leave the row"),
        (
            'sequence,label\nACG,"1,234"\n',
            "line 2: label '1,234': .* write 1234, or 1.234 if the comma",
        ),
        (
            "sequence;label\nACG;1,234,567.8\n",
            "line 2: label '1,234,567.8': want .* write 1234567.8$",
        ),
        # sequences that are none
        ("sequence,label\nACG T,1\n", "line 2: letter ' ' at position 4"),
        ("sequence,label\nACGU,1\n", "line 2: letter 'U' at position 4: RNA"),
        ("sequence,label\n'ACG',1\n", 'line 2: letter "\'" at position 1'),
        ('sequence\tlabel\n"ACG\t1\nACG"\t1\n', "line 2: letter '\"' at position 1"),
    ],
)
def test_mistakes(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"a\.csv: {message}") as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)


def test_flags_of_true_and_false_beside_numbers_are_no_labels(tmp_path):
    examples = load(tmp_path, "sequence,held_out,value\nACGT,TRUE,0.5\nTTTT,FALSE,2\n")
    assert examples.y.tolist() == [[0.5], [2]]
    assert examples.notes == ("a.csv: labels from column 'value'",)


@pytest.mark.parametrize(
    "column", ["Unnamed: 0", "index", "Chr", "chrom", "chromosome", "start", "end", "length"]
)
def test_an_index_and_places_are_no_labels(tmp_path, column):
    alone = load(tmp_path, f"{column},sequence\n1,ACGT\n2,TTTT\n")
    assert alone.labels is None
    beside = load(tmp_path, f"{column},sequence,value\n1,ACGT,0.5\n2,TTTT,2\n")
    assert beside.y.tolist() == [[0.5], [2]]
    named = data.load(tmp_path / "a.csv", label_column=f"{column},value")
    assert named.y.tolist() == [[1, 0.5], [2, 2]]
