"""vLLM inside this process, and beam, asked the same questions."""
import gc
import json
import os
from contextlib import contextmanager

os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_PLUGINS="expert_mask", HF_HUB_OFFLINE="1",
                  VLLM_CPU_KVCACHE_SPACE=os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"))

from vllm import LLM, SamplingParams  # noqa: E402
from vllm.inputs import TokensPrompt  # noqa: E402

from conftest import beam  # noqa: E402

# One token, a few, more than a chunk of the scheduler, and two that are the same.
PROMPTS = [[116], list(b"the quick "), list(b"0: sphinx of black"), list(range(200)), list(b"the quick ")]
NEW = 24


@contextmanager
def engine(folder, dtype="float32", **options):
    options = {"enforce_eager": True, "distributed_executor_backend": "uni"} | options
    llm = LLM(str(folder), dtype=dtype, skip_tokenizer_init=True, max_model_len=256, max_num_seqs=8,
              max_num_batched_tokens=64, enable_prefix_caching=False, seed=0, num_gpu_blocks_override=128,
              **options)
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()


def generate(llm, prompts=PROMPTS, new=NEW):
    """Greedy continuations, and the log-probabilities of each prompt's own ids but the first."""
    sampling = SamplingParams(temperature=0, max_tokens=new, ignore_eos=True, detokenize=False,
                              prompt_logprobs=0)
    outputs = llm.generate([TokensPrompt(prompt_token_ids=p) for p in prompts], sampling, use_tqdm=False)
    ids = [list(o.outputs[0].token_ids) for o in outputs]
    logprobs = [[step[i].logprob for step, i in zip(o.prompt_logprobs[1:], p[1:])]
                for o, p in zip(outputs, prompts)]
    return ids, logprobs


def ask_beam(folder, tmp, prompts=PROMPTS, new=NEW):
    (tmp / "ids.jsonl").write_text("".join(json.dumps({"ids": p}) + "\n" for p in prompts))
    out = json.loads(beam("generate", "--model", folder, "--input", tmp / "ids.jsonl", "--max-new-tokens",
                          new, "--ignore-eos", "--json"))
    scores = [json.loads(line) for line in
              beam("score", "--model", folder, "--input", tmp / "ids.jsonl", "--experts").splitlines()]
    return [o["ids"] for o in out["outputs"]], scores


@contextmanager
def recorded(monkeypatch):
    """What the gates decide: a list of (candidates [T, K], kept [T, K]), as layer after layer asks."""
    from vllm_expert_mask.mask import MaskGate
    calls, forward = [], MaskGate.forward

    def record(self, x, weights, ids):
        out = forward(self, x, weights, ids)
        calls.append((ids.clone(), out[0] != 0))
        return out
    with monkeypatch.context() as patch:
        patch.setattr(MaskGate, "forward", record)
        yield calls
