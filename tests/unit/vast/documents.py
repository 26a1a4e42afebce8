"""Small upstream documents."""

MEDIA_FILES = (
    '<MediaFiles><MediaFile delivery="progressive" type="video/mp4" width="640" height="360">'
    "https://cdn.example/a.mp4</MediaFile></MediaFiles>"
)
"""Without a media file an Ad has nothing to show, and is not an ad."""


def inline(version="4.2", *, ad='id="1"', children="", linear="", namespace=True) -> bytes:
    xmlns = ' xmlns="http://www.iab.com/VAST"' if namespace and version.startswith("4") else ""
    media_files = "" if "<MediaFiles>" in linear else MEDIA_FILES
    return (
        f'<VAST version="{version}"{xmlns}><Ad {ad}><InLine>{children}<Creatives><Creative><Linear>'
        f"<Duration>00:00:15</Duration>{linear}{media_files}</Linear></Creative></Creatives></InLine></Ad></VAST>"
    ).encode()


def wrapper(
    version="4.2", *, flags="", ad='id="w"', children="", uri="https://next.example/vast", namespace=True
) -> bytes:
    xmlns = ' xmlns="http://www.iab.com/VAST"' if namespace and version.startswith("4") else ""
    return (
        f'<VAST version="{version}"{xmlns}><Ad {ad}><Wrapper {flags}><AdSystem>w</AdSystem>'
        f"<VASTAdTagURI><![CDATA[{uri}]]></VASTAdTagURI>{children}</Wrapper></Ad></VAST>"
    ).encode()


def joined(first: bytes, *others: bytes) -> bytes:
    """One document with the Ads of all of them."""
    ads = [document[document.index(b"<Ad ") : document.rindex(b"</VAST>")] for document in others]
    return first.replace(b"</VAST>", b"".join(ads) + b"</VAST>")
