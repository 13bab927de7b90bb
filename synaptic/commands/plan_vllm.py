"""What `plan` says of a profile's vLLM: how its nodes would cut the model, how fast each way would be, and which is chosen."""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from synaptic.files import path_of
from synaptic.results import Cell, Facts, Rows, gib, plural

if TYPE_CHECKING:
    from synaptic.deploy.profile.profile import Profile
    from synaptic.deploy.services.vllm import Cut
    from synaptic.planning.architecture import Architecture
    from synaptic.planning.parallelism import Layout, Site
    from synaptic.session import Session

WORD = "vllm"  # instead of a model: the one that the profile names


async def plan_vllm(session: Session, profile: str, model: str, context: int | None, requests: int | None) -> Facts | None:
    """None: this is not about vLLM. `model`: the profile's own, by its path, name or `vllm`; or a folder with a config.json."""
    from synaptic.deploy.profile.profiles import Profiles

    chosen = await asyncio.to_thread(Profiles.of(session.environment).profile, profile)
    folder = path_of(model)
    if not chosen.having("vllm_head") or not (_is_own(chosen, model) or await asyncio.to_thread((folder / "config.json").is_file)):
        return None
    asked = chosen.services.vllm
    if _is_own(chosen, model):
        return _shown(chosen, asked.name or PurePosixPath(asked.model or WORD).name, None, context, requests)
    return _shown(chosen, folder.resolve().name, await asyncio.to_thread(_built, folder), context, requests)


def _is_own(profile: Profile, model: str) -> bool:
    asked = profile.services.vllm
    folder = PurePosixPath(asked.model).name if asked.model else None
    plain = folder.rpartition("-")[0] if folder and asked.quantization and folder.casefold().endswith(f"-{asked.quantization}") else None
    names = (WORD, asked.model, asked.name, folder, plain)  # as it was called before it was quantized
    return model.casefold() in {name.casefold() for name in names if name}


def _built(folder: Path) -> Architecture:
    from synaptic.models.hub_config import read_hub_config
    from synaptic.planning.architecture import Architecture

    said = read_hub_config(folder)
    sizes = (said.layers, said.hidden, said.heads, said.kv_heads, said.head_dim, said.intermediate, said.vocabulary)
    return Architecture(*sizes, quantization=said.quantization, experts=said.experts, experts_used=said.experts_used)


def _shown(profile: Profile, model: str, built: Architecture | None, context: int | None, requests: int | None) -> Facts:
    from synaptic.deploy.services.vllm import CONTEXT, cut_of, site_of

    asked = profile.services.vllm
    site, cut = site_of(profile), cut_of(profile, requests=requests, context=context, model=built)
    tokens, at_once = context or asked.context or CONTEXT, requests or asked.requests
    chosen = next((each for each in cut.compared if _is_chosen(each, cut, site)), None)
    facts: list[tuple[str, str | Cell]] = [
        ("verdict", _verdict(profile, model, cut, chosen)),
        ("cut", f"--tensor-parallel-size {cut.tensor} --pipeline-parallel-size {cut.pipeline}"),
        ("why", cut.why),
        ("for", f"{plural(at_once, 'answer')} at once, of {plural(tokens, 'token')}"),
        ("link", _link(site)),
    ]
    tables = [("layouts", _table(cut, site))] if cut.compared else []
    return Facts(facts, _document(profile, model, cut, site, tokens, at_once), tables, _note(cut, site))


def _verdict(profile: Profile, model: str, cut: Cut, chosen: Layout | None) -> Cell:
    nodes = len(profile.having("vllm_head") + profile.having("vllm_worker"))
    where = f"vLLM on {plural(nodes, 'node')} of {profile.label}"
    if chosen is None:
        return Cell(f"{model} on {where}: how it is built is not known, so nothing is weighed", "attention")
    speed = f", {chosen.range[0]:.1f} to {chosen.range[1]:.1f} tok/s together" if chosen.range else ""
    return Cell(f"{model} on {where}: {chosen.name}, {gib(chosen.need)} on each accelerator{speed}", "good")


def _link(site: Site) -> str:
    if len(site.nodes) == 1:
        return "none is needed: one node"
    rtt, bandwidth = site.between.round_trip, site.between.bandwidth
    told = [f"{rtt * 1e6:.0f} µs there and back" if rtt is not None else "", f"{bandwidth * 8 / 1e9:g} Gbit/s" if bandwidth else ""]
    return ", ".join(filter(None, told)) or "not known; profile probe measures it"


def _table(cut: Cut, site: Site) -> Rows[Layout]:
    return Rows(
        key="layouts",
        items=cut.compared,
        columns={
            "layout": lambda each: each.name,
            "nodes": lambda each: str(each.nodes),
            "on each": lambda each: gib(each.need),
            "one answer": lambda each: _speed(each.alone),
            "together": lambda each: _speed(each.together),
            "": lambda each: Cell("chosen", "good") if _is_chosen(each, cut, site) else Cell(each.against, "dim"),
        },
    )


def _speed(value: float | None) -> str:
    return f"{value:.1f} tok/s" if value else "–"


def _is_chosen(layout: Layout, cut: Cut, site: Site) -> bool:
    return (layout.tensor, layout.pipeline, layout.nodes) == (cut.tensor, cut.pipeline, len(site.nodes))


def _note(cut: Cut, site: Site) -> str | None:
    """Whoever names more nodes than help is told."""
    chosen = next((each for each in cut.compared if _is_chosen(each, cut, site)), None)
    fewer = [each for each in cut.compared if each.nodes < len(site.nodes) and not each.against and each.together]
    best = max(fewer, key=lambda each: each.together or 0.0, default=None)
    if best and chosen and best.together and chosen.together and best.together > chosen.together:
        faster = f"{plural(best.nodes, 'node')} alone would be faster: {best.together:.1f} tok/s with {best.name}"
        return f"{faster}; take the others out of roles.vllm_worker"
    return None


def _document(profile: Profile, model: str, cut: Cut, site: Site, tokens: int, requests: int) -> dict[str, object]:
    layouts = [
        {
            "tensor": each.tensor,
            "pipeline": each.pipeline,
            "nodes": each.nodes,
            "need_bytes": each.need,
            "tokens_per_second": {"alone": each.alone, "together": each.together},
            "against": each.against or None,
            "chosen": _is_chosen(each, cut, site),
        }
        for each in cut.compared
    ]
    own = {"model": model, "engine": "vllm", "profile": profile.label, "context": tokens, "slots": requests}
    return {**own, "tensor": cut.tensor, "pipeline": cut.pipeline, "why": cut.why, "layouts": layouts}
