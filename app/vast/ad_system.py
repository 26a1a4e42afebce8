"""The name of this server in documents and macros."""

from app.vast.xml_writer import xml_element
from app.version import VERSION

AD_SYSTEM = "adserver"
AD_SYSTEM_ELEMENT = xml_element("AdSystem", AD_SYSTEM, version=VERSION)
