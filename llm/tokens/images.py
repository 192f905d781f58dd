"""Owns what an image costs in tokens, by the rules OpenAI and Anthropic publish.

Invariant: an image whose size cannot be known counts as the largest it could be after the provider's scaling.
"""

import base64
import binascii
import math
import struct
from dataclasses import dataclass
from typing import Any

# OpenAI scales an image into 2048 x 2048, then its short side to 768, and charges per 512-pixel tile.
OPENAI_BOX, OPENAI_SHORT_SIDE, OPENAI_TILE = 2048, 768, 512
# Newer small models charge per 32-pixel patch instead, at most 1536 of them, times a factor.
OPENAI_PATCH, OPENAI_MAX_PATCHES = 32, 1536
OPENAI_PATCH_FACTORS = (
    ("gpt-4.1-nano", 2.46),
    ("gpt-5-nano", 2.46),
    ("gpt-4.1-mini", 1.62),
    ("gpt-5-mini", 1.62),
    ("o4-mini", 1.72),
)
# (base, per tile) of the models that charge by tile; everything else follows gpt-4o.
OPENAI_TILE_RATES = (
    ("gpt-4o-mini", (2833, 5667)),
    ("gpt-5", (70, 140)),
    ("o1", (75, 150)),
    ("o3", (75, 150)),
)
OPENAI_DEFAULT_RATE = (85, 170)
ANTHROPIC_PIXELS_PER_TOKEN, ANTHROPIC_MAX_TOKENS = 750, 1600
HEADER_CHARACTERS = 65_536  # enough base64 to reach the size in a JPEG with a large colour profile


@dataclass(frozen=True)
class ImageSize:
    """Pixels."""

    width: int
    height: int


UNKNOWN = ImageSize(0, 0)


def openai_image_tokens(image_url: Any, model: str) -> int:
    """Tokens of a chat `image_url` object (or of a plain URL string), by the tile or patch rule of the model."""
    url = image_url.get("url", "") if isinstance(image_url, dict) else image_url
    detail = image_url.get("detail") if isinstance(image_url, dict) else None
    size = size_of_data_url(url) if isinstance(url, str) else UNKNOWN
    for prefix, factor in OPENAI_PATCH_FACTORS:
        if model.startswith(prefix):
            return math.ceil(_patches(size) * factor)
    base, per_tile = next(
        (rate for prefix, rate in OPENAI_TILE_RATES if model.startswith(prefix)), OPENAI_DEFAULT_RATE
    )
    return base if detail == "low" else base + per_tile * _tiles(size)


def anthropic_image_tokens(source: Any) -> int:
    """Tokens of an Anthropic image source: width x height / 750, at most about 1600."""
    size = UNKNOWN
    if isinstance(source, dict) and source.get("type") == "base64" and isinstance(source.get("data"), str):
        size = size_of_base64(source["data"])
    if size == UNKNOWN:
        return ANTHROPIC_MAX_TOKENS
    return min(ANTHROPIC_MAX_TOKENS, math.ceil(size.width * size.height / ANTHROPIC_PIXELS_PER_TOKEN))


def size_of_data_url(url: str) -> ImageSize:
    """The size of an image inside a `data:` URL; UNKNOWN for any other URL, which we never fetch."""
    if not url.startswith("data:"):
        return UNKNOWN
    _, _, encoded = url.partition(",")
    return size_of_base64(encoded)


def size_of_base64(encoded: str) -> ImageSize:
    """The size of a base64 PNG, GIF, WebP or JPEG read from its header, or UNKNOWN."""
    head = encoded[:HEADER_CHARACTERS]
    try:
        return _size_of_bytes(base64.b64decode(head[: len(head) // 4 * 4]))
    except (binascii.Error, ValueError, struct.error, IndexError):
        return UNKNOWN


def _size_of_bytes(data: bytes) -> ImageSize:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return ImageSize(*struct.unpack(">II", data[16:24]))
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return ImageSize(*struct.unpack("<HH", data[6:10]))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _size_of_webp(data)
    if data[:2] == b"\xff\xd8":
        return _size_of_jpeg(data)
    return UNKNOWN


def _size_of_webp(data: bytes) -> ImageSize:
    if data[12:16] == b"VP8X":
        return ImageSize(int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return ImageSize((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1)
    width, height = struct.unpack("<HH", data[26:30])
    return ImageSize(width & 0x3FFF, height & 0x3FFF)


def _size_of_jpeg(data: bytes) -> ImageSize:
    offset = 2
    while offset + 9 < len(data):
        if data[offset] != 0xFF:
            return UNKNOWN
        marker = data[offset + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[offset + 5 : offset + 9])
            return ImageSize(width, height)
        offset += 2 + struct.unpack(">H", data[offset + 2 : offset + 4])[0]
    return UNKNOWN


def _tiles(size: ImageSize) -> int:
    if size.width <= 0 or size.height <= 0:
        return (OPENAI_BOX // OPENAI_TILE) * math.ceil(OPENAI_SHORT_SIDE / OPENAI_TILE)
    scale = min(1.0, OPENAI_BOX / max(size.width, size.height))
    width, height = size.width * scale, size.height * scale
    scale = min(1.0, OPENAI_SHORT_SIDE / min(width, height))
    return math.ceil(width * scale / OPENAI_TILE) * math.ceil(height * scale / OPENAI_TILE)


def _patches(size: ImageSize) -> int:
    if size.width <= 0 or size.height <= 0:
        return OPENAI_MAX_PATCHES
    patches = math.ceil(size.width / OPENAI_PATCH) * math.ceil(size.height / OPENAI_PATCH)
    return min(OPENAI_MAX_PATCHES, patches)
