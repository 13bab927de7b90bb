"""
Whom a relay believes over TLS.

The workers that are reached so stand in a file, one a line, as in ssh's known_hosts:

    192.168.1.10:50052 sha256:5f3c…       the fingerprint of the certificate that it shows, in hex; colons are allowed
    192.168.1.11:50052 ca:cluster.pem     whatever these authorities vouch for, if it is for that host

Keys never travel in a command line: a file holds a certificate and its key, or NAME.pem the one and NAME.key the other.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.process.relay_wire import DistrustError

_FINGERPRINT = re.compile(r"sha256:([0-9a-fA-F]{2}:?){31}[0-9a-fA-F]{2}\Z")


@dataclasses.dataclass(frozen=True)
class Trust:
    """In one worker: the fingerprint of its certificate, or the file of authorities. `own` is what we show it."""

    fingerprint: str = ""
    authorities: Path | None = None
    own: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Reads files. Raises UsageError for one that does not fit."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if self.authorities:
            _load_authorities(context, self.authorities)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # `check` looks at the fingerprint, before the first byte is sent
        if self.own:
            _load_own(context, self.own)
        return context

    def check(self, shown: bytes | None) -> None:
        """`shown`: the certificate of the other side. Raises DistrustError."""
        if self.fingerprint and (shown is None or fingerprint(shown) != self.fingerprint):
            raise DistrustError("shows another certificate than the one that is known")

    def over(self, sock: socket.socket, host: str, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Raises ssl.SSLError, or DistrustError. The socket's own time limit counts."""
        secure = context.wrap_socket(sock, server_hostname=host)
        try:
            self.check(secure.getpeercert(binary_form=True))
        except DistrustError:
            secure.close()
            raise
        return secure


def known(path: Path | None, own: Path | None = None) -> Mapping[Endpoint, Trust]:
    """The workers that are reached over TLS. Raises UsageError for a file that does not fit."""
    if path is None:
        return {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot read {path}, which names the workers behind TLS", hint="see: config show") from error
    return dict(_line(path, line, own) for line in lines if line.strip() and not line.lstrip().startswith("#"))


def serving(certificate: Path, clients: Path | None) -> ssl.SSLContext:
    """For the side of the worker. `clients`: the certificates of those that may use it; None: everyone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _load_own(context, certificate)
    if clients:
        _load_authorities(context, clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def fingerprint(certificate: bytes) -> str:
    """Of a certificate in DER."""
    return f"sha256:{hashlib.sha256(certificate).hexdigest()}"


def fingerprint_of(path: Path) -> str:
    """Of the first certificate of a PEM file. Raises UsageError."""
    try:
        text = path.read_text()
        begin, end = text.index("-----BEGIN CERTIFICATE-----"), text.index("-----END CERTIFICATE-----")
        return fingerprint(ssl.PEM_cert_to_DER_cert(text[begin:end] + "-----END CERTIFICATE-----\n"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no file with a certificate", hint="it is PEM: -----BEGIN CERTIFICATE-----") from error


def _line(path: Path, line: str, own: Path | None) -> tuple[Endpoint, Trust]:
    address, _, said = line.strip().partition(" ")
    said = said.strip()
    endpoint = Endpoint.parse(address)
    if _FINGERPRINT.match(said):
        return endpoint, Trust(f"sha256:{said[7:].replace(':', '').lower()}", own=own)
    if said.startswith("ca:") and len(said) > 3:
        return endpoint, Trust(authorities=path.parent / said[3:], own=own)
    raise UsageError(f"{path}: {address} is followed by neither a fingerprint nor authorities", hint="write sha256:HEX or ca:FILE.pem")


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise UsageError(f"{path} is no file of certificates that can be read") from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a certificate may be named itself, not only who signed it


def _load_own(context: ssl.SSLContext, path: Path) -> None:
    beside = path.with_suffix(".key")
    try:
        context.load_cert_chain(path, beside if beside.is_file() and beside != path else None, password=_no_password)
    except OSError as error:
        raise UsageError(f"{path} does not hold a certificate and its key", hint=f"the key may also be in {beside}") from error


def _no_password() -> str:
    """An encrypted key would ask at the terminal."""
    return ""
