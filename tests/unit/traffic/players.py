"""User agents of ordinary players: browsers, phones, televisions, consoles and apps."""

_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_DESKTOPS = (
    "Windows NT 10.0; Win64; x64",
    "Windows NT 6.1; WOW64",
    "Macintosh; Intel Mac OS X 10_15_7",
    "X11; Linux x86_64",
    "X11; CrOS x86_64 14541.0.0",
    "X11; Ubuntu; Linux x86_64",
)
_PHONES = (
    "Linux; Android 10; K",
    "Linux; Android 14; Pixel 8",
    "Linux; Android 13; SM-S918B",
    "Linux; Android 12; M2101K6G",
    "Linux; Android 11; moto g power (2021)",
    "Linux; Android 9; SM-T510",
)
_TELEVISIONS = (
    f"Mozilla/5.0 (SMART-TV; Linux; Tizen 6.5) {_WEBKIT} 85.0.4183.93/6.5 TV Safari/537.36",
    f"Mozilla/5.0 (SMART-TV; LINUX; Tizen 5.0) {_WEBKIT} Version/5.0 TV Safari/537.36",
    f"Mozilla/5.0 (Web0S; Linux/SmartTV) {_WEBKIT} Chrome/87.0.4280.88 Safari/537.36 WebAppManager",
    f"Mozilla/5.0 (Web0S; Linux/SmartTV) {_WEBKIT} Chrome/38.0.2125.122 Safari/537.36 LG Browser/8.00(LGE; 43UJ6300)",
    f"Mozilla/5.0 (Linux; Android 9; BRAVIA 4K UR2) {_WEBKIT} Chrome/112.0.5615.135 Safari/537.36 OPR/46.0.2207.0",
    f"Mozilla/5.0 (Linux; Android 12; Chromecast) {_WEBKIT} Chrome/119.0.0.0 Safari/537.36 CrKey/1.56.500000",
    f"Mozilla/5.0 (X11; Linux armv7l) {_WEBKIT} Chrome/90.0.4430.225 Safari/537.36 CrKey/1.56.500000",
    f"Mozilla/5.0 (Linux; Android 7.1; AFTMM Build/NS62; wv) {_WEBKIT} Version/4.0 Chrome/70.0.3538.110 Safari/537.36",
    f"Mozilla/5.0 (PlayStation; PlayStation 5/6.50) {_SAFARI} Version/16.0 Safari/605.1.15",
    f"Mozilla/5.0 (PlayStation 4 8.00) {_SAFARI} Version/13.0 Safari/605.1.15",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) {_WEBKIT} Chrome/48.0.2564.82 Safari/537.36 Edge/20.02",
    f"Mozilla/5.0 (Linux; NetCast; U) {_WEBKIT} Chrome/31.0.1650.0 Safari/537.31 SmartTV/7.0",
    f"Mozilla/5.0 (Linux; U; Android 9; en-us; MiTV-MSSP1) {_WEBKIT} Version/4.0 Chrome/79.0.3945.147 Safari/537.36",
    "Opera/9.80 (Linux armv7l; HbbTV/1.2.1 (; Philips; 40PFH; ; PHILIPSTV; CE-HTML/1.0) ) Presto/2.12 Version/12.50",
    "HbbTV/1.5.1 (+DRM;Samsung;SmartTV2021:UAU7000;T-KSU2EDEUC-1451.2;KantSU2e;urn:samsungtv:familyname:21_KANTSU2E)",
    "Roku/DVP-12.5 (12.5.0.4178-88)",
    "Roku4640X/DVP-7.70 (297.70E04154A)",
    "AppleTV11,1/11.1",
)
_APPS = (
    "AppleCoreMedia/1.0.0.21K365 (Apple TV; U; CPU OS 17_1 like Mac OS X; en_us)",
    "AppleCoreMedia/1.0.0.20G75 (iPhone; U; CPU OS 16_6 like Mac OS X; de_de)",
    "AppleCoreMedia/1.0.0.19H349 (iPad; U; CPU OS 15_7 like Mac OS X; fr_fr)",
    "ExoPlayerDemo/2.19.1 (Linux; Android 13) ExoPlayerLib/2.19.1",
    "AcmeTV/4.2.0 (Linux;Android 12) AndroidXMedia3/1.3.1",
    "Dalvik/2.1.0 (Linux; U; Android 9; AFTMM Build/PS7233)",
    "Dalvik/2.1.0 (Linux; U; Android 11; SHIELD Android TV Build/RQ1A.210105.003)",
    "AcmeTV/1 CFNetwork/1410.0.3 Darwin/22.6.0",
    "VLC/3.0.20 LibVLC/3.0.20",
    "Kodi/20.2 (Windows NT 10.0; Win64; x64) App_Bitness/64 Version/20.2",
    "stagefright/1.2 (Linux;Android 7.1.2)",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) {_SAFARI} Mobile/15E148 AcmeTV/5.1",
    f"Mozilla/5.0 (Linux; Android 13; Pixel 7; wv) {_WEBKIT} Version/4.0 Chrome/116.0.0.0 Mobile Safari/537.36 Acme/5",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 16_6 like Mac OS X) {_SAFARI} Mobile/15E148 [FBAN/FBIOS;FBDV/iPhone14,5]",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 16_6 like Mac OS X) {_SAFARI} Mobile/15E148 Instagram 300.0.0.29.110",
)

PLAYERS = (
    *(
        f"Mozilla/5.0 ({system}) {_WEBKIT} Chrome/{major}.0.0.0 Safari/537.36"
        for system in _DESKTOPS
        for major in (79, 109, 131)
    ),
    *(f"Mozilla/5.0 ({system}) {_WEBKIT} Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0" for system in _DESKTOPS[:3]),
    *(f"Mozilla/5.0 ({system}) {_WEBKIT} Chrome/120.0.0.0 Safari/537.36 OPR/106.0.0.0" for system in _DESKTOPS[:3]),
    *(
        f"Mozilla/5.0 ({system}; rv:{major}.0) Gecko/20100101 Firefox/{major}.0"
        for system in _DESKTOPS
        for major in (78, 128)
    ),
    *(f"Mozilla/5.0 ({system}) {_WEBKIT} Chrome/126.0.0.0 Mobile Safari/537.36" for system in _PHONES),
    *(
        f"Mozilla/5.0 ({system}) {_WEBKIT} SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36"
        for system in _PHONES[:3]
    ),
    *(f"Mozilla/5.0 (Android {version}; Mobile; rv:128.0) Gecko/128.0 Firefox/128.0" for version in (10, 13, 14)),
    *(
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_SAFARI} Version/{version} Safari/605.1.15"
        for version in ("14.1", "17.5")
    ),
    *(
        f"Mozilla/5.0 ({device}; CPU {system} {version} like Mac OS X) {_SAFARI} {browser} Mobile/15E148 Safari/604.1"
        for device, system in (("iPhone", "iPhone OS"), ("iPad", "OS"))
        for version in ("12_5", "15_7", "17_5")
        for browser in ("Version/17.5", "CriOS/126.0.6478.54", "FxiOS/127.0")
    ),
    "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
    *_TELEVISIONS,
    *_APPS,
)
