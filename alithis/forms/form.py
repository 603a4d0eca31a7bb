"""Canonical forms: how a data point becomes the bytes that are hashed.

Source: docs/format.md, "Canonical forms".

``bytes``
    the file or record as stored;
``pixels``
    the decoded raster's 8-bit samples in C order (row by row, samples interleaved). The metadata
    states the colour mode, and the width and height if all data points share them;
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
from alithis.forms import pixels, record, text

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
        width: for pixels, the width in pixels if all data points share it.
        height: for pixels, the height in pixels if all data points share it.
        columns: for records, the columns that are hashed, in ascending order; None for all.
    """

    name: str = "bytes"
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check that the values are valid for the form."""
        if self.name not in FORMS:
            known = f"{', '.join(FORMS[:-1])} and {FORMS[-1]}"
            raise FormatError(f"unknown canonical form {self.name!r}; this release knows {known}")
        if self.name != "pixels" and (self.mode, self.width, self.height) != (None, None, None):
            raise FormatError(f"canonical form {self.name}: has no mode, width or height")
        if self.name == "pixels" and self.mode not in MODES:
            raise FormatError(
                f"canonical form pixels: mode {self.mode!r} must be one of {', '.join(MODES)}"
            )
        if self.columns is not None:
            self._check_columns(self.columns)

    def _check_columns(self, columns: tuple[str, ...]) -> None:
        if self.name != "record":
            raise FormatError(f"canonical form {self.name}: has no columns")
        if not columns or list(columns) != sorted(set(columns)):
            raise FormatError("canonical form record: columns must be sorted and different")

    def canonical(self, data: bytes) -> bytes:
        """Return the canonical form of one stored data point.

        Args:
            data: the file or record as stored: for ``pixels`` an encoded image (PNG, …), for
                ``text`` UTF-8, for ``record`` and ``sample`` a JSON object.

        Raises:
            SourceError: the data has no such form. It is not an image, has another width or
                height, or cannot be converted to the mode without loss; it is not text; it is not
                a JSON object, or has none of the columns.
        """
        if self.name == "bytes":
            return data
        if self.name == "pixels":
            return pixels.decode_pixels(data, str(self.mode), self.check_size)
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
        """Return the canonical form ``pixels`` of a decoded image.

        Args:
            image: a Pillow image.

        Raises:
            SourceError: it has another width or height, or cannot be converted to the mode without
                loss.
        """
        self.check_size(*image.size)
        return pixels.pixels_of_image(image, str(self.mode))

    def check_size(self, width: int, height: int) -> None:
        """Check that an image has the width and height, in pixels, that all data points share.

        Raises:
            SourceError: it has another width or height.
        """
        wanted = (self.width or width, self.height or height)
        if wanted != (width, height):
            raise SourceError(
                f"the image is {width} x {height} pixels, "
                f"but all data points must be {wanted[0]} x {wanted[1]}"
            )


BYTES, TEXT, RECORD, SAMPLE = Form(), Form("text"), Form("record"), Form("sample")
