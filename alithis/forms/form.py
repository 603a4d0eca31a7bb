"""Canonical forms: how a data point becomes the bytes that are hashed.

Source: docs/format.md, "Canonical forms".

``bytes``
    the file or record as stored;
``pixels``
    the decoded raster's 8-bit samples in C order (row by row, samples interleaved). The
    colour mode and, where they are the same for all, the width and height stand in the metadata;
``text``
    the text in NFC, as UTF-8;
``record``
    the row as canonical JSON (RFC 8785);
``sample``
    the digests of the files that make up a sample, by extension, as canonical JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from alithis.errors import FormatError, SourceError
from alithis.forms import image as pixels
from alithis.forms import record, text

if TYPE_CHECKING:
    from PIL import Image

FORMS = ("bytes", "pixels", "text", "record", "sample")
"""The canonical forms' names."""
MODES = ("L", "RGB", "RGBA")


@dataclass(frozen=True, slots=True)
class Form:
    """A canonical form: how a data point becomes the bytes that are hashed.

    Attributes:
        name: ``bytes``, ``pixels``, ``text``, ``record`` or ``sample``.
        mode: for pixels, the colour mode: ``L``, ``RGB`` or ``RGBA``.
        width: for pixels, the width in pixels where it is the same for all data points.
        height: likewise the height.
        columns: for records, the columns that are taken, in ascending order; None for all.
    """

    name: str = "bytes"
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse values that do not make a canonical form."""
        if self.name not in FORMS:
            known = f"{', '.join(FORMS[:-1])} and {FORMS[-1]}"
            raise FormatError(f"canonical form {self.name!r}: this release knows {known}")
        if self.name != "pixels" and (self.mode, self.width, self.height) != (None, None, None):
            raise FormatError(f"canonical form {self.name}: has no mode, width or height")
        if self.name == "pixels" and self.mode not in MODES:
            raise FormatError(
                f"canonical form pixels: mode {self.mode!r} is none of {', '.join(MODES)}"
            )
        if self.columns is not None:
            self._check_columns(self.columns)

    def _check_columns(self, columns: tuple[str, ...]) -> None:
        if self.name != "record":
            raise FormatError(f"canonical form {self.name}: has no columns")
        if not columns or list(columns) != sorted(set(columns)):
            raise FormatError("canonical form record: columns are named once each, in order")

    def canonical(self, data: bytes) -> bytes:
        """Return the canonical form of one stored data point.

        Args:
            data: the file or record as stored: for ``pixels`` an encoded image (PNG, …), for
                ``text`` UTF-8, for ``record`` and ``sample`` a JSON object.

        Raises:
            SourceError: the data has no such form. It is no image, has another width or height
                or cannot be brought to the mode without loss; it is no text; it is no JSON
                object, or one without the columns.
        """
        if self.name == "bytes":
            return data
        if self.name == "pixels":
            return pixels.decoded(data, str(self.mode), self.check_size)
        if self.name == "text":
            return text.text_of(data)
        if self.name == "record":
            return record.record_of(data, self.columns)
        return record.sample_of(data)

    def require(self) -> None:
        """Check that the libraries that this form needs are installed.

        Raises:
            MissingExtraError: Pillow is needed and not installed.
        """
        if self.name == "pixels":
            pixels.load_pillow()

    def raster(self, image: Image.Image) -> bytes:
        """Return the canonical form ``pixels`` of an image that is decoded already.

        Args:
            image: Pillow's.

        Raises:
            SourceError: it has another width or height, or cannot be brought to the mode without
                loss.
        """
        self.check_size(*image.size)
        return pixels.raster(image, str(self.mode))

    def check_size(self, width: int, height: int) -> None:
        """Check the size of an image against what is the same for all.

        Raises:
            SourceError: it has another width or height, in pixels.
        """
        wanted = (self.width or width, self.height or height)
        if wanted != (width, height):
            raise SourceError(
                f"the image is {width} x {height} pixels, "
                f"where all data points are {wanted[0]} x {wanted[1]}"
            )


BYTES, TEXT, RECORD, SAMPLE = Form(), Form("text"), Form("record"), Form("sample")
