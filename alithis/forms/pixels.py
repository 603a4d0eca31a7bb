"""The canonical form ``pixels``: the samples that an image file decodes to."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from alithis.errors import MissingExtraError, SourceError

if TYPE_CHECKING:
    from PIL import Image, ImageFile

_EXACT = (
    "1",
    "L",
    "LA",
    "P",
    "RGB",
    "RGBA",
)  # Pillow's modes that convert to L, RGB or RGBA exactly
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # others can run programs (EPS)
_ROUNDED = re.compile(r";16[BLN]|'ppm")  # names of Pillow's decoders that reduce samples to 8 bits


def load_pillow() -> Any:
    """Return Pillow's module ``Image``.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("Pillow", "images") from error
    return Image


def decode_pixels(data: bytes, mode: str, check_size: Callable[[int, int], None]) -> bytes:
    """Decode an image file into its samples.

    Args:
        data: the file.
        mode: the colour mode of the result: ``L``, ``RGB`` or ``RGBA``.
        check_size: is called with width and height, in pixels, before anything is decoded.

    Returns:
        8-bit samples in C order: rows from the top, pixels from the left, samples interleaved.

    Raises:
        SourceError: the file is not an image that decodes to such samples without loss.
    """
    pillow = load_pillow()
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            pillow.open(io.BytesIO(data), formats=_FORMATS) as image,
        ):
            check_size(*image.size)
            _check_exact(image)
            _scale_transparency(image)
            image.load()
            return _to_mode(image, mode).tobytes()
    except SourceError:
        raise
    except pillow.DecompressionBombError as error:
        raise SourceError(f"the image is too large to decode: {error}") from error
    except (
        Exception
    ) as error:  # damaged data makes decoders raise IndexError, struct.error and others
        raise SourceError("not an image that can be decoded") from error


def pixels_of_image(image: Image.Image, mode: str) -> bytes:
    """Return the samples of a decoded image in a colour mode.

    Raises:
        SourceError: it cannot be converted to the mode without loss.
    """
    if image.mode not in _EXACT:
        raise SourceError(f"the image's mode {image.mode} has no exact 8-bit form")
    return _to_mode(image, mode).tobytes()


def _check_exact(image: ImageFile.ImageFile) -> None:
    """Refuse an image that Pillow decodes only in part: 16-bit samples, several frames."""
    if image.mode not in _EXACT:
        raise SourceError(f"the image's mode {image.mode} has no exact 8-bit form")
    if _ROUNDED.search(repr(image.tile[:1])):
        raise SourceError("the image's samples have more than 8 bits")
    if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: a JPEG and previews
        raise SourceError("the image has more than one frame")


def _scale_transparency(image: ImageFile.ImageFile) -> None:
    """Scale a transparent grey value of 2 or 4 bits to 8: Pillow scales the samples only."""
    stated = image.info.get("transparency")
    for kind, factor in (("'L;2'", 85), ("'L;4'", 17)):
        if isinstance(stated, int) and kind in repr(image.tile[:1]):
            image.info["transparency"] = stated * factor


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert an image to a mode, if the conversion can be undone."""
    if image.mode == "LA" or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode in ("P", "1"):
        image = image.convert("RGB" if image.mode == "P" else "L")
    converted = image.convert(mode)
    if image.mode != mode and converted.convert(image.mode).tobytes() != image.tobytes():
        raise SourceError(f"the image is {image.mode} and cannot become {mode} without loss")
    return converted
