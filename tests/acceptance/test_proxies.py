"""The proxies of docs/deployment.md, as Debian has them, in front of a real server: what they publish and what not."""

import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, own_campaign, placement, publisher, set_up, upstream
from tests.faults.upstream_server import UpstreamServer
from tests.launched import eventually, free_port
from tests.players import SECRETS, serving
from tests.unit.vast.conftest import texts

DEPLOY = Path(__file__).parents[2] / "deploy"
VIEWER = "127.0.0.2"
"""The address that the test's player connects from; the proxy connects from 127.0.0.1."""

NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/adserver.conf;
}}
"""

NOT_PUBLISHED = [
    *("/", "/metrics", "/v1/stats", "/v1/upstreams/status", "/v1/campaigns", "/v1/campaigns/own/budget", "/console"),
    *("/demo", "/demo/viewer?user_id=demo-1", "/docs", "/openapi.json", "/static/pages.css", "/healthz", "/readyz"),
    *("/event/../metrics", "/event/%2e%2e/metrics", "/event/..%2fmetrics", "//metrics", "/vast/../metrics"),
    *("/v1/sessions/../campaigns", "/v1/sessions/%2e%2e/stats"),
]


@dataclass(frozen=True)
class Proxied:
    """A player's way through a proxy, and the network that the server asks for an ad."""

    player: httpx.AsyncClient
    network: UpstreamServer
    url: str


@dataclass(frozen=True)
class Ports:
    """The addresses of the proxy and of the server."""

    tls: int
    plain: int
    server: int


def nginx(folder: Path, ports: Ports) -> list[str]:
    text = (DEPLOY / "nginx" / "adserver.conf").read_text()
    text = text.replace("listen 443", f"listen 127.0.0.1:{ports.tls}").replace(
        "listen 80;", f"listen 127.0.0.1:{ports.plain};"
    )
    text = text.replace("/etc/ssl/adserver", str(folder)).replace("127.0.0.1:8080", f"127.0.0.1:{ports.server}")
    (folder / "adserver.conf").write_text(text)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
    return ["-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, ports: Ports) -> list[str]:
    text = (DEPLOY / "caddy" / "Caddyfile").read_text()
    text = text.replace("\n{\n", "\n{\n\tadmin off\n\tauto_https disable_redirects\n", 1)
    text = text.replace(
        "ads.example.com {", f"https://127.0.0.1:{ports.tls} {{\n\ttls {folder}/fullchain.pem {folder}/privkey.pem", 1
    )
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{ports.server}")
    (folder / "Caddyfile").write_text(text)
    return ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


PROXIES = {"nginx": nginx, "caddy": caddy}


@pytest.fixture(scope="module", params=PROXIES)
async def proxied(
    request: pytest.FixtureRequest, of_module: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Proxied]:
    program = shutil.which(request.param, path="/usr/sbin:/usr/bin:/usr/local/bin")
    openssl = shutil.which("openssl")
    if program is None or openssl is None:
        pytest.skip(f"there is no {request.param} or no openssl: apt-get install {request.param} openssl")
    folder = tmp_path_factory.mktemp(request.param)
    make_certificate(openssl, folder)
    tls_port = free_port()
    url = f"https://127.0.0.1:{tls_port}"
    settings = {"PUBLIC_URL": url, "TRUSTED_PROXIES": "127.0.0.1/32", "WORKERS": "1"}
    trust = ssl.create_default_context(cafile=folder / "fullchain.pem")
    async with UpstreamServer() as network:
        await set_up(
            of_module.owner,
            publisher("publisher1"),
            upstream("network", network.url),
            own_campaign("own") + 'click_through = "https://acme.example/"\n',
            campaign("network", upstreams=["network"]),
            placement("preroll", "own"),
            placement("other", "network"),
        )
        async with serving(of_module.app, **settings) as server:
            arguments = PROXIES[request.param](folder, Ports(tls_port, free_port(), server.port))
            with running(program, arguments, folder, tls_port):
                transport = httpx.AsyncHTTPTransport(verify=trust, local_address=VIEWER)
                async with httpx.AsyncClient(base_url=url, transport=transport, timeout=10) as player:
                    yield Proxied(player, network, url)


def make_certificate(openssl: str, folder: Path) -> None:
    command = (
        f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 1 -subj /CN=test"
        f" -addext subjectAltName=IP:127.0.0.1 -keyout {folder}/privkey.pem -out {folder}/fullchain.pem"
    )
    subprocess.run(command.split(), check=True, capture_output=True)


@contextmanager
def running(program: str, arguments: list[str], folder: Path, port: int) -> Iterator[None]:
    """The proxy, from when it accepts connections."""
    environment = {"HOME": str(folder), "PATH": "/usr/sbin:/usr/bin:/bin"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *arguments], env=environment, stdout=log, stderr=log)
    try:
        assert eventually(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, (folder / "log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(30)


def listens(port: int) -> bool:
    try:
        httpx.get(f"https://127.0.0.1:{port}/", verify=False, timeout=5)
    except httpx.TransportError:
        return False
    return True


async def test_an_ad_its_beacon_and_its_click_pass(proxied: Proxied) -> None:
    answer = await proxied.player.get("/vast", params={"placement_id": "preroll"})
    assert answer.status_code == 200
    (impression,) = texts(answer.content, "Impression")
    (click,) = texts(answer.content, "ClickThrough")
    assert impression.startswith(f"{proxied.url}/event/impression?t=")
    beacon = await proxied.player.get(impression)
    assert (beacon.status_code, beacon.headers["content-type"]) == (200, "image/gif")
    clicked = await proxied.player.get(click)
    assert (clicked.status_code, clicked.headers["location"]) == (302, "https://acme.example/")


@pytest.mark.parametrize("path", ["/vmap?placement_id=preroll", "/v1/sessions/any"])
async def test_the_server_answers_on_players_other_paths(proxied: Proxied, path: str) -> None:
    answer = await proxied.player.get(path)
    assert answer.headers["content-type"].startswith(("application/xml", "application/problem+json"))


@pytest.mark.parametrize("path", NOT_PUBLISHED)
async def test_nothing_else_is_published(proxied: Proxied, path: str) -> None:
    # httpx would tidy the path up before it is sent.
    request = proxied.player.build_request("GET", "/")
    request.url = httpx.URL(f"{proxied.url}/").copy_with(raw_path=path.encode())
    answer = await proxied.player.send(request)
    assert answer.status_code in (400, 404)
    assert re.search("adserver_|campaign_id|success_rate|upstreams", answer.text) is None


async def test_the_viewer_is_who_connects_whatever_a_client_claims(proxied: Proxied) -> None:
    claims = {"X-Forwarded-For": "203.0.113.9", "X-Device-IP": "203.0.113.10", "X-Device-User-Agent": "another"}
    answer = await proxied.player.get("/vast", params={"placement_id": "other"}, headers=claims)
    assert answer.status_code == 200
    sent = proxied.network.requests[-1].headers
    assert sent["x-device-ip"] == VIEWER
    assert sent["x-device-user-agent"].startswith("python-httpx")


async def test_a_body_that_is_too_large_does_not_reach_the_server(proxied: Proxied) -> None:
    token = {"Authorization": f"Bearer {SECRETS['ADMIN_TOKEN']}"}
    answer = await proxied.player.post("/v1/ads", content=b"x" * 1_500_000, headers=token)
    assert answer.status_code in (413, 502)  # Caddy before 2.7 blames the server.
