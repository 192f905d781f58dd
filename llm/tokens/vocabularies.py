"""Owns the vocabulary files of the tokenizers: shipped compressed, unpacked once where tiktoken looks for them.

Invariant: a file under its final name has the SHA-256 that tiktoken itself demands.

tiktoken downloads these files on first use; a gateway must start without the internet. The shipped files are
byte for byte the ones tiktoken would download. Needs no Django: `python -m llm.tokens.vocabularies` runs at install time.
"""

import hashlib
import lzma
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[2]
PACKED_DIR = Path(__file__).resolve().parent / "ranks"
ORIGIN = "https://openaipublic.blob.core.windows.net/encodings"


@dataclass(frozen=True)
class RankFile:
    """One vocabulary: its encoding's name, unpacked size in bytes and SHA-256."""

    encoding: str
    size: int
    sha256: str

    @property
    def cache_name(self) -> str:
        """The name under which tiktoken looks for the file inside TIKTOKEN_CACHE_DIR: SHA-1 of its origin."""
        return hashlib.sha1(f"{ORIGIN}/{self.encoding}.tiktoken".encode(), usedforsecurity=False).hexdigest()


RANK_FILES = (
    RankFile("cl100k_base", 1_681_126, "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
    RankFile("o200k_base", 3_613_922, "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
)


class CorruptRankFile(Exception):
    """A shipped vocabulary does not have the digest tiktoken expects."""


def model_dir() -> Path:
    """Where built models live: PURSER_MODEL_DIR, or `.models` in the project's folder."""
    return Path(os.environ.get("PURSER_MODEL_DIR") or PROJECT_DIR / ".models")


def unpack(directory: Path | None = None) -> Path:
    """Put every vocabulary into the directory and return it; costs two stat calls when they are there."""
    target_dir = directory or model_dir()
    for rank_file in RANK_FILES:
        target = target_dir / rank_file.cache_name
        try:
            is_there = target.stat().st_size == rank_file.size
        except FileNotFoundError:
            is_there = False
        if not is_there:
            _write_atomically(target, _unpacked(rank_file))
    return target_dir


def _unpacked(rank_file: RankFile) -> bytes:
    content = lzma.decompress((PACKED_DIR / f"{rank_file.encoding}.tiktoken.xz").read_bytes())
    if hashlib.sha256(content).hexdigest() != rank_file.sha256:
        raise CorruptRankFile(f"{rank_file.encoding}.tiktoken.xz does not unpack to its SHA-256")
    return content


def _write_atomically(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".ranks-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
    except BaseException:
        temporary.unlink()
        raise


if __name__ == "__main__":
    print(f"tokenizer vocabularies in {unpack()}")
