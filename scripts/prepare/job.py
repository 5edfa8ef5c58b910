"""Many rows by several processes: blocks of lines go out, token arrays come back in order, so the result is the same
with any number of processes."""
import contextlib
import gc
import hashlib
import multiprocessing
import os
import sys
import threading
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from . import DataError, RowError, UsageError, encode, rows, sources


COUNTS = ("rows", "long", "untrained", "shortened")
CHECKED = 512            # one row in so many is encoded in full, too; by its content
CHECKED_MAX = 1 << 20    # bytes


@dataclass
class Plan:
    """What to read, and how its rows are chosen."""
    inputs: list                     # (path, weight)
    settings: encode.Settings
    style: str = "auto"
    text_field: str = "text"
    separator: str | None = None
    source_weights: dict = field(default_factory=dict)
    valid: float = 0.0               # share of documents held out
    seed: int = 42
    max_bad_rows: int = 0
    processes: int = 1


@dataclass
class Part:
    """Documents of a block of input `number`. copies: how often each is taken; held: for the validation file."""
    number: int
    path: str
    ids: list = field(default_factory=list)
    loss: list = field(default_factory=list)
    lengths: list = field(default_factory=list)
    copies: list = field(default_factory=list)
    held: list = field(default_factory=list)
    bad: list = field(default_factory=list)  # (line, what is wrong)
    counts: dict = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))


@dataclass
class About:
    """What encodes the rows."""
    vocab: int = 0
    tokenizer: str = ""
    template_hash: str = ""
    encoder: str = ""
    why_slow: str = ""       # if it is not fastokens


