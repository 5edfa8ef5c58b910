"""Samples for people: what is trained is in colour on a terminal, and between brackets elsewhere."""
import re

GREEN, DIM, PLAIN = "\x1b[1;32m", "\x1b[2m", "\x1b[0m"


def _visible(text):
    """Control characters would disturb the terminal."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda m: f"\\x{ord(m[0]):02x}", text)


def _runs(loss):
    """(first, last + 1, trained) of the stretches of equal mask."""
    first = 0
    for i in range(1, len(loss) + 1):
        if i == len(loss) or loss[i] != loss[first]:
            yield first, i, bool(loss[first])
            first = i


def sample(tokenizer, ids, loss, colour, limit=600):
    """One document as text; a line says how many of its tokens are not shown."""
    ids, rest = [int(i) for i in ids], max(0, len(ids) - limit)
    out = []
    for first, end, trained in _runs(loss[:limit]):
        text = _visible(tokenizer.decode(ids[first:end], skip_special_tokens=False))
        before, after = ((GREEN if trained else DIM), PLAIN) if colour else ("«", "»") if trained else ("", "")
        out.append(before + text + after)
    return "".join(out) + (f"\n({rest} more tokens)" if rest else "")


def samples(name, tokenizer, ids, loss, lengths, n, out):
    """The first n documents."""
    colour = out.isatty()
    mark = "in green" if colour else "between « and »"
    print(f"{name}: {len(lengths)} documents, {len(ids)} tokens; trained tokens are {mark}", file=out)
    at = 0
    for d, length in enumerate(lengths[:n]):
        end = at + int(length)
        print(f"--- document {d}: {length} tokens, {int(loss[at:end].sum())} trained", file=out)
        print(sample(tokenizer, ids[at:end], loss[at:end], colour), file=out)
        at = end
