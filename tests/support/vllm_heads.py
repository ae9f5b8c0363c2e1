"""One tensor-parallel rank: heads of vLLM's own layers, watched and called. `vllm_heads.py RANK RANKS RENDEZVOUS`.

Rank 0 prints one JSON object: a head's name -> its largest difference from float64, or why it is not a plain one.
"""

import json
import sys

import torch
from torch import nn
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.distributed import init_distributed_environment, initialize_model_parallel
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

from radar_fast.engines.vllm.head import AnswerHead, watch_head

ROWS, WIDTH, VOCABULARY = 70, 48, 507
IGNORED = -100


class Model(nn.Module):
    """The end of a vLLM model: a head, and what is done around it."""

    def __init__(self, *, bias: bool = False, vocabulary: int = VOCABULARY, **options: float) -> None:
        super().__init__()
        self.lm_head = ParallelLMHead(VOCABULARY, WIDTH, bias=bias)
        self.logits_processor = LogitsProcessor(vocabulary, **options)
        generator = torch.Generator().manual_seed(1)
        whole = torch.randn(VOCABULARY, WIDTH, generator=generator)
        self.whole = whole
        self.whole_bias = torch.randn(VOCABULARY, generator=generator) if bias else None
        self.lm_head.weight.data.fill_(1e3)  # padding that would win every softmax
        self.lm_head.weight_loader(self.lm_head.weight, whole)
        if self.whole_bias is not None:
            self.lm_head.bias.data.fill_(1e3)
            self.lm_head.weight_loader(self.lm_head.bias, self.whole_bias)
        self.lm_head.quant_method.process_weights_after_loading(self.lm_head)

    def compute_logits(self, hidden: torch.Tensor) -> torch.Tensor | None:
        return self.logits_processor(self.lm_head, hidden, self.lm_head.bias)


class RowsScaled(Model):
    def compute_logits(self, hidden: torch.Tensor) -> torch.Tensor | None:
        return super().compute_logits(hidden * 0.5)


class LogitsChanged(Model):
    def compute_logits(self, hidden: torch.Tensor) -> torch.Tensor | None:
        logits = super().compute_logits(hidden)
        return None if logits is None else logits - 1.0


class Twice(Model):
    def compute_logits(self, hidden: torch.Tensor) -> torch.Tensor | None:
        super().compute_logits(hidden)
        return super().compute_logits(hidden)


def expected(model: Model, hidden: torch.Tensor, name: str) -> torch.Tensor:
    """[R, V] logits in float64, from the whole weight."""
    rows = hidden.double() * (0.5 if name == "rows scaled" else 1.0)
    logits = rows @ model.whole.double().T
    if model.whole_bias is not None:
        logits = logits + model.whole_bias.double()
    logits = logits[:, : model.logits_processor.org_vocab_size]
    if (cap := model.logits_processor.soft_cap) is not None:
        logits = cap * torch.tanh(logits / cap)
    return logits * model.logits_processor.scale - (1.0 if name == "logits changed" else 0.0)


def main(rank: int, ranks: int, rendezvous: str) -> None:
    with set_current_vllm_config(VllmConfig()):
        init_distributed_environment(ranks, rank, rendezvous, rank, "gloo")
        initialize_model_parallel(ranks)
        models = {
            "plain": Model(),
            "biased": Model(bias=True),
            "scaled": Model(scale=0.0625),
            "capped": Model(soft_cap=5.0),
            "shorter vocabulary": Model(vocabulary=250),
            "scaled and capped": Model(scale=0.5, soft_cap=5.0),
            "rows scaled": RowsScaled(),
            "logits changed": LogitsChanged(),
            "twice": Twice(),
        }
        generator = torch.Generator().manual_seed(2)
        hidden = torch.randn(ROWS, WIDTH, generator=generator)
        targets = torch.randint(0, 250, (ROWS, 3), generator=generator)
        targets[::4, 2] = IGNORED
        found = {}
        for name, model in models.items():
            _, why = watch_head(model, hidden[:1])
            logits, logprobs = AnswerHead(model)(hidden, targets)
            truth = expected(model, hidden, name)
            wanted = torch.stack([truth, truth.log_softmax(-1)]).gather(2, targets.clamp_min(0).expand(2, -1, -1))
            difference = (torch.stack([logits, logprobs]) - wanted).masked_fill(targets == IGNORED, 0.0)
            found[name] = {"difference": difference.abs().max().item(), "why": why}
    if rank == 0:
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
