"""SGLang's engine on a processor, in processes forked from this one, and beam, asked the same questions.

The processor build of SGLang's kernel package is not on PyPI. These models need none of it, only that its names are
there: where it is missing a stand-in has them."""
import importlib.machinery
import json
import multiprocessing
import os
import sys
import tempfile
import types
from dataclasses import dataclass
from pathlib import Path

os.environ.update(SGLANG_USE_CPU_ENGINE="1", HF_HUB_OFFLINE="1", TORCHDYNAMO_DISABLE="1")


class StandIn(types.ModuleType):
    __path__: list = []
    __spec__ = importlib.machinery.ModuleSpec("sgl_kernel", None)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*_, **__):
            raise NotImplementedError(f"sgl_kernel.{name}")
        return absent


try:
    import sgl_kernel  # noqa: F401
except ImportError:
    sys.modules["sgl_kernel"] = StandIn("sgl_kernel")

import torch  # noqa: E402
import sglang.srt.managers.detokenizer_manager  # noqa: E402, F401
import sglang.srt.managers.scheduler  # noqa: E402, F401
from conftest import beam  # noqa: E402
from sglang.srt.entrypoints.engine import Engine  # noqa: E402

# SGLang spawns its processes, and each would import everything again: minutes. It asks for that at every start.
multiprocessing.set_start_method("fork", force=True)
multiprocessing.set_start_method = lambda *_, **__: None

# One token, a few, many, and two that are the same.
PROMPTS = [[116], list(b"the quick "), list(b"0: sphinx of black"), list(range(200)), list(b"the quick ")]
NEW = 24


@dataclass
class Answer:
    ids: list  # greedy continuations
    logprobs: list  # of each prompt's own ids but the first
    calls: list  # of each prompt alone: of each layer (candidates [T][K], kept [T][K])
    log: str


def _ask(engine, prompts, new):
    outputs = engine.generate(input_ids=prompts, return_logprob=True, logprob_start_len=0,
                              sampling_params={"temperature": 0, "max_new_tokens": new, "ignore_eos": True})
    return ([o["output_ids"] for o in outputs],
            [[value for value, *_ in o["meta_info"]["input_token_logprobs"][1:]] for o in outputs])


def _record(path):
    """Every gate appends what it decides, in whichever process it runs."""
    from sglang_expert_mask.mask import MaskGate
    forward = MaskGate.forward

    def record(self, x, weights, ids):
        out = forward(self, x, weights, ids)
        with path.open("a") as file:
            file.write(json.dumps([ids.tolist(), (out[0] != 0).tolist()]) + "\n")
        return out
    MaskGate.forward = record


def _stand_in_for_kernels():
    from sglang.srt.models import qwen2_moe
    from sglang.srt.models.deepseek_common import attention_backend_handler as handler
    # Latent attention as in decoding, in prompts too: SGLang's plain attention on processors wants equal widths.
    handler.AttentionBackendRegistry.register("torch_native", lambda *_: handler.AttnForwardMethod.MLA)

    def fused_gate_sigmoid_mul_add(hidden_states, gate_weight, shared, out):
        out += torch.sigmoid(hidden_states @ gate_weight)[:, None] * shared
    qwen2_moe.fused_gate_sigmoid_mul_add = fused_gate_sigmoid_mul_add


def _run(folder, prompts, new, options, environment, before, place):
    sys.stdout = sys.stderr = (place / "log").open("a", buffering=1)  # pytest has put others there
    os.dup2(sys.stderr.fileno(), 1)
    os.dup2(sys.stderr.fileno(), 2)
    os.environ.update(environment)
    _record(place / "calls")
    _stand_in_for_kernels()
    before()
    defaults = {"device": "cpu", "dtype": "float32", "skip_tokenizer_init": True, "attention_backend": "torch_native",
                "disable_overlap_schedule": True, "disable_radix_cache": True, "max_total_tokens": 2048,
                "max_running_requests": 8, "context_length": 256, "mem_fraction_static": 0.2, "log_level": "info"}
    engine = Engine(model_path=str(folder), **defaults | options)
    ids, logprobs = _ask(engine, prompts, new)
    calls = []
    for prompt in prompts:
        (place / "calls").write_text("")
        _ask(engine, [prompt], 1)
        calls.append([json.loads(line) for line in (place / "calls").read_text().splitlines()])
    (place / "answer").write_text(json.dumps([ids, logprobs, calls]))
    engine.shutdown()


def serve(folder, prompts=PROMPTS, new=NEW, environment=None, before=lambda: None, **options) -> Answer:
    """The answer of an engine; without ids if it did not start. `before` is called first, in its process."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        child = multiprocessing.Process(target=_run,
                                        args=(folder, prompts, new, options, environment or {}, before, place))
        child.start()
        child.join(300)
        child.kill()
        child.join()
        log = (place / "log").read_text(errors="replace")
        answer = place / "answer"
        return Answer(*(json.loads(answer.read_text()) if answer.exists() else ([], [], [])), log)


def ask_beam(folder, tmp, prompts=PROMPTS, new=NEW):
    (tmp / "ids.jsonl").write_text("".join(json.dumps({"ids": p}) + "\n" for p in prompts))
    out = json.loads(beam("generate", "--model", folder, "--input", tmp / "ids.jsonl", "--max-new-tokens",
                          new, "--ignore-eos", "--json"))
    scores = [json.loads(line) for line in
              beam("score", "--model", folder, "--input", tmp / "ids.jsonl", "--experts").splitlines()]
    return [o["ids"] for o in out["outputs"]], scores
