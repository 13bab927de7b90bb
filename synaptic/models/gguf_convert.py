"""A GGUF model, in one file or several, as the source of a conversion to distributed-llama's format."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from synaptic.dllama.convert.source import Source, SourceTensor
from synaptic.models.gguf import Content, read_content
from synaptic.models.gguf_header import Tensor
from synaptic.models.gguf_source import refusal
from synaptic.models.split import other_files, read_whole

_TEMPLATE = "tokenizer.chat_template"
_ARRAYS = tuple(f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type", "merges"))


@contextmanager
def convertible(path: Path) -> Iterator[Source]:
    """Its tensors can be read while this lasts. Blocks on the disk; EngineError: one sentence that names the file and the cause."""
    header = read_whole(path)
    files = [path, *(other_files(path, header.split_count) if header.split_count > 1 else [])]
    tensors: dict[str, SourceTensor] = {}
    with ExitStack() as stack:
        first = read_content(path, (_TEMPLATE, *_ARRAYS))
        for file in files:
            content = first if file == path else read_content(file, ())
            read = _reader(file, stack)
            tensors |= {each.name: _tensor(each, content, read) for each in content.tensors}
        template = first.whole.get(_TEMPLATE, b"")
        arrays = {name: value for name, value in first.whole.items() if not isinstance(value, bytes)}
        yield Source(first.keys, {_TEMPLATE: template} if isinstance(template, bytes) else {}, arrays, tensors)


def _reader(path: Path, stack: ExitStack) -> Callable[[int, int], bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)

    def read(offset: int, count: int) -> bytes:
        piece = os.pread(descriptor, count, offset)
        while len(piece) < count:
            more = os.pread(descriptor, count - len(piece), offset + len(piece))
            if not more:
                raise refusal(path, "ends early: it became shorter while it was read")
            piece += more
        return piece

    return read


def _tensor(tensor: Tensor, content: Content, read: Callable[[int, int], bytes]) -> SourceTensor:
    start = content.start + tensor.offset
    return SourceTensor(tensor.name, tensor.kind, tensor.shape, tensor.bytes, lambda offset, count: read(start + offset, count))
