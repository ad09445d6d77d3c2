"""Tables of areas."""

import csv

from hypothesis import given
from hypothesis import strategies as st

from .maps import CODES, class_maps, cuts, frame_of, fresh_folder, write_map


@given(
    classes=class_maps(), data=st.data(), ignore=st.sampled_from([None, 0, 3]), mpp=st.sampled_from([None, (0.5, 0.25)])
)
def test_areas(classes, data, ignore, mpp):
    """Each class has a row, present or not; shares are of what was predicted."""
    path = fresh_folder() / "a.csv"
    write_map("areas.csv", path, frame_of(classes, mpp=mpp), classes, data.draw(cuts(len(classes))), ignore=ignore)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    predicted = (classes != ignore).sum() if ignore is not None else classes.size
    assert [row["class"] for row in rows] == list(CODES)
    for number, row in enumerate(rows):
        count = 0 if number == ignore else int((classes == number).sum())
        assert int(row["area_px"]) == count and row["slide"] == "case 7"
        assert row["area_um2"] == "" if mpp is None else float(row["area_um2"]) == count * 0.125
        assert abs(float(row["share"]) - count / max(predicted, 1)) < 1e-6
