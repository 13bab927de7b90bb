"""TLS of what people reach: by the server itself, or by a stunnel in front of it, with certificates that a Step CA renews."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY, end
from systemd_units import on_disk

from synaptic.deploy.files.render import render, write
from synaptic.deploy.profile.document import document_of
from synaptic.deploy.profile.profile import Profile
from synaptic.deploy.profile.read import profile_of
from synaptic.errors import UsageError

ANALYZE = shutil.which("systemd-analyze")
RENEW = REPOSITORY / "config/deploy/bin/llama-tls-renew"
TLS = "tls: {certificate: /etc/tls/c.pem, key: /etc/tls/k.pem}"
FRONT = TLS.replace("}", ", front: /usr/local/bin/stunnel}")
STEP = FRONT.replace("front:", "step: {ca_url: 'https://ca:9000', root: /etc/tls/root.pem}, front:")
TEXT = """\
schema: 1
name: one
version: "0.1"
status: active
networks: {lan: {kind: ethernet, cidr: 10.0.0.0/24}}
node_classes: {box: {arch: x86_64}}
nodes: {a: {class: box, addr: {lan: 10.0.0.10}}, b: {class: box, addr: {lan: 10.0.0.11}}}
roles: {llama_head: a, llama_rpc: [b]}
services: {SAID, llama_head: {model: /m, port: 8443}, models: {dir: /srv/our models, kind: nfs, export: "nas:/models"}}
"""
API = TEXT.replace("llama_head: a, llama_rpc: [b]", "dllama_root: a, dllama_worker: [b]").replace(
    "llama_head: {model: /m, port: 8443}", "dllama_root: {model: /m, tokenizer: /t, port: 8443}"
)


def profile(said: str, text: str = TEXT) -> Profile:
    return profile_of(document_of(Path("one.yaml"), text.replace("SAID, ", f"{said}, " if said else "")))


def unit(said: str, name: str, text: str = TEXT) -> str:
    return render(profile(said, text), "systemd")[f"a/etc/systemd/system/{name}"].text


def test_nothing_of_it_is_there_unless_it_is_asked_for() -> None:
    for target in ("systemd", "ansible"):
        assert not [path for path, file in render(profile(""), target).items() if "tls" in path or "ssl-cert" in file.text]


def test_a_server_that_can_reads_the_certificate_itself() -> None:
    head = unit(TLS, "llama-head.service")
    assert "LoadCredential=certificate:/etc/tls/c.pem" in head
    assert "--url https://10.0.0.10:8443 " in head
    assert "--ssl-cert-file ${CREDENTIALS_DIRECTORY}/certificate --ssl-key-file ${CREDENTIALS_DIRECTORY}/key" in head
    assert not [path for path in render(profile(TLS), "systemd") if "llama-tls" in path]


@pytest.mark.parametrize(("text", "server", "front"), [(TEXT, "llama-head", "llama-tls"), (API, "dllama-api", "dllama-tls")])
def test_a_front_takes_the_place_of_one_that_cannot(text: str, server: str, front: str) -> None:
    files = render(profile(FRONT, text), "systemd")
    assert "--host 127.0.0.1 --port 8443" in unit(FRONT, f"{server}.service", text)
    assert f"After=network-online.target {server}.service" in unit(FRONT, f"{front}.service", text)
    conf = files[f"a/etc/llama-cluster/{front}.conf"].text.splitlines()
    assert {"accept = 10.0.0.10:8443", "connect = 127.0.0.1:8443", f"cert = /run/credentials/{front}.service/certificate"} <= set(conf)
    assert '"https://' in files["a/etc/consul.d/llama.json"].text or server == "dllama-api"


@pytest.mark.parametrize(
    ("said", "text", "why"),
    [
        (TLS, API, "line 9: services.tls: dllama-api speaks no TLS"),
        (FRONT, TEXT.replace("port: 8443", "host: 127.0.0.1"), "services.tls.front: a serves on 127.0.0.1 alone"),
        (TLS, TEXT.replace("port: 8443", "tls_certificate: /c, tls_key: /k"), "services.llama_head.tls_certificate"),
        (TLS.replace(", key: /etc/tls/k.pem", ""), TEXT, "line 9: services.tls: 'key' is a required property"),
        (STEP.replace("https://ca", "http://ca"), TEXT, "services.tls.step.ca_url"),
    ],
)
def test_what_cannot_be_is_refused(said: str, text: str, why: str) -> None:
    with pytest.raises(UsageError, match=re.escape(why)):
        profile(said, text)


@pytest.mark.parametrize("target", ["compose", "nohup"])
def test_a_front_is_not_left_out_in_silence(target: str) -> None:
    with pytest.raises(UsageError, match="TLS by a front is not there for"):
        render(profile(FRONT), target)


UNITS = [
    (text, name)
    for text in (TEXT, API)
    for name in render(profile(STEP, text), "systemd")
    if re.search(r"^a/.*\.(service|timer|mount)$", name)
]


@pytest.mark.parametrize(("text", "name"), UNITS)
def test_systemd_has_nothing_to_mind_and_little_is_exposed(text: str, name: str, tmp_path: Path) -> None:
    if not ANALYZE:
        pytest.skip("systemd-analyze is not here: it comes with systemd")
    path = on_disk(render(profile(STEP, text), "systemd"), name, tmp_path)
    said = subprocess.run([ANALYZE, "verify", path], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    if path.suffix == ".service":
        words = [ANALYZE, "security", "--offline=true", "--threshold=20", "--no-pager", path]
        assert subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_the_models_are_mounted_before_who_reads_them() -> None:
    assert 'RequiresMountsFor="/srv/our models"' in unit(FRONT, "llama-head.service")
    name = next(path for path in render(profile(FRONT), "systemd") if path.endswith(".mount")).rpartition("/")[2]
    escaped = subprocess.run(["systemd-escape", "--path", "--suffix=mount", "/srv/our models"], capture_output=True, text=True, check=False)
    assert escaped.returncode or name == escaped.stdout.strip()
    assert name == "srv-our\\x20models.mount"


def program(variable: str, name: str) -> str:
    found = os.environ.get(variable) or shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if not found:
        pytest.skip(f"{name} is not here: install it, or name it with {variable}")
    return found


def certificate(folder: Path) -> Path:
    words = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=here -addext subjectAltName=IP:127.0.48.1 -keyout key -out certificate"
    )
    subprocess.run(words.split(), cwd=folder, check=True, capture_output=True)
    return folder / "certificate"


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found.server_address[1]
        found.shutdown()
        thread.join()


def test_a_real_stunnel_speaks_tls_for_a_server(server: int, tmp_path: Path) -> None:
    stunnel, cert = program("STUNNEL", "stunnel"), certificate(tmp_path)
    conf = render(profile(FRONT, TEXT.replace("8443", str(server))), "systemd")["a/etc/llama-cluster/llama-tls.conf"].text
    conf = conf.replace("/run/credentials/llama-tls.service/", f"{tmp_path}/").replace("10.0.0.10", "127.0.48.1")
    (tmp_path / "front.conf").write_text(conf)
    process = subprocess.Popen([stunnel, str(tmp_path / "front.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        assert any("Configuration successful" in line for line in process.stderr), "stunnel ended"
        with urllib.request.urlopen(f"https://127.0.48.1:{server}/", context=ssl.create_default_context(cafile=str(cert))) as answer:
            assert answer.read() == b"ok"
        with pytest.raises(OSError), urllib.request.urlopen(f"http://127.0.48.1:{server}/") as answer:
            answer.read()
    finally:
        end(process)  # type: ignore[arg-type]
        process.stderr.close()


class Authority:
    """A Step CA of a test's own."""

    def __init__(self, folder: Path, step: str, step_ca: str) -> None:
        self.step, self.folder = step, folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.url = f"https://127.0.0.1:{probe.getsockname()[1]}"
        self.variables = {**os.environ, "STEPPATH": str(folder / "step"), "HOME": str(folder)}
        (folder / "password").write_text("secret")
        words = [
            "ca",
            "init",
            "--name",
            "ours",
            "--dns",
            "127.0.0.1",
            "--address",
            self.url.removeprefix("https://"),
            "--provisioner",
            "us",
        ]
        self.run(*words, "--deployment-type", "standalone", "--password-file", "password")
        words = [step_ca, "step/config/ca.json", "--password-file", "password"]
        self.process = subprocess.Popen(words, cwd=folder, env=self.variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout
        assert any("Serving HTTPS" in line for line in self.process.stdout), "the CA ended"

    @property
    def root(self) -> Path:
        return self.folder / "step/certs/root_ca.crt"

    def run(self, *words: str) -> None:
        subprocess.run([self.step, *words], cwd=self.folder, env=self.variables, check=True, capture_output=True, timeout=60)

    def certificate(self, since: int, until: int) -> None:
        """Good from and until so many minutes from now."""
        words = ["ca", "certificate", "here", "c.pem", "k.pem", "--force", "--provisioner", "us", "--provisioner-password-file", "password"]
        self.run(*words, "--ca-url", self.url, "--root", str(self.root), f"--not-before={_at(since)}", f"--not-after={_at(until)}")

    def stop(self) -> None:
        end(self.process)  # type: ignore[arg-type]


def _at(minutes: int) -> str:
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    found = Authority(tmp_path, program("STEP", "step"), program("STEP_CA", "step-ca"))
    (tmp_path / "systemctl").write_text('#!/bin/sh\necho "$@" >>"${0%/*}/restarted"\n')
    (tmp_path / "systemctl").chmod(0o755)
    yield found
    found.stop()
    with contextlib.suppress(AttributeError):
        found.process.stdout.close()  # type: ignore[union-attr]


def renewed(authority: Authority) -> tuple[int, str]:
    """The exit code, and what was restarted."""
    variables = authority.variables | {"PATH": f"{authority.folder}:{os.environ['PATH']}"}
    words = [RENEW, authority.step, authority.url, authority.root, "c.pem", "k.pem", "llama-tls.service"]
    said = subprocess.run(words, cwd=authority.folder, env=variables, capture_output=True, check=False)
    log = authority.folder / "restarted"
    return said.returncode, log.read_text() if log.exists() else ""


def test_a_certificate_is_renewed_when_it_is_time_and_who_reads_it_restarted(authority: Authority) -> None:
    authority.certificate(0, 60)
    fresh = (authority.folder / "c.pem").read_text()
    assert renewed(authority) == (0, "")
    assert (authority.folder / "c.pem").read_text() == fresh
    authority.certificate(-4, 2)
    old, key = (authority.folder / "c.pem").read_text(), (authority.folder / "k.pem").read_text()
    assert renewed(authority) == (0, "try-restart llama-tls.service\n")
    assert (authority.folder / "c.pem").read_text() != old
    assert (authority.folder / "k.pem").read_text() == key
    authority.run("certificate", "verify", "c.pem", "--roots", str(authority.root))


def test_without_the_ca_nothing_is_restarted_and_the_unit_fails(authority: Authority) -> None:
    authority.certificate(-4, 2)
    old = (authority.folder / "c.pem").read_text()
    authority.stop()
    code, restarted = renewed(authority)
    assert (code != 0, restarted, (authority.folder / "c.pem").read_text()) == (True, "", old)


@pytest.mark.live
@pytest.mark.timeout(900)
def test_a_server_that_was_built_without_tls_is_refused_before_it_is_started(llama_server: Path, tmp_path: Path) -> None:
    """The pinned build is one."""
    player = shutil.which("ansible-playbook", path=os.pathsep.join([os.environ.get("ANSIBLE", ""), os.environ["PATH"]]))
    if not player or os.geteuid() != 0:
        pytest.skip("ansible-playbook is not here (pip install ansible-core, and set ANSIBLE), or we are not root")
    root = tmp_path / "root"
    for folder in ("etc/systemd/system", "usr/local/bin"):
        (root / folder).mkdir(parents=True)
    (root / "usr/local/bin/llama-server").symlink_to(llama_server)
    write(render(profile(TLS), "ansible"), tmp_path / "out")
    image = f'{{"cluster_root": "{root}", "cluster_is_live": false, "cluster_become": false}}'
    words = [player, "-i", "out/inventory.yml", "out/site.yml", "-c", "local", "-l", "a", "-e", image]
    words += ["-e", "ansible_python_interpreter={{ ansible_playbook_python }}"]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"}
    said = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert said.returncode != 0
    assert "was built without TLS: build it with LLAMA_OPENSSL=ON, or let services.tls.front name a stunnel" in said.stdout
    assert not (root / "etc/systemd/system/llama-head.service").exists()
