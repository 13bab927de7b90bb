"""A file → a profile: its form by the JSON Schema that is shipped, then what a schema cannot say. Errors name the field and its line."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from synaptic.deploy.profile.checks import check
from synaptic.deploy.profile.document import Document
from synaptic.deploy.profile.profile import (
    MANY,
    ONE,
    UNKNOWN,
    Device,
    DllamaRoot,
    DllamaWorker,
    Head,
    Install,
    ModelFile,
    Monitoring,
    Network,
    Node,
    NodeClass,
    Number,
    Profile,
    Rpc,
    Services,
    Source,
    Step,
    Tls,
    Vllm,
)
from synaptic.planning.architecture import Architecture
from synaptic.shipped import shipped
from synaptic.terminal import one_line

SCHEMA = ("hardware", "profile.schema.json")
Values = Mapping[str, Any]  # checked against the schema before


def profile_of(document: Document) -> Profile:
    """Raises UsageError."""
    _check_form(document)
    classes = _whole_classes(document)
    check(document, classes)
    values: Values = document.values
    kinds = {name: _class(name, each) for name, each in classes.items()}
    control: Values = values.get("control", {})
    return Profile(
        name=values["name"],
        version=values["version"],
        status=values["status"],
        about=values.get("about", ""),
        control=control.get("host"),
        control_user=control.get("user"),
        networks={name: _network(name, each) for name, each in values["networks"].items()},
        nodes={name: Node(name, kinds[each["class"]], dict(each["addr"])) for name, each in values["nodes"].items()},
        roles=_roles(values["roles"]),
        services=_services(values),
        sha256=document.sha256,
        canonical=document.canonical,
    )


def _check_form(document: Document) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    schema = json.loads(shipped(*SCHEMA).read_text(encoding="utf-8"))
    error = best_match(Draft202012Validator(schema).iter_errors(document.values))
    if error is not None:
        why = f"{error.instance!r} is not allowed here" if error.validator == "pattern" else error.message
        raise document.wrong(tuple(error.absolute_path), one_line(why, 300))


def _whole_classes(document: Document) -> dict[str, dict[str, Any]]:
    """Each class with what it takes from the one that it is like."""
    classes: dict[str, dict[str, Any]] = document.values["node_classes"]  # type: ignore[assignment]  # the schema has seen it

    def whole(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
        place = ("node_classes", seen[-1], "like") if seen else ("node_classes", name)
        if name in seen:
            raise document.wrong(place, f"a cycle: {' is like '.join((*seen, name))}")
        if name not in classes:
            raise document.wrong(place, f"no node class is called {name}")
        own = classes[name]
        return _merged(whole(own["like"], (*seen, name)), own) if "like" in own else own

    return {name: whole(name, ()) for name in classes}


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict) and "source" not in value
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _class(name: str, values: Values) -> NodeClass:
    cpu: Values = values.get("cpu", {})
    system: Values = values.get("os", {})
    return NodeClass(
        name=name,
        arch=values["arch"],
        cpu=cpu.get("model"),
        cores=_number(cpu.get("cores")),
        mem_gib=_number(cpu.get("mem_gib")),
        mem_bw_gbs=_number(cpu.get("mem_bw_gbs")),
        devices=tuple(map(_device, values.get("devices", ()))),
        distro=system.get("distro"),
        systemd=system.get("systemd"),
        cgroup=system.get("cgroup"),
        reserve_gib=_number(values.get("reserve_gib")),
    )


def _device(values: Values) -> Device:
    return Device(
        id=values["id"],
        kind=values["kind"],
        vendor=values["vendor"],
        model=values["model"],
        mem_gib=_number(values.get("mem_gib")),
        mem_bw_gbs=_number(values.get("mem_bw_gbs")),
        tflops_fp16=_number(values.get("tflops_fp16")),
        backend=tuple(values.get("backend", ())),
    )


def _network(name: str, values: Values) -> Network:
    return Network(name, values["kind"], values.get("cidr"), _number(values.get("gbps")), _number(values.get("rtt_us")))


def _number(values: Values | None) -> Number:
    return Number(**values) if values else UNKNOWN


def _roles(values: Values) -> dict[str, tuple[str, ...]]:
    many = {role: tuple(values[role]) for role in MANY if role in values}
    return many | {role: (values[role],) for role in ONE if role in values}


def _services(values: Values) -> Services:
    given: Values = values.get("services", {})
    models: Values = given.get("models", {})
    plain = Services(network=given.get("network", next(iter(values["networks"]))))
    return dataclasses.replace(
        plain,
        user=given.get("user", plain.user),
        models_dir=models.get("dir", plain.models_dir),
        models_kind=models.get("kind", plain.models_kind),
        models_export=models.get("export"),
        models_files=tuple(ModelFile(**each) for each in models.get("files", ())),
        tls=_tls(given.get("tls")),
        monitoring=Monitoring(**given.get("monitoring", {})),
        rpc=Rpc(**given.get("llama_rpc", {})),
        head=Head(**given.get("llama_head", {})),
        dllama_worker=DllamaWorker(**given.get("dllama_worker", {})),
        dllama_root=DllamaRoot(**given.get("dllama_root", {})),
        dllama_source=Source(**given["dllama_source"]) if "dllama_source" in given else None,
        vllm=_vllm(given.get("vllm", {})),
    )


def _vllm(values: Values) -> Vllm:
    built: Values = values.get("architecture") or {}
    known = {name: value for name, value in built.items() if name != "source"}
    quantization = values.get("quantization")
    architecture = Architecture(**known, quantization=quantization) if built else None
    return Vllm(**{**values, "architecture": architecture, "install": _install(values.get("install"))})


def _install(values: Values | None) -> Install | None:
    if values is None:
        return None
    lists = {name: tuple(values.get(name, ())) for name in ("packages", "indexes")}
    return Install(**lists, python=values.get("python", "python3"))


def _tls(values: Values | None) -> Tls | None:
    return Tls(**{**values, "step": Step(**values["step"]) if "step" in values else None}) if values else None
