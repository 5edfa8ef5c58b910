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
    """Whole lines of a file from number `first` on; or, plain, one text of a .txt file. A line of more than LINE_MAX
    bytes may be cut behind these."""
    path: str
    first: int
    data: bytes
    plain: bool = False

    def rows(self):
        """(line, bytes) of each."""
        if self.plain:
            return [(self.first, self.data)]
        return enumerate(self.data.removesuffix(b"\n").split(b"\n"), self.first)


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


def _pass_line(file):
    """Reads to the end of a line; returns what was read behind it."""
    while (data := file.read(BLOCK)) and b"\n" not in data:
        pass
    return data.partition(b"\n")[2]


def _blocks_of_jsonl(path, file):
    first, begun = 1, b""
    while data := file.read(BLOCK):
        begun += data
        whole = begun.rfind(b"\n") + 1
        if whole:
            lines, begun = begun[:whole], begun[whole:]
        elif len(begun) > LINE_MAX:
            lines, begun = begun[:LINE_MAX + 1] + b"\n", _pass_line(file)
        else:
            continue
        yield Block(path, first, lines)
        first += lines.count(b"\n")
    if begun:
        yield Block(path, first, begun)


def _blocks_of_text(path, file, separator):
    """The texts between lines equal to the separator; the whole file without one."""
    number, first, lines = 0, 1, []
    for line in file:
        number += 1
        if separator is not None and line.rstrip(b"\r\n") == separator:
            if lines:
                yield Block(path, first, b"".join(lines), plain=True)
            lines, first = [], number + 1
        else:
            lines.append(line)
    if lines:
        yield Block(path, first, b"".join(lines), plain=True)


def blocks(path, separator=None):
    """(Block, bytes of the stored file read so far), to the end of the file."""
    text = Path(path).name.removesuffix(".zst").endswith(".txt")
    with _opened(path) as (stored, file):
        found = _blocks_of_text(path, file, separator and separator.encode()) if text else _blocks_of_jsonl(path, file)
        for block in found:
            yield block, stored.tell()
