"""
TLS for what people reach: the head of llama.cpp and the API of distributed-llama.

    a llama-server that was built with OpenSSL    reads the certificate itself
    any other, and dllama-api                     listens on loopback; a stunnel in front of it has its address and port
    a Step CA                                     a timer renews the certificate, and restarts whoever reads it
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from synaptic.deploy.files import escape
from synaptic.deploy.files.unit import NEWEST, SINCE, fill, gated, hardening, template
from synaptic.deploy.profile.profile import BIN, Profile, Tls
from synaptic.deploy.services.service import Service
from synaptic.shipped import shipped

LOOPBACK = "127.0.0.1"
RENEW = f"{BIN}/llama-tls-renew"
FRONTS = {"llama-head": "llama-tls", "dllama-api": "dllama-tls"}


def behind(profile: Profile) -> Profile:
    """The profile as its servers are to see it."""
    tls, own = profile.services.tls, profile.services
    if tls is None:
        return profile
    if tls.front:
        head, root = dataclasses.replace(own.head, host=LOOPBACK), dataclasses.replace(own.dllama_root, host=LOOPBACK)
        return dataclasses.replace(profile, services=dataclasses.replace(own, head=head, dllama_root=root))
    head = dataclasses.replace(own.head, tls_certificate=tls.certificate, tls_key=tls.key)
    return dataclasses.replace(profile, services=dataclasses.replace(own, head=head))


def fronts(profile: Profile, services: Sequence[Service]) -> list[Service]:
    """What is to listen in the place of `services`."""
    tls = profile.services.tls
    if tls is None or not tls.front:
        return []
    return [
        Service(
            FRONTS[service.name],
            service.role,
            service.node,
            (tls.front, f"/etc/llama-cluster/{FRONTS[service.name]}.conf"),
            service.ports,
            credentials={"certificate": tls.certificate, "key": tls.key},
            beside=(f"{service.name}.service",),
            is_front=True,
            has_key="api-key" in service.credentials,
        )
        for service in services
        if service.name in FRONTS
    ]


def tls_files(profile: Profile, services: Sequence[Service]) -> dict[str, str]:
    """Of one node, by path: what its fronts read, and what renews its certificate. Nothing where no TLS is asked for."""
    tls = profile.services.tls
    own = [service for service in services if service.name in FRONTS or service.is_front]
    if tls is None or not own:
        return {}
    files = {f"etc/llama-cluster/{service.name}.conf": stunnel(profile, service) for service in own if service.is_front}
    if tls.step:
        files["usr/local/bin/llama-tls-renew"] = shipped("deploy", "bin", "llama-tls-renew").read_text(encoding="utf-8")
        readers = [service for service in own if service.is_front or not tls.front]
        names = ("llama-tls-renew.service", "llama-tls-renew.timer")
        files |= {f"etc/systemd/system/{name}": _renewal(profile, tls, readers, name) for name in names}
    return files


def stunnel(profile: Profile, service: Service) -> str:
    """stunnel(8): one service, in the foreground, no files but what systemd hands over."""
    own = profile.services
    host = (own.head.host if service.name == "llama-tls" else own.dllama_root.host) or profile.address(service.node)
    handed = (service.node.kind.systemd or NEWEST) >= SINCE["LoadCredential"]
    where = {name: f"/run/credentials/{service.name}.service/{name}" if handed else path for name, path in service.credentials.items()}
    lines = [
        f"; {escape.comment(profile.label)}: TLS for {service.beside[0]}",
        "foreground = yes",
        "pid =",
        "syslog = no",
        "debug = notice",
        f"[{service.name}]",
        f"accept = {host}:{service.port}",
        f"connect = {LOOPBACK}:{service.port}",
        f"cert = {escape.line(where['certificate']).replace('%%', '%')}",
        f"key = {escape.line(where['key']).replace('%%', '%')}",
        "sslVersionMin = TLSv1.2",
        "TIMEOUTclose = 0",
    ]
    return "\n".join(lines) + "\n"


def _renewal(profile: Profile, tls: Tls, readers: Sequence[Service], name: str) -> str:
    """A server reads its certificate when it starts, so those who read it are restarted: only if there is a new one."""
    node, step = readers[0].node, tls.step
    assert step
    restart = (f"{service.name}.service" for service in readers)
    words = (RENEW, step.program, step.ca_url, step.root, tls.certificate, tls.key, *restart)
    folders = sorted({path.rpartition("/")[0] or "/" for path in (tls.certificate, tls.key)})
    values = {
        "label": escape.comment(profile.label),
        "node": escape.comment(node.name),
        "certificate": escape.path(tls.certificate),
        "command": escape.exec_line(words),
        "writes": " ".join(escape.path(f"-{folder}") for folder in folders),
        "hardening": hardening(profile, (), (), is_keyed=True),
    }
    return gated(fill(template(name), values), node.kind.systemd or NEWEST)
