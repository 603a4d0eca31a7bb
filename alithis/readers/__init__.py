"""Where data points come from: folders, archives, tables, lines, arrays, here and elsewhere.

A reader knows its canonical form and gives batches of digested data points (`manifest.DataPoints`).
It never drops a data point: what is none is counted and listed (`Source.skipped`), and what cannot
be read stops it, with the name of what is wrong.
"""

from alithis.readers.archive import archives
from alithis.readers.columns import Choice
from alithis.readers.digest_lists import listing
from alithis.readers.files import folder
from alithis.readers.huggingface import dataset
from alithis.readers.lines import delimited, jsonl, text_lines
from alithis.readers.numeric import arrays, idx, idx_array, of_array
from alithis.readers.numpy_files import numpy_file
from alithis.readers.opening import KINDS, Options, open_source
from alithis.readers.source import Skips, Source
from alithis.readers.tables import arrow, parquet

__all__ = [
    "KINDS",
    "Choice",
    "Options",
    "Skips",
    "Source",
    "archives",
    "arrays",
    "arrow",
    "dataset",
    "delimited",
    "folder",
    "idx",
    "idx_array",
    "jsonl",
    "listing",
    "numpy_file",
    "of_array",
    "open_source",
    "parquet",
    "text_lines",
]
