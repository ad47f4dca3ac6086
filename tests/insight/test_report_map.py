"""What the map's script gets: every sample, in columns, and pictures where there are any."""

import numpy as np

from featx.insight.findings import Finding
from featx.insight.report_data import ReportParts
from featx.insight.report_map import galleries_section, map_data, map_section
from tests.insight.reports import Page, digits_evaluation, make_audit, make_pictures, make_samples


def data_of(**parts):
    return map_data(ReportParts("title", **parts))[0]


def test_columns_name_by_index_and_places_are_whole_numbers():
    samples = make_samples(12)
    data = data_of(samples=samples)
    assert [data["classes"][code] for code in data["label"]] == samples.labels
    assert [None if code < 0 else data["classes"][code] for code in data["predicted"]] == samples.predicted
    assert [data["parts"][code] for code in data["part"]] == samples.parts
    assert data["confidence"][:6] == [-1] * 6
    assert data["confidence"][11] == int(samples.confidence[11] * 1000)
    assert min(data["x"] + data["y"]) >= 0
    assert max(data["x"] + data["y"]) == 9999
    assert {type(value) for value in data["x"]} == {int}


def test_classes_stand_in_the_order_of_the_evaluation():
    names = [f"class {9 - digit}" for digit in range(10)]
    data = data_of(samples=make_samples(12, ("unheard of", "class 4")), evaluation=digits_evaluation(names))
    assert data["classes"] == [*names, "unheard of"]


def test_findings_belong_to_their_samples_and_reasons_are_said_once():
    findings = [Finding("outlier", (f"images/{row}.png", "elsewhere"), 1.0, "far") for row in (1, 2)]
    findings.append(Finding("suspected_label", ("images/1.png",), 1.0, "wrong"))
    findings.append(Finding("class_balance", ("images/1.png",), 1.0, "few"))
    data = data_of(samples=make_samples(12), audit=make_audit(*findings))
    assert data["kinds"] == ["suspected labels", "outliers"]
    assert data["reasons"] == ["wrong", "far"]
    assert data["found"] == {"1": [[0, 0], [1, 1]], "2": [[1, 1]]}


def test_tiles_are_named_only_where_they_are_not_numbered_as_the_samples():
    assert data_of(samples=make_samples(12, pictures=make_pictures(12)))["pictures"]["tiles"] is None
    pictures = make_pictures(12)
    pictures.tiles[3] = -1
    assert data_of(samples=make_samples(12, pictures=pictures))["pictures"]["tiles"][3] == -1


def section_page(**parts):
    found = ReportParts("title", **parts)
    return Page(map_section(found, *map_data(found)).body)


def test_colours_to_choose_are_those_that_tell_something():
    def colours(**parts):
        return [one["value"] for one in section_page(**parts).all("input") if one["type"] == "radio"]

    assert colours(samples=make_samples(12)) == ["label", "predicted", "error", "part"]
    samples = make_samples(12, predicted=[None] * 12, parts=["all"] * 12)
    assert colours(samples=samples) == ["label"]
    audit = make_audit(Finding("outlier", ("images/1.png",), 1.0, "far"))
    assert colours(samples=samples, audit=audit) == ["label", "finding"]


def test_without_pictures_there_is_no_switch_for_them():
    assert "map-pictures" not in section_page(samples=make_samples(12)).ids()
    page = section_page(samples=make_samples(12, pictures=make_pictures(12)))
    assert {"map-pictures", "atlas"} <= set(page.ids())


def test_galleries_show_large_pictures_tiles_or_say_that_there_is_none():
    pictures = make_pictures(12, large=(9,))
    page = Page(galleries_section(ReportParts("t", samples=make_samples(12, pictures=pictures))).body)
    assert [image["src"] for image in page.all("img")] == ["data:image/webp;base64,bGFyZ2U="]
    assert [canvas["data-tile"] for canvas in page.all("canvas")] == ["6"]
    pictures.tiles[:] = np.where(np.arange(12) == 6, -1, pictures.tiles)
    page = Page(galleries_section(ReportParts("t", samples=make_samples(12, pictures=pictures))).body)
    assert "no picture" in page.text
    bare = Page(galleries_section(ReportParts("t", samples=make_samples(12))).body)
    assert "no picture" not in bare.text
    assert galleries_section(ReportParts("t", samples=make_samples(12, predicted=[None] * 12))) is None
