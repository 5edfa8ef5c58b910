"""lm-evaluation-harness on a masked folder and on its base, without a network: a task of our own, whose
log-probabilities must be those of `beam score`. Skipped where it is not installed (pip install "lm_eval[hf]")."""
import json
import os
import subprocess
import sys

import models
import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

pytest.importorskip("lm_eval")
pytest.importorskip("accelerate")

LIMIT = 1e-4  # of the log-probability of a choice, a sum over up to nine letters
LETTERS = ["<unk>", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz .,?!:\n"]
QUESTIONS = [{"q": "the cat sat on", "choices": ["the mat", "a moon"], "label": 0},
             {"q": "two and two is", "choices": ["five", "four"], "label": 1},
             {"q": "night is", "choices": ["dark", "loud"], "label": 0}]
TASK = """task: local_choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {0}/questions.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{q}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""


def add_tokenizer(folder):
    """A token per letter."""
    tokenizer = Tokenizer(WordLevel({letter: i for i, letter in enumerate(LETTERS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>",
                            eos_token="</s>").save_pretrained(folder)


def evaluate(folder, tasks):
    """The log-probabilities [question][choice] that lm_eval gave."""
    out = tasks / folder.name
    arguments = ["--model", "hf", "--model_args", f"pretrained={folder},trust_remote_code=True,dtype=float32",
                 "--include_path", tasks, "--tasks", "local_choices", "--device", "cpu", "--batch_size", "2",
                 "--output_path", out, "--log_samples"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tasks / "home")}
    done = subprocess.run([sys.executable, "-m", "lm_eval", *map(str, arguments)], capture_output=True, text=True,
                          check=False, env=environment)
    assert done.returncode == 0, done.stderr
    samples = [json.loads(line) for line in next(out.rglob("samples_*.jsonl")).read_text().splitlines()]
    samples.sort(key=lambda sample: sample["doc_id"])
    return [[float(choice[0][0]) for choice in sample["resps"]] for sample in samples]


def expected(folder, tmp_path):
    """The same from `beam score`."""
    texts = [[(q["q"], " " + choice) for choice in q["choices"]] for q in QUESTIONS]
    flat = [pair for question in texts for pair in question]
    ids = [[LETTERS.index(letter) for letter in context + choice] for context, choice in flat]
    lines = models.beam("score", "--model", folder, "--input", models.read_ids(tmp_path, ids)).splitlines()
    sums = [sum(json.loads(line)["logprobs"][len(context) - 1:]) for line, (context, _) in zip(lines, flat)]
    return [[sums.pop(0) for _ in question] for question in texts]


def test_lm_eval(tmp_path):
    masked = models.exported(tmp_path / "masked", "qwen3_moe", "random")
    base = models.stock(tmp_path / "base", "qwen3_moe")
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in QUESTIONS))
    (tmp_path / "local_choices.yaml").write_text(TASK.format(tmp_path))
    for folder in (masked, base):
        wanted = expected(folder, tmp_path)
        add_tokenizer(folder)
        for ours, theirs in zip(wanted, evaluate(folder, tmp_path)):
            assert len(ours) == len(theirs) and max(abs(a - b) for a, b in zip(ours, theirs)) <= LIMIT
