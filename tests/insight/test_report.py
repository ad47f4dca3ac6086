"""The whole page: complete, closed to the network, the same twice, and never taken over by a name."""

import base64
import hashlib
import json
import re
import sys
import time
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from featx.errors import HeadError, MissingPackageError, StoreError
from featx.insight.comparison import compare
from featx.insight.findings import Finding
from featx.insight.markup import visible
from featx.insight.report import check_report, write_report
from tests.insight.reports import HOSTILE, Page, digits_evaluation, make_audit, make_pictures, make_samples

pytest.importorskip("matplotlib", reason="needs the extra report")

HISTORY = {
    "loss": [0.7, 0.5],
    "accuracy": [0.5, 0.8],
    "validation_loss": [0.8, 0.7],
    "validation_accuracy": [0.5, 0.7],
}
LEARNING = SimpleNamespace(
    scoring="accuracy",
    n_samples=(50, 100, 200),
    score=(0.6, 0.7, 0.75),
    score_ci=((0.5, 0.7), (0.65, 0.75), (0.7, 0.8)),
    projected=(SimpleNamespace(n_samples=400, score=0.78, score_ci=(0.7, 0.85)),),
    opinion="more labels would help",
    verdict="more labels would help: doubling them to 400 is expected to change accuracy by +3 points",
    n_total=200,
    n_repeats=10,
)
FEW_SHOT = SimpleNamespace(
    shots=(1, 2, 5),
    class_names=("cat", "<dog>"),
    recall=((0.5, 0.6, None), (0.4, 0.5, 0.7)),
    recall_ci=(((0.4, 0.6), (0.5, 0.7), None), ((0.3, 0.5), (0.4, 0.6), (0.6, 0.8))),
    accuracy=(0.45, 0.55, 0.7),
    accuracy_ci=((0.4, 0.5), (0.5, 0.6), (0.6, 0.8)),
)


class Search:
    """As a fitted `HeadSearch` answers."""

    scoring, n_splits_, n_repeats = "accuracy", 5, 1

    def leaderboard(self):
        params = [("ridge", {"ridge__alpha": 1000.0}, 0.9), ("<knn>", {"n": "<b>"}, 0.8)]
        return [
            {"rank": rank, "head": head, "features": "all", "params": chosen, "mean_test_score": score,
             "std_test_score": 0.01, "mean_fit_time": 0.1}
            for rank, (head, chosen, score) in enumerate(params, 1)
        ]  # fmt: skip


@pytest.fixture(scope="module")
def evaluation():
    return digits_evaluation([f"digit {digit}" for digit in range(10)])


def everything(evaluation):
    from sklearn.datasets import load_digits
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier

    X, y = load_digits(return_X_y=True)
    heads = [head.fit(X[:300], y[:300]) for head in (KNeighborsClassifier(), GaussianNB())]
    findings = [
        Finding("exact_duplicate", ("images/0.png", "images/7.png"), 1.0, "same bytes", ("parts",)),
        Finding("suspected_label", ("images/3.png",), 0.9, "cat is likelier"),
    ]
    return {
        "evaluation": evaluation,
        "search": Search(),
        "audit": make_audit(*findings, notes=("no image was opened",), thresholds={"distance": 0.5}),
        "samples": make_samples(pictures=make_pictures(12, large=(0, 3)), notes=("2 images were gone",)),
        "comparison": compare(*heads, X[300:500], y[300:500], n_resamples=20),
        "learning": LEARNING,
        "few_shot": FEW_SHOT,
        "history": HISTORY,
        "provenance": {
            "command": "featx demo --report r.html",
            "seed": 0,
            "spec": {"input_size": [300, 300]},
        },
    }


@pytest.fixture(scope="module")
def whole(evaluation, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "whole.html"
    write_report(path, **everything(evaluation), title="Cats & dogs")
    return path.read_text("utf-8")


def read(path, *args, **parts):
    write_report(path, *args, **parts)
    return Page(path.read_text("utf-8"))


def test_every_part_has_its_section_in_the_contents(whole):
    page = Page(whole)
    sections = [
        "summary",
        "leaderboard",
        "evaluation",
        "comparison",
        "learning",
        "map",
        "galleries",
        "history",
    ]
    sections += ["audit", "provenance", "notes"]
    assert [link["href"][1:] for link in page.all("a")][1:] == sections
    assert set(sections) <= set(page.ids())
    assert page.all("html") == [{"lang": "en"}]
    assert "Cats & dogs" in page.text


def test_ids_are_unique_and_everything_that_is_referred_to_is_there(whole):
    page = Page(whole)
    ids = page.ids()
    assert len(set(ids)) == len(ids)
    for _, attributes in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attributes.get(name) or "").split()) <= set(ids)
        if (address := attributes.get("href")) is not None:
            assert address[1:] in ids


def test_headings_come_in_order_and_tables_have_captions_and_scopes(whole):
    page = Page(whole)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert len(page.all("caption")) == len(page.all("table")) > 8
    assert all(head.get("scope") in ("row", "col") for head in page.all("th"))
    assert all("alt" in image for image in page.all("img"))
    assert all(button["type"] == "button" for button in page.all("button"))


