"""The OME-XML of a map: size, micrometres per pixel, names of channels and classes. The same text every time."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

from patchaug.predict.map_frame import MapFrame

_SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def ome_xml(
    frame: MapFrame, size: tuple[int, int], channels: Sequence[str], kind: str, notes: Sequence[tuple[str, str]]
) -> bytes:  # fmt: skip
    """Return the OME-XML, ASCII with references for all other characters.

    Args:
        frame: Frame of the map.
        size: (width, height) of the picture.
        channels: Names of the channels; each is one page of the file.
        kind: Type of the pixels, in the words of OME.
        notes: Keys and values of the image's annotation.

    Examples:
        >>> from patchaug.predict.map_frame import MapFrame
        >>> text = ome_xml(MapFrame("liver", 4, 3, ("a", "b")), (4, 3), ["classes"], "uint8", [("0", "a"), ("1", "b")])
        >>> text.count(b"<M K="), text.endswith(b"</OME>")
        (2, True)
    """
    x, y = frame.mpp or (None, None)
    unit = "\u00b5m"
    physical = "".join(
        f' PhysicalSize{axis}="{value!r}" PhysicalSize{axis}Unit="{unit}"'
        for axis, value in (("X", x), ("Y", y))
        if value is not None
    )
    named = "".join(
        f'<Channel ID="Channel:0:{number}" Name={_quoted(name)} SamplesPerPixel="1"/>'
        for number, name in enumerate(channels)
    )
    data = "".join(
        f'<TiffData IFD="{number}" FirstC="{number}" FirstZ="0" FirstT="0" PlaneCount="1"/>'
        for number in range(len(channels))
    )
    values = "".join(f"<M K={_quoted(key)}>{_escaped(value)}</M>" for key, value in notes)
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="{_SCHEMA}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{_SCHEMA} {_SCHEMA}/ome.xsd" Creator="patchaug">'
        f'<Image ID="Image:0" Name={_quoted(frame.slide)}>'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{kind}" BigEndian="false" SizeX="{size[0]}" '
        f'SizeY="{size[1]}" SizeC="{len(channels)}" SizeZ="1" SizeT="1"{physical}>{named}{data}</Pixels>'
        f'<AnnotationRef ID="Annotation:0"/></Image>'
        f'<StructuredAnnotations><MapAnnotation ID="Annotation:0"><Value>{values}</Value></MapAnnotation>'
        f"</StructuredAnnotations></OME>"
    )
    return text.encode("ascii", "xmlcharrefreplace")


def _quoted(text: str) -> str:
    return quoteattr(xml_text(text))


def _escaped(text: str) -> str:
    return xml_text(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def xml_text(text: str) -> str:
    """Replace characters that XML cannot hold, and halves of surrogate pairs."""
    return "".join(
        "\ufffd" if (c < " " and c not in "\t\n\r") or c in "\ufffe\uffff" or "\ud800" <= c <= "\udfff" else c
        for c in text
    )
