"""Addresses of servers: one form inside, and none that could do harm."""

from __future__ import annotations

import pytest

from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.server_url import endpoint_of, is_link_local, server_url, without_path


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("10.0.0.5", "http://10.0.0.5:11434"),
        ("attic:8000", "http://attic:8000"),
        ("ATTIC", "http://attic:11434"),
        ("http://attic", "http://attic:80"),
        ("https://models.example.org/", "https://models.example.org:443"),
        ("HTTPS://models.example.org:8443/v1", "https://models.example.org:8443"),
        (" http://10.0.0.5:11434/api/ ", "http://10.0.0.5:11434"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("http://[fd00::5]", "http://[fd00::5]:80"),
    ],
)
def test_every_way_to_write_it_becomes_one(typed: str, url: str) -> None:
    assert server_url(typed) == url
    assert server_url(url) == url
    assert f"{url.partition('://')[0]}://{endpoint_of(url)}" == url


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "not an address"),
        ("file:///etc/passwd", "file:// is no HTTP"),
        ("gopher://10.0.0.5:11434", "gopher:// is no HTTP"),
        ("unix:///var/run/docker.sock", "unix:// is no HTTP"),
        ("http://169.254.169.254", "an address of the link itself"),
        ("http://169.254.169.254/latest/meta-data", "only the address of the server"),
        ("169.254.1.1:11434", "an address of the link itself"),
        ("http://[fe80::1]:80", "an address of the link itself"),
        ("http://[fd00:ec2::254]", "an address of the link itself"),
        ("http://[::ffff:169.254.169.254]", "an address of the link itself"),
        ("http://2852039166", "an address of the link itself"),
        ("http://0xa9fea9fe", "an address of the link itself"),
        ("http://169.16689662", "an address of the link itself"),
        ("http://[::1", "brackets"),
        ("http://host:99999", "not a port"),
        ("http://host/api/tags", "only the address of the server"),
        ("http://host?key=1", "only the address of the server"),
        ("http://ho st", "not an address"),
    ],
)
def test_what_is_no_server_of_models_is_refused(typed: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        server_url(typed)


@pytest.mark.parametrize("typed", ["http://me:sesame@host", "me:sesame@host", "http://sesame@host:1", "file://me:sesame@host/x"])
def test_a_password_is_refused_and_not_repeated(typed: str) -> None:
    with pytest.raises(UsageError) as caught:
        server_url(typed)
    assert "sesame" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("written", ["https://attic:8443", "https://attic:8443/", "https://attic:8443/v1", "https://attic:8443/v1/"])
def test_what_stands_beside_v1_is_asked_without_it(written: str) -> None:
    assert without_path(written) == "https://attic:8443"


def test_addresses_of_the_link_are_known_in_every_form() -> None:
    assert [is_link_local(host) for host in ("169.254.0.1", "fe80::1%eth0", "10.0.0.1", "::1", "attic", "127.1")] == [
        True,
        True,
        *[False] * 4,
    ]
    assert endpoint_of("https://[::1]:8443") == Endpoint("::1", 8443)