def test_it_loads_nothing_and_its_policy_lets_it_load_nothing(whole):
    page = Page(whole)
    (policy,) = [one["content"] for one in page.all("meta") if one.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for tag, block in (("style", page.blocks["style"]), ("script", page.blocks["script"])):
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    for _, attributes in page.elements:
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            assert str(attributes.get(name, "#")).startswith(("#", "data:image/webp;base64,"))
    assert "innerHTML =" not in page.blocks["script"]
    assert "url(" not in page.blocks["style"]
    # Neither a comment nor a namespace names a place outside.
    assert "http://" not in whole
    assert "https://" not in whole


def test_the_same_parts_give_the_same_bytes(whole, evaluation, tmp_path):
    write_report(tmp_path / "again.html", **everything(evaluation), title="Cats & dogs")
    assert (tmp_path / "again.html").read_text("utf-8") == whole


def page_of_names(path, names):
    """A page where every place that shows a name shows one of these."""
    name = names[0]
    samples = make_samples(
        22,
        names,
        sample_ids=[f"{names[row % 11]}{row}" for row in range(22)],
        parts=[f"{name}part"] * 22,
        notes=names,
        pictures=make_pictures(22, large=(12,)),
    )
    audit = make_audit(
        *(Finding("outlier", (f"{names[row]}{row}", names[row]), 1.0, names[row]) for row in range(11)),
        class_counts=dict.fromkeys(names, 3),
        thresholds=dict.fromkeys(names, 1.0),
        notes=names,
    )
    provenance = {"command": name, **{key: {name: [name]} for key in names}}
    groups = {name: [names[row % 8] for row in range(400)]}
    evaluation = digits_evaluation(names[:10], subgroups=groups)
    return read(path, evaluation, samples=samples, audit=audit, provenance=provenance, title=name)


def test_names_of_every_kind_stay_text(tmp_path):
    plain = page_of_names(tmp_path / "plain.html", [f"class {number:02}" for number in range(11)])
    hostile = page_of_names(tmp_path / "hostile.html", HOSTILE)
    # No name brought an element or an attribute, nor left one out.
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]
    for (_, brought), (_, wanted) in zip(hostile.elements, plain.elements, strict=True):
        assert brought.keys() - {"class"} == wanted.keys() - {"class"}
    data = json.loads(hostile.blocks["report-data"])
    for name in HOSTILE:
        assert visible(name) in data["classes"]
        assert visible(name, 60) in "".join(hostile.words)
    assert not any(letter in word for word in hostile.words for letter in "\u202e\udc80")


def test_each_part_alone_makes_a_page(evaluation, tmp_path):
    parts = everything(evaluation)
    for name, part in parts.items():
        page = read(tmp_path / f"{name}.html", **{name: part})
        assert len(page.all("h2")) >= 2, name
    page = read(tmp_path / "nothing.html")
    assert "there is nothing to report" in page.text
    assert "report-data" not in page.blocks


def test_samples_without_anything_but_features(tmp_path):
    samples = make_samples(3, labels=[None] * 3, predicted=[None] * 3, confidence=np.full(3, np.nan))
    page = read(tmp_path / "r.html", samples=samples)
    data = json.loads(page.blocks["report-data"])
    assert data["label"] == data["predicted"] == data["confidence"] == [-1] * 3
    assert data["pictures"] is None
    assert [radio["value"] for radio in page.all("input") if radio["type"] == "radio"] == ["label", "part"]
    empty = make_samples(0, X=np.zeros((0, 5)), labels=[], parts=[], predicted=[], confidence=np.zeros(0))
    assert not read(tmp_path / "r.html", samples=empty).all("canvas")


def test_columns_of_different_lengths_and_bad_features_are_refused(tmp_path):
    with pytest.raises(HeadError, match="received 2 labels of 12 samples"):
        write_report(tmp_path / "r.html", samples=make_samples(labels=["cat", "dog"]))
    with pytest.raises(HeadError, match="NaN or infinite features"):
        write_report(tmp_path / "r.html", samples=make_samples(X=np.full((12, 2), np.nan)))
    with pytest.raises(HeadError, match="projection='tsne'"):
        write_report(tmp_path / "r.html", projection="tsne")
    with pytest.raises(StoreError, match="received the folder"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r'pip install "featx\[report\]"'):
        check_report(tmp_path / "r.html")


def test_five_thousand_samples_are_small_and_quick(tmp_path):
    samples = make_samples(
        5000,
        sample_ids=[f"folder/of/some/depth/image-{row:06d}.jpeg" for row in range(5000)],
        X=np.random.default_rng(0).normal(size=(5000, 256)).astype(np.float32),
        pictures=make_pictures(5000),
    )
    started = time.perf_counter()
    write_report(tmp_path / "r.html", samples=samples)
    assert time.perf_counter() - started < 15
    # Beside two megabytes of pictures.
    assert (tmp_path / "r.html").stat().st_size < 600_000
