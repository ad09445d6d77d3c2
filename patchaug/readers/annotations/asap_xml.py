"""Annotations of ASAP (Automated Slide Analysis Platform), the XML of the CAMELYON data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchaug.errors import ReadError
from patchaug.readers.annotations.features import ELEMENTS, PIXELS, Annotations, Feature, ring_of
from patchaug.readers.file import describe

if TYPE_CHECKING:
    from xml.etree import ElementTree

_AREAS = ("Polygon", "Spline", "Rectangle")  # splines are joined by straight lines, as all readers of the format do


def parse_asap(what: str, source: bytes) -> Annotations:
    """Parse the features of an ASAP text; the class of an annotation is its group.

    Raises:
        ReadError: The XML is not ASAP's.
    """
    from xml.etree import ElementTree

    if b"<!DOCTYPE" in source or b"<!ENTITY" in source:  # entities can make gigabytes of a kilobyte
        raise ReadError(f"{what}: XML with a DOCTYPE is not read; export the annotations again")
    if source.count(b"</") + source.count(b"/>") > ELEMENTS:
        raise ReadError(f"{what}: more than {ELEMENTS:,} elements, the limit; simplify the outlines, or split the file")
    try:
        root = ElementTree.fromstring(source)
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise ReadError(f"{what}: is not XML ({describe(error)}); export the annotations again") from None
    if root.tag != "ASAP_Annotations":
        raise ReadError(f"{what}: the XML is {root.tag}, only ASAP_Annotations is read; export as GeoJSON or ASAP")
    features, problems = [], []
    for number, annotation in enumerate(root.iterfind("Annotations/Annotation")):
        try:
            features.append(_feature(number, annotation))
        except ReadError as error:
            problems.append((number, f"{error} (annotation {annotation.get('Name')})"))
    return Annotations(features, problems, PIXELS, {})


def _feature(number: int, annotation: ElementTree.Element) -> Feature:
    if annotation.get("Type") not in _AREAS:
        raise ReadError(f"{annotation.get('Type')} has no area, and a mask is made of areas")
    try:
        points = sorted(
            (int(point.attrib["Order"]), float(point.attrib["X"]), float(point.attrib["Y"]))
            for point in annotation.iterfind("Coordinates/Coordinate")
        )
    except (KeyError, ValueError) as error:
        raise ReadError(f"a coordinate is broken ({describe(error)})") from None
    group = annotation.get("PartOfGroup")
    ring = ring_of([point[1:] for point in points])
    return Feature(number, None if group in (None, "", "None") else group, [[ring]])