def _uniform(seed, purpose, data):
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.blake2b(f"{seed} {purpose} ".encode() + data, digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64


class Worker:
    """What each process keeps: the tokenizer and the template."""

    def __init__(self, plan):
        self.plan = plan
        self.encoder = encode.Encoder(plan.settings)

    def about(self):
        e = self.encoder
        return About(e.vocab, e.name, e.template_hash, e.tokens.name, e.why_slow)

    def _parse(self, block):
        """(line, Row or RowError, whether to check it) of each line that is not blank."""
        for number, line in block.rows():
            if len(line) > sources.LINE_MAX and not block.plain:
                yield number, RowError(f"longer than {sources.LINE_MAX >> 20} MiB"), False
            elif line.strip():
                try:
                    check = len(line) <= CHECKED_MAX and (number == 1 or zlib.crc32(line) % CHECKED == 0)
                    yield number, self._row(line, block.plain), check
                except RowError as e:
                    yield number, e, False

    def _row(self, line, plain):
        if not plain:
            return rows.parse(line, self.plan.style, self.plan.text_field)
        try:
            return rows.Row(text=line.decode("utf-8"))
        except UnicodeDecodeError as e:
            raise RowError(f"not UTF-8 (byte {e.start + 1} of the text)") from None

    def _copies(self, weight, source, place):
        weight *= self.plan.source_weights.get(source, 1.0)
        rest = weight % 1
        return int(weight) + (rest > 0 and _uniform(self.plan.seed, "copies", place.encode()) < rest)

    def work(self, task):
        """The Part of a block. Equal documents are held out together, so that no copy of one is trained on."""
        number, weight, block = task
        part = Part(number, block.path)
        parsed = list(self._parse(block))
        good = [(line, row, check) for line, row, check in parsed if not isinstance(row, RowError)]
        part.bad = [(line, str(row)) for line, row, _ in parsed if isinstance(row, RowError)]
        part.counts["rows"] = len(parsed)
        for (line, row, check), sample in zip(good, self.encoder.encode([row for _, row, _ in good])):
            if check:
                self._check(f"{block.path}:{line}", row, sample)
            if isinstance(sample, RowError):
                part.bad.append((line, str(sample)))
            elif sample.why:
                part.counts[sample.why] += 1
            else:
                self._take(part, sample, self._copies(weight, row.source, f"{number} {line}"))
        part.bad.sort()
        part.ids = np.concatenate(part.ids or [np.zeros(0, np.int32)])
        part.loss = np.frombuffer(b"".join(part.loss), np.uint8)
        return part

    def _check(self, where, row, sample):
        right = self.encoder.encode([row], in_full=True)[0]
        if not encode.equal(sample, right):
            raise DataError(f"{where}: {self.encoder.tokens.name}, or the outline of the chat template, gives other tokens "
                            "than tokenizers and the template itself; use --encoder tokenizers, and report it, please")

    def _take(self, part, sample, copies):
        part.counts["shortened"] += sample.shortened
        part.ids.append(sample.ids)
        part.loss.append(sample.loss)
        part.lengths.append(len(sample.ids))
        part.copies.append(copies)
        valid = self.plan.valid
        part.held.append(valid > 0 and _uniform(self.plan.seed, "held out", sample.ids.tobytes()) < valid)


_worker = None  # of this process; or the UsageError that there is instead


def _start(plan):
    global _worker
    try:
        _worker = Worker(plan)
        gc.freeze()
        gc.set_threshold(200_000)  # a block's rows are no garbage; looking through them takes a fifth of the time
    except UsageError as e:  # raised here it would only start another process
        _worker = e


def _about():
    if isinstance(_worker, UsageError):
        raise _worker
    return _worker.about()


def _work(task):
    return _worker.work(task)


def _tasks(plan, progress):
    done = 0
    for number, (path, weight) in enumerate(plan.inputs):
        for block, read in sources.blocks(path, plan.separator):
            progress.update(done + read - progress.n)
            yield number, weight, block
        done += Path(path).stat().st_size


def _parts(plan, tasks):
    """What encodes, then the Part of every task, in their order; only a few tasks are under way at a time."""
    if plan.processes == 1:
        _start(plan)
        yield _about()
        yield from map(_work, tasks)
        return
    room, over = threading.Semaphore(4 * plan.processes), threading.Event()

    def admitted():
        for task in tasks:
            room.acquire()
            if over.is_set():
                return
            yield task

    with multiprocessing.get_context("spawn").Pool(plan.processes, _start, (plan,)) as pool:
        yield pool.apply(_about)
        try:
            for part in pool.imap(_work, admitted()):
                room.release()
                yield part
        finally:  # the pool waits for the thread that takes tasks, which may be waiting for room
            over.set()
            room.release()


class Result:
    """Everything that was read."""

    def __init__(self, plan):
        self.parts, self.bad = [], []
        self.counts = [dict.fromkeys(COUNTS, 0) for _ in plan.inputs]
        self.seconds = 0.0
        self.about = About()

    def documents(self, held):
        """(ids, loss, lengths) of the documents for training, or of those held out, each as often as it is taken:
        first all once, then the second copies, and so on."""
        ids, loss, lengths, k = [], [], [], 0
        while True:
            before = len(lengths)
            for part in self.parts:
                chosen = np.array([c > k and h == held and not (held and k) for c, h in zip(part.copies, part.held)], bool)
                if chosen.any():
                    tokens = slice(None) if chosen.all() else np.repeat(chosen, part.lengths)
                    ids.append(part.ids[tokens])
                    loss.append(part.loss[tokens])
                    lengths.append(np.array(part.lengths)[chosen])
            if len(lengths) == before:
                break
            k += 1
        if not lengths:
            return np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(0, np.int64)
        return np.concatenate(ids), np.concatenate(loss), np.concatenate(lengths)


def _add(plan, part, result):
    result.bad += [f"{part.path}:{line}: {what}" for line, what in part.bad]
    if len(result.bad) > plan.max_bad_rows:
        raise DataError(f"{result.bad[plan.max_bad_rows]}; repair it, or leave it out with --max-bad-rows")
    for key in COUNTS:
        result.counts[part.number][key] += part.counts[key]
    result.parts.append(part)


def run(plan):
    """Reads all inputs. DataError once there are more bad rows than the plan allows."""
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}  # the processes are the parallelism
    result, began = Result(plan), time.monotonic()
    total = sum(Path(path).stat().st_size for path, _ in plan.inputs)
    often = 0.5 if sys.stderr.isatty() else 10
    with tqdm(total=total, unit="B", unit_scale=True, file=sys.stderr, mininterval=often) as progress:
        with contextlib.closing(_parts(plan, _tasks(plan, progress))) as parts:
            result.about = about = next(parts)
            if about.why_slow:
                progress.write(f"encoding with {about.encoder}, which is slower than fastokens: {about.why_slow}",
                               file=sys.stderr)
            for part in parts:
                _add(plan, part, result)
        progress.update(total - progress.n)
    result.seconds = time.monotonic() - began
    return result
