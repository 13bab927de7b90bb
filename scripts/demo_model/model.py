"""
A Llama in PyTorch, small enough to read: RMSNorm, rotary positions, grouped attention, SwiGLU.

Rotary pairs are interleaved (2i, 2i+1), as both engines want them for Llama, so no export permutes a row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor, nn

from scripts.demo_model.shape import Shape, Weights

BLOCK = 32
Cache = list[Tensor]  # keys and values of the positions before: (batch, kv heads, positions, head length)


def q4_0(weight: Tensor) -> Tensor:
    """The nearest values Q4_0 can hold, by the rule of ggml's quantize_row_q4_0_ref and of distributed-llama's writer."""
    blocks = weight.reshape(-1, BLOCK)  # along the inputs
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = largest / -8.0
    inverse = torch.where(scale != 0, 1.0 / scale, torch.zeros_like(scale))
    levels = torch.clamp(torch.floor(blocks * inverse + 8.5), 0, 15)
    return ((levels - 8.0) * scale.half().float()).reshape(weight.shape)


class Matrix(nn.Linear):
    """While `quantizing`, the forward pass sees Q4_0 values and the gradient passes straight through."""

    quantizing = False

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if Matrix.quantizing:
            weight = weight + (q4_0(weight) - weight).detach()
        return F.linear(x, weight)


class Norm(nn.Module):
    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.epsilon)


def rotary_table(shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosines and sines: (context, head length / 2)"""
    frequencies = 1.0 / (shape.rope_base ** (torch.arange(0, shape.head_length, 2).float() / shape.head_length))
    angles = torch.outer(torch.arange(shape.context).float(), frequencies)
    return torch.cos(angles), torch.sin(angles)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """x: (batch, heads, positions, head length)"""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1).flatten(-2)


class Block(nn.Module):
    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.shape = shape
        width, kv_width, all_heads = shape.width, shape.kv_heads * shape.head_length, shape.heads * shape.head_length
        self.attn_norm, self.ffn_norm = Norm(width, shape.epsilon), Norm(width, shape.epsilon)
        self.attn_q, self.attn_k, self.attn_v = Matrix(width, all_heads), Matrix(width, kv_width), Matrix(width, kv_width)
        self.attn_output = Matrix(all_heads, width)
        self.ffn_gate, self.ffn_up, self.ffn_down = Matrix(width, shape.hidden), Matrix(width, shape.hidden), Matrix(shape.hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor, cache: Cache | None = None) -> Tensor:
        """x: (batch, positions, width)"""
        x = x + self.dropout(self.attn_output(self._attend(self.attn_norm(x), cosine, sine, cache)))
        h = self.ffn_norm(x)
        return x + self.dropout(self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h)))

    def _attend(self, h: Tensor, cosine: Tensor, sine: Tensor, cache: Cache | None) -> Tensor:
        shape = self.shape
        batch, positions, _ = h.shape
        query = rotate(self._heads(self.attn_q(h), shape.heads), cosine, sine)
        key = rotate(self._heads(self.attn_k(h), shape.kv_heads), cosine, sine)
        value = self._heads(self.attn_v(h), shape.kv_heads)
        if cache is not None:
            if cache:
                key, value = torch.cat((cache[0], key), 2), torch.cat((cache[1], value), 2)
            cache[:] = [key, value]
        shared = shape.heads // shape.kv_heads  # query heads per key head
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
        is_causal = key.shape[2] == positions  # otherwise one new position looks at all before
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=is_causal)
        return attended.transpose(1, 2).reshape(batch, positions, -1)

    def _heads(self, x: Tensor, heads: int) -> Tensor:
        """(batch, positions, heads × head length) → (batch, heads, positions, head length)"""
        return x.view(x.shape[0], x.shape[1], heads, self.shape.head_length).transpose(1, 2)


class Llama(nn.Module):
    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape, dropout) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.epsilon)
        self.output = Matrix(shape.width, shape.vocabulary)
        self.dropout = nn.Dropout(dropout)
        for name, table in zip(("cosine", "sine"), rotary_table(shape), strict=True):
            self.register_buffer(name, table, persistent=False)
        self._initialise()

    def forward(self, tokens: Tensor, position: int = 0, caches: Sequence[Cache] | None = None) -> Tensor:
        """tokens: (batch, positions) → logits: (batch, positions, vocabulary)"""
        end = position + tokens.shape[1]
        cosine, sine = self.cosine[position:end], self.sine[position:end]
        x = self.dropout(self.token_embd(tokens))
        for number, block in enumerate(self.blk):
            x = block(x, cosine, sine, None if caches is None else caches[number])
        return self.output(self.output_norm(x))

    @torch.no_grad()
    def generate(self, tokens: Sequence[int], most: int, stop: Collection[int]) -> list[int]:
        """The likeliest tokens after these, up to one of `stop`."""
        caches: list[Cache] = [[] for _ in self.blk]
        answer: list[int] = []
        logits = self(torch.tensor([list(tokens)]), 0, caches)[0, -1]
        position = len(tokens)
        while len(answer) < most and position < self.shape.context:
            token = int(logits.argmax())
            if token in stop:
                break
            answer.append(token)
            logits = self(torch.tensor([[token]]), position, caches)[0, -1]
            position += 1
        return answer

    def weights(self) -> Weights:
        return {name: weight.detach().float().numpy() for name, weight in self.state_dict().items()}

    @torch.no_grad()
    def snap(self) -> None:
        """Matrices to Q4_0 values, the embedding to f16: every file format can then hold the very same weights."""
        for module in self.modules():
            if isinstance(module, Matrix):
                module.weight.copy_(q4_0(module.weight))
        self.token_embd.weight.copy_(self.token_embd.weight.half().float())

    def _initialise(self) -> None:
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, 0, self._deviation(name, weight.shape[1]))
        nn.init.normal_(self.token_embd.weight, 0, 0.5)

    def _deviation(self, name: str, inputs: int) -> float:
        if name in ("token_embd.weight", "output.weight"):
            return 0.02
        adds_to_stream = name.endswith(("attn_output.weight", "ffn_down.weight"))
        return inputs**-0.5 * ((2 * self.shape.layers) ** -0.5 if adds_to_stream else 1.0)


def save(model: Llama, path: Path) -> None:
    torch.save((dataclasses.asdict(model.shape), model.state_dict()), path)


def load(path: Path) -> Llama:
    shape, state = torch.load(path)
    model = Llama(Shape(**shape))
    model.load_state_dict(state)
    return model.eval()
