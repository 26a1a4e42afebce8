"""Small upstream documents."""


def inline(version="4.2", *, ad='id="1"', children="", linear="", namespace=True) -> bytes:
    xmlns = ' xmlns="http://www.iab.com/VAST"' if namespace and version.startswith("4") else ""
    return (
        f'<VAST version="{version}"{xmlns}><Ad {ad}><InLine>{children}<Creatives><Creative><Linear>'
        f"<Duration>00:00:15</Duration>{linear}</Linear></Creative></Creatives></InLine></Ad></VAST>"
    ).encode()


def wrapper(
    version="4.2", *, flags="", ad='id="w"', children="", uri="https://next.example/vast", namespace=True
) -> bytes:
    xmlns = ' xmlns="http://www.iab.com/VAST"' if namespace and version.startswith("4") else ""
    return (
        f'<VAST version="{version}"{xmlns}><Ad {ad}><Wrapper {flags}><AdSystem>w</AdSystem>'
        f"<VASTAdTagURI><![CDATA[{uri}]]></VASTAdTagURI>{children}</Wrapper></Ad></VAST>"
    ).encode()
