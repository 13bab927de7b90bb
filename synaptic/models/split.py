"""
Models that come in several files: `name-00001-of-00003.gguf` and so on. Engines are given the first.

The first file has the keys, every file has tensors.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

from synaptic.errors import EngineError
from synaptic.models.gguf import read_header
from synaptic.models.gguf_header import Header
from synaptic.models.gguf_source import refusal, shown

_PART = re.compile(r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})")  # llama_split_path of llama.cpp


def name_of(path: Path) -> str | None:
    """What a model file is called; None for a file that is a later part of one."""
    part = _PART.fullmatch(path.stem)
    if part is None:
        return path.stem
    return part["stem"] if int(part["number"]) == 1 else None


def read_whole(path: Path) -> Header:
    """The header of a model, summed over its files. EngineError names the file that is missing or broken."""
    first = read_header(path)
    if first.split_number:
        raise _not_first(path, first)
    if first.split_count < 2:
        return first
    parts = [first, *(_read_part(part, first) for part in other_files(path, first.split_count))]
    return dataclasses.replace(
        first,
        parameters=sum(part.parameters for part in parts),
        expert_parameters=sum(part.expert_parameters for part in parts),
        file_bytes=sum(part.file_bytes for part in parts),
        tensor_bytes=sum(part.tensor_bytes for part in parts),
        bytes_per_layer=tuple(map(sum, itertools.zip_longest(*(part.bytes_per_layer for part in parts), fillvalue=0))),
        output_bytes=sum(part.output_bytes for part in parts),
        embedding_bytes=sum(part.embedding_bytes for part in parts),
        tensors=sum(part.tensors for part in parts),
    )


def other_files(path: Path, count: int) -> list[Path]:
    """Where the files after the first of `count` are. EngineError: the first is not called as one."""
    part = _PART.fullmatch(path.stem)
    if part is None or int(part["count"]) != count:
        raise refusal(path, f"is the first of {count} files, but is not called so")
    return [path.with_name(f"{part['stem']}-{number:05}-of-{count:05}{path.suffix}") for number in range(2, count + 1)]


def _read_part(path: Path, first: Header) -> Header:
    try:
        return read_header(path)
    except EngineError as error:
        raise EngineError(str(error), hint=f"the model has {first.split_count} files: is the download complete?") from error


def _not_first(path: Path, header: Header) -> EngineError:
    text = f"{shown(path)} is file {header.split_number + 1} of {header.split_count} of a model"
    return EngineError(text, hint="name the first one")
