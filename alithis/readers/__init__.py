"""Where data points come from: folders, archives, tables, lines and arrays, local or remote.

Each reader returns a `Source`, which hashes data points in batches (`manifest.reader.DataPoints`).
No data point is dropped silently: an entry that is not a data point is counted and listed
(`Source.skipped`), and a file that cannot be read stops the reader with an error that names it.
"""

from alithis.readers.archive import archives
from alithis.readers.columns import Choice
from alithis.readers.digest_lists import listing
from alithis.readers.files import folder
from alithis.readers.huggingface import dataset
from alithis.readers.lines import delimited, jsonl, text_lines
from alithis.readers.numeric import arrays, idx, idx_array, of_array
from alithis.readers.numpy_files import numpy_file
from alithis.readers.opening import KINDS, SourceOptions, open_source
from alithis.readers.source import Skips, Source
from alithis.readers.tables import arrow, parquet

__all__ = [
    "KINDS",
    "Choice",
    "Skips",
    "Source",
    "SourceOptions",
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
