"""The demo's upstream, in a process of its own: `python -P -m app.launch.demo_upstream HOST PORT [URL]`.

URL is the base URL that players use, if it differs from the address.
"""

import signal
import sys
from importlib.resources import files

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.launch.child_server import ChildServer
from app.launch.sockets import shared_socket

VIDEO = files("app.web") / "static" / "ad.mp4"
GRACE_S = 1

VAST = """<?xml version="1.0" encoding="UTF-8"?>
<VAST version="4.2" xmlns="http://www.iab.com/VAST">
  <Ad id="demo-upstream">
    <InLine>
      <AdSystem>demo upstream</AdSystem>
      <Error><![CDATA[{base}/beacon?error=[ERRORCODE]]]></Error>
      <Impression><![CDATA[{base}/beacon?impression]]></Impression>
      <AdServingId>demo-upstream</AdServingId>
      <AdTitle>An ad from an upstream</AdTitle>
      <Creatives>
        <Creative id="demo-upstream">
          <Linear>
            <Duration>00:00:06</Duration>
            <MediaFiles>
              <MediaFile delivery="progressive" type="video/mp4" width="640" height="360">
                <![CDATA[{base}/ad.mp4]]>
              </MediaFile>
            </MediaFiles>
          </Linear>
          <UniversalAdId idRegistry="unknown">demo-upstream</UniversalAdId>
        </Creative>
      </Creatives>
    </InLine>
  </Ad>
</VAST>
"""


def application(base: str) -> Starlette:
    """Return an application that answers every request with the same ad, and serves its media and beacons."""
    document = VAST.replace("{base}", base)

    async def vast(_request: Request) -> Response:
        return Response(document, media_type="application/xml")

    async def video(_request: Request) -> Response:
        # Some players fetch the file by script before they play it.
        return Response(VIDEO.read_bytes(), media_type="video/mp4", headers={"Access-Control-Allow-Origin": "*"})

    async def beacon(_request: Request) -> Response:
        return Response(status_code=204)

    return Starlette(routes=[Route("/vast", vast), Route("/ad.mp4", video), Route("/beacon", beacon)])


def main(host: str, port: int, base: str) -> None:
    """Serve until SIGTERM or until the launcher has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    config = uvicorn.Config(
        application(base),
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    ChildServer(config).run(sockets=[shared_socket(host, port)])


if __name__ == "__main__":
    host, port, *base = sys.argv[1:]
    main(host, int(port), base[0] if base else f"http://{host}:{port}")
