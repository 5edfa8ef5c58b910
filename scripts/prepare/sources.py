"""Files as blocks: of lines of JSONL, in bounded memory whatever their length, or of a text each."""
import contextlib
from dataclasses import dataclass
from pathlib import Path

from . import DataError, UsageError

BLOCK = 1 << 18      # bytes of a block, about
LINE_MAX = 1 << 24   # bytes of a line, as beam's own reader
SUFFIXES = (".jsonl", ".txt")


@dataclass
class Block:
    """Lines of a file from number `first` on; or one text of a .txt file. too_long: numbers of lines left out."""
    path: str
    first: int
    lines: list
    plain: bool = False
    too_long: tuple = ()


def check_name(path):
    if not Path(path).name.removesuffix(".zst").endswith(SUFFIXES):
        raise UsageError(f"{path}: its name must end in .jsonl, .txt, .jsonl.zst or .txt.zst")


@contextlib.contextmanager
def _opened(path):
    """(the file as stored, its content)."""
    with open(path, "rb") as stored:
        if not str(path).endswith(".zst"):
            yield stored, stored
            return
        import io
        import zstandard
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(stored, read_across_frames=True)
        try:
            yield stored, io.BufferedReader(reader, 1 << 20)
        except zstandard.ZstdError as e:
            raise DataError(f"{path}: damaged: {e}") from None


def _line(file):
    """The next line, b"" at the end, or None for one that is too long, which is passed over."""
    line = file.readline(LINE_MAX + 1)
    if len(line) <= LINE_MAX:
        return line
    while line and not line.endswith(b"\n"):
        line = file.readline(LINE_MAX)
    return None


def _blocks_of_jsonl(path, file):
    number, lines, size, first, too_long = 0, [], 0, 1, []
    while (line := _line(file)) != b"":
        number += 1
        if line is None:
            too_long.append(number)
            line = b""
        lines.append(line)
        size += len(line)
        if size >= BLOCK or len(lines) >= 4096:
            yield Block(path, first, lines, too_long=tuple(too_long))
            lines, size, first, too_long = [], 0, number + 1, []
    if lines:
        yield Block(path, first, lines, too_long=tuple(too_long))


def _blocks_of_text(path, file, separator):
    """The texts between lines equal to the separator; the whole file without one."""
    number, first, lines = 0, 1, []
    for line in file:
        number += 1
        if separator is not None and line.rstrip(b"\r\n") == separator:
            if lines:
                yield Block(path, first, [b"".join(lines)], plain=True)
            lines, first = [], number + 1
        else:
            lines.append(line)
    if lines:
        yield Block(path, first, [b"".join(lines)], plain=True)


def blocks(path, separator=None):
    """(Block, bytes of the stored file read so far), to the end of the file."""
    text = Path(path).name.removesuffix(".zst").endswith(".txt")
    with _opened(path) as (stored, file):
        found = _blocks_of_text(path, file, separator and separator.encode()) if text else _blocks_of_jsonl(path, file)
        for block in found:
            yield block, stored.tell()
