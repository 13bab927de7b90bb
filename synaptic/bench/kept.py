"""Measurements in files: written whole, read only where they have the form of config/bench/result.schema.json."""

from __future__ import annotations

import functools
import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synaptic.bench.figures import Figure
from synaptic.bench.result import METRICS, Cache, Identity, Limits, LoadPoint, Result, Run, Software
from synaptic.bench.sample import Sample
from synaptic.errors import UsageError, os_reason
from synaptic.files import write_whole
from synaptic.results import to_json
from synaptic.shipped import shipped
from synaptic.terminal import one_line

LIMIT = 1 << 28  # bytes that are read at most
WANTED = "name a file that bench run wrote, or bench import kept"
Values = Mapping[str, Any]  # checked against the schema before


def new_id() -> str:
    """That of a measurement of now; by name they sort by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"


def write(result: Result, path: Path) -> None:
    """Raises SynapticError."""
    write_whole(path, json.dumps(to_json(result), indent=1) + "\n")


def read(path: Path) -> Result:
    """Raises UsageError for what is no measurement."""
    document = read_json(path)
    if problem := problem_of(document):
        raise UsageError(f"{path} is no measurement of ours: {problem}", hint="bench run writes one; bench import reads llama-bench's")
    return _result(document)


def read_json(path: Path, hint: str = WANTED) -> Any:  # noqa: ANN401 - whatever the file holds
    """Raises UsageError."""
    try:
        with path.open("rb") as file:
            return json.loads(file.read(LIMIT))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {os_reason(error)}", hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON", hint=hint) from error


def problem_of(document: object) -> str:
    """What is wrong with its form; empty: nothing."""
    import jsonschema

    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(_schema()).iter_errors(document))
    return f"{error.json_path}: {one_line(error.message, 160)}" if error else ""


@functools.cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shipped("bench", "result.schema.json").read_text(encoding="utf-8"))
    return found


def _result(values: Values) -> Result:
    whole = {
        "model": Identity(**values["model"]),
        "profile": Identity(**values["profile"]) if values["profile"] else None,
        "software": Software(**values["software"]),
        "limits": Limits(**values["limits"]),
        "points": tuple(_point(each) for each in values["shapes"]),
    }
    return Result(**{**{key: value for key, value in values.items() if key != "shapes"}, **whole})


def _point(values: Values) -> LoadPoint:
    figures = {name: _figure(values[name]) for name in (*METRICS, "prompt_tokens", "completion_tokens")}
    return LoadPoint(**{**values, **figures, "cache": Cache(**values["cache"]), "runs": tuple(_run(each) for each in values["runs"])})


def _figure(values: Values) -> Figure:
    low_high = values["ci95"]
    return Figure(**{**values, "ci95": (low_high[0], low_high[1]) if low_high else None})


def _run(values: Values) -> Run:
    samples = tuple(Sample(**{**each, "itl": tuple(each["itl"])}) for each in values["requests"])
    return Run(values["repeat"], values["seconds"], values["means"], samples, values["client"])
