"""HTTPS to a Consul agent: whom we trust, and what is wrong with it in words."""

from __future__ import annotations

import ssl

import aiohttp

from synaptic.discovery.consul_answers import Access
from synaptic.errors import UsageError
from synaptic.terminal import one_line

_OF_ANOTHER = (62, 64)  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH


def trust(access: Access) -> ssl.SSLContext | bool:
    """What a connection is checked with. Reads files. Raises UsageError for a CONSUL_CACERT that is no file of certificates."""
    if not access.url.startswith("https:"):
        return True
    try:
        return ssl.create_default_context(cafile=access.authorities)
    except OSError as error:
        raise UsageError("CONSUL_CACERT names no file of certificates that can be read") from error


def objection(error: aiohttp.ClientError, access: Access) -> tuple[str, str | None] | None:
    """What an agent did wrong in TLS, and a hint; None: it was something else."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _distrust(error.certificate_error, access)
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "does not speak TLS as we do", "is it http:// there?"
    if not isinstance(error.__cause__, ssl.SSLError):
        return None
    if "CERTIFICATE" in str(error.__cause__.reason):  # an alert, after our side of the handshake was over
        return "wants a certificate of its clients, and none can be given here", "verify_incoming_https = false lets others in"
    return "broke off its TLS", None


def _distrust(error: Exception, access: Access) -> tuple[str, str | None]:
    why = "no reason given"
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OF_ANOTHER:
            return "shows a certificate that is for another name or address", "CONSUL_HTTP_ADDR takes the name that it is for"
        why = one_line(error.verify_message, 60)
    if access.authorities:
        return f"shows a certificate that CONSUL_CACERT does not vouch for: {why}", None
    return f"shows a certificate that is not trusted: {why}", "CONSUL_CACERT names a file of those that are"
