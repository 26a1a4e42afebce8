"""A publisher's page, a network's ad server and a CDN: everything around the ad server that a browser needs."""

from collections import Counter
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from app.web.pages import STATIC

HERE = Path(__file__).parent

INLINE = """<VAST version="4.2" xmlns="http://www.iab.com/VAST"><Ad id="network"><InLine>
  <AdSystem>network</AdSystem><Impression><![CDATA[{base}/seen/impression]]></Impression>
  <AdServingId>network-1</AdServingId><AdTitle>Network</AdTitle>
  <Creatives><Creative><Linear>
    <TrackingEvents><Tracking event="complete"><![CDATA[{base}/seen/complete]]></Tracking></TrackingEvents>
    <Duration>00:00:02</Duration>
    <MediaFiles><MediaFile delivery="progressive" type="video/mp4" width="640" height="360">
      <![CDATA[{base}/media/ad.mp4]]></MediaFile></MediaFiles>
  </Linear><UniversalAdId idRegistry="unknown">network</UniversalAdId></Creative></Creatives>
</InLine></Ad></VAST>"""

WRAPPER = """<VAST version="4.2" xmlns="http://www.iab.com/VAST"><Ad id="reseller"><Wrapper>
  <AdSystem>reseller</AdSystem><Impression><![CDATA[{base}/seen/wrapper]]></Impression>
  <VASTAdTagURI><![CDATA[{base}/network/inline]]></VASTAdTagURI>
</Wrapper></Ad></VAST>"""

EMPTY = '<VAST version="4.2" xmlns="http://www.iab.com/VAST"/>'

DOCUMENTS = {"inline": INLINE, "wrapper": WRAPPER, "empty": EMPTY}


class Site:
    """The application, and what the network's own pixels counted."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.app = Starlette(
            routes=[
                Route("/page", self._page),
                Route("/landing", self._landing),
                Route("/network/{name}", self._document),
                Route("/seen/{name}", self._pixel),
                Mount("/media", StaticFiles(directory=HERE / "media")),
                Mount("/static", StaticFiles(directory=STATIC)),
            ],
            middleware=[Middleware(CORSMiddleware, allow_origins=["*"])],
        )

    async def _page(self, _request: Request) -> Response:
        return FileResponse(HERE / "page.html")

    async def _landing(self, _request: Request) -> Response:
        return HTMLResponse("<h1>What was advertised</h1>")

    async def _document(self, request: Request) -> Response:
        document = DOCUMENTS[request.path_params["name"]].replace("{base}", str(request.base_url).rstrip("/"))
        return Response(document, media_type="application/xml")

    async def _pixel(self, request: Request) -> Response:
        self.seen[request.path_params["name"]] += 1
        return Response(status_code=204)
