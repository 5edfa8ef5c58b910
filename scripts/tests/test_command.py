"""The command: formats, several files, splits, what is refused, and that nothing depends on the number of processes."""
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prepare import tokenfile

SCRIPT = Path(__file__).parent.parent / "prepare_data.py"


def run(code, *arguments, cwd):
    """Runs the command, which must end with that exit code; what it said."""
    done = subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def lines(path, values):
    path.write_text("".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values), encoding="utf-8")
    return path


def chat(question, answer, **more):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


def test_formats_are_one(folders, tmp_path):
    """The same conversation in every format gives the same file, byte for byte."""
    same = {
        "messages": chat("a b\nc", "d"),
        "sharegpt": {"conversations": [{"from": "human", "value": "a b\nc"}, {"from": "gpt", "value": "d"}]},
        "alpaca": {"instruction": "a b", "input": "c", "output": "d"},
    }
    digests = set()
    for name, value in same.items():
        lines(tmp_path / f"{name}.jsonl", [value])
        run(0, "--tokenizer", folders["chatml"], f"{name}.jsonl", "--out", f"{name}.h5", cwd=tmp_path)
        digests.add(hashlib.sha256((tmp_path / f"{name}.h5").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_history_and_system(folders, tmp_path):
    lines(tmp_path / "a.jsonl", [
        {"system": "Be kind.", "history": [["a", "b"]], "instruction": "c", "output": "d"},
        {"system": "Be kind.", "conversations": [{"from": f, "value": v} for f, v in
                                                 (("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "d"))]}])
    run(0, "--tokenizer", folders["chatml"], "a.jsonl", "--out", "a.h5", cwd=tmp_path)
    ids, loss, lengths, _ = tokenfile.read(tmp_path / "a.h5")
    half = int(lengths[0])
    assert (ids[:half] == ids[half:]).all() and (loss[:half] == loss[half:]).all()


def test_texts(folders, tmp_path):
    (tmp_path / "a.txt").write_text("one\n<|end|>\ntwo\nlines\n<|end|>\n")
    lines(tmp_path / "b.jsonl", [{"text": "one\n"}, {"text": "two\nlines\n"}])
    run(0, "--tokenizer", folders["none"], "a.txt", "--out", "a.h5", "--separator", "<|end|>", cwd=tmp_path)
    run(0, "--tokenizer", folders["none"], "b.jsonl", "--out", "b.h5", cwd=tmp_path)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_zstd(folders, tmp_path):
    import zstandard
    lines(tmp_path / "a.jsonl", [chat("a", "b")] * 3)
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress((tmp_path / "a.jsonl").read_bytes()))
    for name in ("a.jsonl", "a.jsonl.zst"):
        run(0, "--tokenizer", folders["chatml"], name, "--out", name + ".h5", cwd=tmp_path)
    assert (tmp_path / "a.jsonl.h5").read_bytes() == (tmp_path / "a.jsonl.zst.h5").read_bytes()
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(b"x" * 10000)[:-3] + b"bad")
    assert "a.jsonl.zst" in run(3, "--tokenizer", folders["chatml"], "a.jsonl.zst", "--out", "x.h5", cwd=tmp_path)


def test_the_result_depends_on_the_seed_alone(folders, tmp_path):
    many = [chat(f"question {i} {'x' * (i % 300)}", f"answer {i}") for i in range(3000)]
    lines(tmp_path / "a.jsonl", many)
    common = ["--tokenizer", folders["chatml"], "a.jsonl=1.5", "--valid", 0.1]
    made = []
    for name, more in (("1", ["--processes", 1]), ("3", ["--processes", 3]), ("s", ["--processes", 1, "--seed", 7])):
        run(0, *common, *more, "--out", f"{name}.h5", "--valid-out", f"{name}v.h5", cwd=tmp_path)
        made.append([(tmp_path / f"{name}{v}.h5").read_bytes() for v in ("", "v")])
    assert made[0] == made[1]
    assert made[0][0] != made[2][0] and made[0][1] != made[2][1]
    train, valid = (tokenfile.read(tmp_path / f"1{v}.h5") for v in ("", "v"))
    documents = [set(bytes(d) for d in split(f)) for f in (train, valid)]
    assert not documents[0] & documents[1] and len(documents[0]) + len(documents[1]) == 3000
    assert len(valid[2]) == pytest.approx(300, rel=0.2)
    assert len(train[2]) == pytest.approx(1.5 * 2700, rel=0.05)


def split(f):
    ids, _, lengths, _ = f
    at = 0
    for n in lengths:
        yield ids[at:at + int(n)].tobytes()
        at += int(n)


def test_weights(folders, tmp_path):
    lines(tmp_path / "a.jsonl", [chat("a", "b", source="x"), chat("c", "d", source="y")])
    lines(tmp_path / "b.jsonl", [chat("e", "f")])
    out = run(0, "--tokenizer", folders["chatml"], "a.jsonl=2", "b.jsonl=0", "--out", "o.h5", "--source-weight", "y=3",
              cwd=tmp_path)
    assert "o.h5: 8 documents" in out  # 2 of x, 6 of y
    record = json.loads((tmp_path / "o.h5.json").read_text())
    assert record["source_weights"] == {"y": 3} and record["settings"]["tokenizer"] == folders["chatml"]
    assert record["outputs"][0]["documents"] == 8 and record["inputs"][1]["weight"] == 0
    assert "weight" in run(2, "--tokenizer", folders["chatml"], "a.jsonl=-1", "--out", "o.h5", cwd=tmp_path)


def test_bad_rows_are_named(folders, tmp_path):
    good = json.dumps(chat("a", "b")).encode()
    bad = [(b"{", "not JSON"), (b"[1]", "not a JSON object"), (b'{"x": 1}', "none of the keys"),
           (b'{"messages": []}', "at least one"), (b'{"messages": [{"role": "king", "content": "a"}]}', "the role 'king'"),
           (b'{"messages": [{"role": "user"}]}', 'no "content"'), (b'{"text": 3}', "not a string"),
           (b'{"text": "a", "text": "b"}', "twice"), (b'{"text": "\xff"}', "not UTF-8"),
           (b'{"text": "\\ud800"}', "surrogate"), (b"[" * 100000, "nested"),
           (b'{"messages": [{"role": "user", "content": "a", "x": ' + b"[" * 700 + b"]" * 700 + b"}]}", "nested"),
           (b'{"messages": [{"role": "user", "content": "a", "loss": 1}]}', "only those of the assistant"),
           (b'{"messages": [{"role": "assistant", "content": "a", "loss": 2}]}', '"loss" of message 0'),
           (b'{"conversations": [{"from": "cat", "value": "a"}]}', "turn 0 is from 'cat'"),
           (b'{"instruction": "a"}', "not a string"),
           (b'{"text": "' + b"x" * (1 << 24) + b'"}', "longer than 16 MiB")]
    common = ["--tokenizer", folders["chatml"], "rows.jsonl", "--out", "o.h5", "--processes", 1]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join([good, b""] + [b for b, _ in bad] + [good]))
    said = run(0, *common, "--max-bad-rows", len(bad), cwd=tmp_path)
    assert "o.h5: 2 documents" in said and f"{len(bad)} malformed" in said
    record = json.loads((tmp_path / "o.h5.json").read_text())
    for (_, what), (i, found) in zip(bad, enumerate(record["bad_rows"])):
        assert found.startswith(f"rows.jsonl:{i + 3}: ") and what in found
    (tmp_path / "o.h5").unlink()
    assert "rows.jsonl:3: not JSON" in run(3, *common, cwd=tmp_path)
    assert "rows.jsonl:19: " in run(3, *common, "--max-bad-rows", len(bad) - 1, cwd=tmp_path)
    assert not (tmp_path / "o.h5").exists()


def test_a_bad_row_ends_all_processes(folders, tmp_path):
    rows = ["{}"] + [json.dumps(chat(f"question {i} {'x' * 3000}", "a")) for i in range(3000)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    assert "a.jsonl:1: none of the keys" in run(3, "--tokenizer", folders["chatml"], "a.jsonl", "--out", "o.h5",
                                                "--processes", 2, cwd=tmp_path)


def test_show(folders, tmp_path):
    lines(tmp_path / "a.jsonl", [chat("Hello\x1b[1m", "World")])
    said = run(0, "--tokenizer", folders["chatml"], "a.jsonl", "--out", "a.h5", "--show", 2, cwd=tmp_path)
    assert "<|im_start|>user\nHello\\x1b[1m<|im_end|>\n<|im_start|>assistant\n«World<|im_end|>»\n" in said
    again = run(0, "--tokenizer", folders["chatml"], "a.h5", "--show", 1, cwd=tmp_path)
    assert "«World<|im_end|>»" in again


def test_the_name_of_a_folder_is_written_in_ascii(folders, tmp_path):
    lines(tmp_path / "a.jsonl", [chat("a", "b")])
    shutil.copytree(folders["chatml"], tmp_path / "modèle 1")
    run(0, "--tokenizer", "modèle 1", "a.jsonl", "--out", "a.h5", cwd=tmp_path)
    assert tokenfile.read(tmp_path / "a.h5")[3].startswith("mod_le_1 ")


def test_usage(folders, tmp_path):
    lines(tmp_path / "a.jsonl", [chat("a", "b")])
    t = ["--tokenizer", folders["chatml"]]
    assert "where to?" in run(2, *t, "a.jsonl", cwd=tmp_path)
    assert "belong together" in run(2, *t, "a.jsonl", "--out", "o.h5", "--valid", 0.5, cwd=tmp_path)
    assert "both parts" in run(2, *t, "a.jsonl", "--out", "o.h5", "--valid", 0.5, "--valid-out", "./o.h5", cwd=tmp_path)
    assert "its name must end" in run(2, *t, "a.csv", "--out", "o.h5", cwd=tmp_path)
    assert "--date" in run(2, *t, "a.jsonl", "--out", "o.h5", "--date", "May", cwd=tmp_path)
    assert "no such file" in run(2, "--tokenizer", "nowhere", "a.jsonl", "--out", "o.h5", cwd=tmp_path)
    assert "b.jsonl" in run(5, *t, "b.jsonl", "--out", "o.h5", cwd=tmp_path)
    assert "no document is left" in run(3, *t, "a.jsonl=0", "--out", "o.h5", cwd=tmp_path)
    (tmp_path / "x.h5").write_text("x")
    assert "not a token file" in run(3, *t, "x.h5", "--show", 1, cwd=tmp_path)


@pytest.mark.skipif("BEAM" not in os.environ, reason="BEAM names no program")
def test_beam_reads_it(folders, tmp_path):
    lines(tmp_path / "a.jsonl", [chat(f"question {i}", f"answer {i}") for i in range(50)])
    run(0, "--tokenizer", folders["chatml"], "a.jsonl", "--out", "a.h5", cwd=tmp_path)
    told = subprocess.run([os.environ["BEAM"], "inspect", "--json", "a.h5"], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    ids, loss, lengths, _ = tokenfile.read(tmp_path / "a.h5")
    told = json.loads(told.stdout)
    assert (told["tokens"], told["documents"], told["targets"]) == (len(ids), 50, int(loss.sum()))
