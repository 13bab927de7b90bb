"""A GGUF model as the two files of distributed-llama: the model, .m, and its tokenizer, .t."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from synaptic.dllama.chat import Template, UnknownTemplateError, template_of
from synaptic.dllama.convert.shape import header_of
from synaptic.dllama.convert.source import CannotConvertError, Source
from synaptic.dllama.convert.vocabulary import Converted, vocabulary_of
from synaptic.dllama.convert.weights import Weights
from synaptic.dllama.header import DllamaHeader, NotAModelError
from synaptic.dllama.model_writer import appearing, write_model
from synaptic.dllama.tokenizer_file import packed


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What will be written; nothing is yet. `read_bytes`: of the source's weights."""

    header: DllamaHeader
    converted: Converted
    source: Source
    read_bytes: int
    kinds: frozenset[str]  # of the source's matrices

    @property
    def template(self) -> Template | None:
        try:
            return template_of(self.converted.vocabulary)
        except UnknownTemplateError:
            return None

    @property
    def is_lossless(self) -> bool:
        return self.header.quantization == "F32" or self.kinds <= {"Q4_0"}


def prepare(source: Source, weights: str) -> Conversion:
    """`weights`: Q40 or F32. CannotConvertError says why it cannot be done."""
    header, converted = header_of(source, weights), vocabulary_of(source)
    if len(converted.vocabulary.tokens) != header.vocabulary:
        raise CannotConvertError(f"has {len(converted.vocabulary.tokens)} tokens and embeds {header.vocabulary}")
    try:
        planned = Weights(source, header, converted.order)
    except NotAModelError as error:
        raise CannotConvertError(str(error)) from error
    return Conversion(header, converted, source, planned.read_bytes, planned.kinds)


def convert(conversion: Conversion, model: Path, tokenizer: Path, progress: Callable[[int], None]) -> None:
    """
    Write both files; they appear when they are whole. `progress` gets the bytes that were read since, and may raise to
    end it. Blocks on the disk; OSError, CannotConvertError.
    """
    content = Weights(conversion.source, conversion.header, conversion.converted.order, progress)
    write_model(model, conversion.header, content)
    with appearing(tokenizer) as file:
        file.write(packed(conversion.converted.vocabulary))
