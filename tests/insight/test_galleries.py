"""Galleries: which samples get a large picture, in which order, and what is said of them."""

import numpy as np

from featx.insight.findings import Finding
from featx.insight.galleries import galleries_of
from tests.insight.reports import HOSTILE, make_audit, make_samples


def by_key(*args, **options):
    return {gallery.key: gallery for gallery in galleries_of(*args, **options)}


def test_mistakes_are_shown_surest_first():
    samples = make_samples(12)
    mistakes = by_key(samples)["mistakes"]
    assert mistakes.rows == (9, 6)
    assert mistakes.captions[0] == "labelled dog, predicted cat (80.0\u00a0%)"
    assert all(samples.labels[row] != samples.predicted[row] for row in mistakes.rows)


def test_mistakes_without_confidence_keep_their_order():
    samples = make_samples(12, confidence=np.full(12, np.nan))
    assert by_key(samples)["mistakes"].captions == (
        "labelled cat, predicted dog",
        "labelled dog, predicted cat",
    )


def test_no_samples_no_mistakes_and_no_labels_show_nothing():
    assert galleries_of(None, make_audit()) == []
    assert galleries_of(make_samples(12, labels=[None] * 12)) == []
    assert galleries_of(make_samples(12, predicted=[None] * 12), make_audit()) == []


def test_a_gallery_is_cut_and_says_so():
    samples = make_samples(120)
    mistakes = by_key(samples, n_pictures=5)["mistakes"]
    assert len(mistakes.rows) == len(mistakes.captions) == 5
    assert "The first 5 of 20." in mistakes.note


def test_findings_have_their_reasons_and_unknown_samples_are_left_out():
    finding = Finding("suspected_label", ("images/3.png", "elsewhere"), 0.9, "cat is likelier")
    shown = by_key(make_samples(12), make_audit(finding))["suspected-label"]
    assert (shown.rows, shown.captions) == ((3,), ("cat is likelier",))


def test_duplicates_stay_in_their_sets_and_sets_of_one_are_left_out():
    pair = Finding(
        "exact_duplicate", ("images/0.png", "images/7.png"), 1.0, "same bytes", ("parts", "labels")
    )
    single = Finding("exact_duplicate", ("images/1.png", "drawn away"), 1.0, "same bytes", ("parts",))
    others = Finding("near_duplicate", tuple(f"images/{row}.png" for row in range(6)), 0.9, "near")
    shown = by_key(make_samples(12), make_audit(pair, single, others))
    assert shown["duplicates-parts"].rows == shown["duplicates-labels"].rows == (0, 7)
    assert shown["duplicates-parts"].captions == ("training, cat", "test, dog")
    # Of a large set, a few stand for the rest.
    assert (shown["duplicates"].rows, shown["duplicates"].sets) == ((0, 1, 2, 3), (0, 0, 0, 0))


def test_sets_of_duplicates_are_never_cut_in_two():
    findings = [
        Finding("exact_duplicate", (f"images/{2 * i}.png", f"images/{2 * i + 1}.png"), 1.0, "same")
        for i in range(6)
    ]
    shown = by_key(make_samples(12), make_audit(*findings), n_pictures=5)["duplicates"]
    assert shown.sets == (0, 0, 1, 1)
    assert "The first 2 of 6 sets." in shown.note


def test_where_two_heads_differ_is_told_apart_by_who_is_right():
    samples = make_samples(
        6,
        predicted=["cat", "cat", "dog", "dog", None, "x"],
        predicted_b=["dog", "dog", "cat", "dog", "dog", "y"],
    )
    shown = by_key(samples)
    assert shown["only-a"].rows == (0,)
    assert shown["only-b"].rows == (1, 2)
    assert shown["only-a"].captions == ("labelled cat; a says cat, b says dog",)
    named = {gallery.key: gallery for gallery in galleries_of(samples, heads=("one.featx", "two.featx"))}
    assert named["only-b"].title == "Only two.featx is right"
    assert named["only-a"].captions == ("labelled cat; one.featx says cat, two.featx says dog",)
    assert named["only-a"].note == "What one.featx gets right and two.featx does not."


def test_captions_are_short_whatever_the_names():
    samples = make_samples(24, classes=HOSTILE)
    audit = make_audit(*(Finding("outlier", (name,), 1.0, name) for name in samples.sample_ids))
    captions = [caption for gallery in galleries_of(samples, audit) for caption in gallery.captions]
    assert captions
    assert max(map(len, captions)) < 300
    assert not any("\u202e" in caption or "\n" in caption for caption in captions)
