"""Token files as docs/formats.md describes them: HDF5 behind a line with its SHA-256."""
import contextlib
import hashlib
import os
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from . import DataError

USER_BLOCK = 512


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def write(path, ids, loss, lengths, vocab, tokenizer):
    """Beside its place, synchronised, then renamed: the path never holds a part. Equal content gives equal bytes."""
    path = Path(path)
    arrays = {"ids": ids.astype("<i4", copy=False), "loss": loss.astype("u1", copy=False),
              "start": np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype("<i8")}
    content = " ".join([_sha256(a) for a in arrays.values()] + [str(vocab), tokenizer])
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        with h5py.File(beside, "w", userblock_size=USER_BLOCK, libver=("v110", "v110")) as f:
            for name, a in arrays.items():
                f.create_dataset(name, data=a, chunks=(min(len(a), 1 << 20),), shuffle=a.itemsize > 1,
                                 fletcher32=True, **hdf5plugin.Zstd(clevel=3))
            f.attrs.create("format", 1, dtype="<i8")
            f.attrs.create("vocab_size", vocab, dtype="<i8")
            f.attrs["tokenizer"] = np.bytes_(tokenizer)
            f.attrs["content"] = np.bytes_(_sha256(content.encode()))
        _sign(beside)
        os.replace(beside, path)
        _synchronise_folder(path.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()


def _sign(path):
    with open(path, "r+b") as f:
        f.seek(USER_BLOCK)
        digest = hashlib.file_digest(f, "sha256").hexdigest()
        f.seek(0)
        f.write(f"BEAM: HDF5 from byte {USER_BLOCK} on, SHA-256 {digest}\n".encode().ljust(USER_BLOCK, b"\0"))
        f.flush()
        os.fsync(f.fileno())


def _synchronise_folder(path):
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path):
    """(ids, loss, lengths, tokenizer) of a token file."""
    try:
        with h5py.File(path, "r") as f:
            ids, loss, start = (f[name][:] for name in ("ids", "loss", "start"))
            tokenizer = f.attrs["tokenizer"]
    except (OSError, KeyError) as e:
        raise DataError(f"{path}: not a token file: {e}") from None
    name = tokenizer.decode() if isinstance(tokenizer, bytes) else str(tokenizer)
    return ids, loss, np.diff(np.append(start, len(ids))), name
