"""Audits the CNN that the paper's authors trained for MAFK in IMR90, on bound windows of hg19.

    python benchmarks/mafk.py --model=FILE.hdf5 --bound=FILE.fa.gz [--bound=FILE.fa.gz ...]

FILE.hdf5 is nuc_adv_evalSydhImr90MafkIggrabUniPk_..._seq_len_rc.hdf5 of the authors' repository;
the FASTA files hold windows of 101 bp or more around MAFK peaks (janggu's sample2.fa and
sample2_test.fa: 200 bp). Of each window the 101 central bases are kept, as in the authors' data,
and the 90-bp window of the network is put at each of the 12 starts. All are bound, so the accuracy
is the fraction called bound.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import tfbs_shift as ts
from tfbs_shift import reports
from tfbs_shift.data.readers import read_fasta
from tfbs_shift.windows import WindowRange


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--bound", required=True, type=Path, action="append")
    parser.add_argument("--out", type=Path, help="folder for the whole audit")
    options = parser.parse_args()
    model = ts.models.load(options.model)
    codes = np.concatenate([read_fasta(path).codes for path in options.bound])
    middle = WindowRange(codes.shape[1], 101).centre
    x = ts.sequences.one_hot(codes[:, middle : middle + 101])
    found = ts.evaluate(model, x, np.ones(len(x), int), progress=True)
    name = Path(options.model).name[:20]
    print(reports.text_table({name: found.to_dict()}))
    if options.out:
        labels = np.tile(np.array([[0, 1]], np.uint8), (len(x), 1))
        examples = ts.data.Examples(codes[:, middle : middle + 101], labels, source="MAFK")
        reports.write_audit(found, examples, options.out, title=name, about=[str(options)])


if __name__ == "__main__":
    main()
