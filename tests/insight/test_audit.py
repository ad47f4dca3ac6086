"""What an audit finds of what was planted, and what it makes of data that cannot be audited."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from featx import FeatureSet, audit_features
from featx.errors import HeadError, MissingPackageError
from featx.insight import audit as audit_module


def digits(n_samples=600, **options):
    X, y = load_digits(return_X_y=True)
    return FeatureSet(X[:n_samples].astype(np.float32), y[:n_samples], **options)


def planted(seed=100):
    """Digits with copies (of rows 0 to 2), near ones (3 to 5), noise (6 to 8), wrong labels (20 to 29)."""
    random = np.random.default_rng(seed)
    plain = digits()
    X, y = plain.X, plain.y.copy()
    noise = random.uniform(0, 16, (3, 64)).astype(np.float32)
    X = np.concatenate([X, X[:3], X[3:6] + random.normal(0, 0.05, (3, 64)), noise]).astype(np.float32)
    y[20:30] = (y[20:30] + 5) % 10
    y = np.append(y, [*y[:6], *y[6:9]])
    digests = [f"{row}" for row in range(600)] + ["0", "1", "2"] + [f"new {row}" for row in range(6)]
    return FeatureSet(X, y, image_sha256=digests)


@pytest.fixture(scope="module")
def found():
    return audit_features(planted())


class TestFindings:
    def test_copies(self, found):
        exact = [finding.sample_ids for finding in found.of("exact_duplicate")]
        assert exact == [("0", "600"), ("1", "601"), ("2", "602")]
        assert all(finding.excluded == finding.sample_ids[1:] for finding in found.of("exact_duplicate"))

    def test_near_copies(self, found):
        near = [finding.sample_ids for finding in found.of("near_duplicate")]
        assert {("3", "603"), ("4", "604"), ("5", "605")} <= set(near)
        assert len(near) <= 5
        assert "of the usual distance" in found.of("near_duplicate")[0].reason

    def test_wrong_labels(self, found):
        suspected = {finding.sample_ids[0] for finding in found.of("suspected_label")}
        assert len(suspected & {str(row) for row in range(20, 30)}) >= 8
        assert len(suspected) < 25
        first = found.of("suspected_label")[0]
        assert first.excluded == first.sample_ids
        assert first.reason.startswith("labelled '")

    def test_outliers(self, found):
        outliers = [finding.sample_ids[0] for finding in found.of("outlier")]
        assert set(outliers[:3]) == {"606", "607", "608"}
        assert found.thresholds["outlier_score"] > 2

    def test_all_is_in_order_and_plain(self, found):
        assert found.n_samples == found.n_audited == 609
        assert sum(found.class_counts.values()) == 609
        for kind in found.counts():
            scores = [finding.score for finding in found.of(kind)]
            assert scores == sorted(scores, reverse=True)
        ids = {sample_id for finding in found.findings for sample_id in finding.sample_ids}
        assert set(found.labels) == set(found.parts) == ids
        assert all(type(finding.score) is float for finding in found.findings)

    def test_the_same_again(self, found):
        assert audit_features(planted()).findings == found.findings


class TestParts:
    def test_leaks_are_named_and_the_test_parts_copy_goes(self):
        parts = ["test"] * 300 + ["training"] * 309
        audit = audit_features(planted(), parts=parts)
        leak = audit.of("exact_duplicate")[0]
        assert (leak.sample_ids, leak.excluded) == (("600", "0"), ("0",))
        assert leak.across == ("parts",)
        assert "in training and test: a leak" in leak.reason
        assert (audit.parts["600"], audit.parts["0"]) == ("training", "test")

    def test_labels_of_the_training_part_are_judged_by_that_part_alone(self):
        features = planted()
        parts = np.array(["training"] * 450 + ["test"] * 159)
        found = audit_features(features, parts=parts).of("suspected_label")
        ours = [each for each in found if int(each.sample_ids[0]) < 450]
        assert len(ours) >= 8
        assert all(each.excluded == each.sample_ids for each in ours)
        assert all(not each.excluded for each in found if each not in ours)
        random = np.random.default_rng(0)
        features.y[parts == "test"] = random.integers(0, 10, 159)
        again = audit_features(features, parts=parts).of("suspected_label")
        assert [each for each in again if int(each.sample_ids[0]) < 450] == ours
        assert len(again) > len(found)

    def test_near_copies_across_parts_leave_the_training_part(self):
        audit = audit_features(planted(), parts=["training"] * 600 + ["test"] * 9)
        leak = next(each for each in audit.of("near_duplicate") if "603" in each.sample_ids)
        assert (leak.sample_ids, leak.across) == (("3", "603"), ("parts",))
        assert (leak.excluded, leak.scope) == (("3",), "training")
        rows = [row for row in audit.to_rows() if row["reason"] == leak.reason]
        assert [row["exclude"] for row in rows] == ["training", ""]

    def test_what_is_in_no_part_or_unlabelled_leaks_nothing(self):
        features = planted()
        parts = np.array(["training"] * 500 + ["test"] * 100 + [""] * 9)
        found = audit_features(features, parts=parts)
        assert not any("parts" in each.across for each in found.of("exact_duplicate"))
        assert all(found.parts[each.sample_ids[0]] for each in found.of("out_of_distribution"))
        parts[600:] = "unlabelled"
        features.y[600:] = -1
        found = audit_features(features, parts=parts)
        assert not any("parts" in each.across for each in found.findings)
        assert {each.sample_ids[0] for each in found.of("out_of_distribution")} >= {"606", "607", "608"}

    def test_what_is_unlike_the_training_part(self):
        parts = ["training"] * 600 + ["new"] * 9
        audit = audit_features(planted(), parts=parts)
        found = audit.of("out_of_distribution")
        assert {finding.sample_ids[0] for finding in found} == {"606", "607", "608"}
        assert "from training as usual" in found[0].reason
        assert all(not finding.excluded for finding in found)

    def test_the_first_part_is_the_training_part_unless_one_is_called_so(self):
        features = planted()
        assert not audit_features(features, parts=["b"] * 606 + ["a"] * 3).notes
        for names in (("b", "a"), ("test", "train")):
            audit = audit_features(features, parts=[names[0]] * 300 + [names[1]] * 309)
            kept = audit.of("exact_duplicate")[0].sample_ids[0]
            assert kept == ("0" if names[0] == "b" else "600")

    def test_a_class_that_is_not_trained_on(self):
        features = digits()
        parts = np.where(features.y == 3, "test", "training")
        parts[features.y == 4] = "test"
        parts[np.flatnonzero(features.y == 4)[:20]] = "training"
        found = audit_features(features, parts=parts).of("class_balance")
        assert len(found) == 1
        assert "the class '3'" in found[0].reason
        assert "none in training" in found[0].reason

    def test_a_part_too_small_to_compare_with(self):
        audit = audit_features(digits(100), parts=["training"] * 4 + ["test"] * 96)
        assert any("too few different images in training" in note for note in audit.notes)


class TestCopies:
    def test_with_several_labels_none_is_kept(self):
        features = FeatureSet(
            digits(40).X, [0, 1] * 20, class_names=["<cat>", "dog"], image_sha256=["a"] * 3 + [""] * 37
        )
        (finding,) = audit_features(features).of("exact_duplicate")
        assert finding.across == ("labels",)
        assert finding.excluded == finding.sample_ids == ("0", "1", "2")
        assert "called '<cat>' and 'dog'" in finding.reason

    def test_near_copies_with_several_labels_leave_the_training_part_alone(self):
        features = planted()
        features.y[603] = (features.y[3] + 1) % 10
        near = {each.sample_ids: each for each in audit_features(features).of("near_duplicate")}
        conflict, agreed = near["3", "603"], near["4", "604"]
        assert (conflict.excluded, conflict.scope) == (("3", "603"), "training")
        assert (agreed.excluded, agreed.scope) == (("604",), "everywhere")

    def test_a_copy_neither_hides_an_outlier_nor_vouches_for_its_label(self):
        plain = digits(400)
        X = np.concatenate([plain.X, np.repeat(plain.X[:1], 30, axis=0), np.full((30, 64), 8, np.float32)])
        X[-30:, ::2] = 0
        y = np.append(plain.y, [5] * 60)
        y[0] = 5
        digests = [str(row) for row in range(400)] + ["0"] * 30 + ["odd"] * 30
        audit = audit_features(FeatureSet(X, y, image_sha256=digests))
        assert "0" in [finding.sample_ids[0] for finding in audit.of("suspected_label")]
        assert audit.of("outlier")[0].sample_ids == ("430",)

    def test_near_copies_are_one_group(self, monkeypatch):
        asked = {}
        original = audit_module.out_of_fold_probabilities

        def spy(X, codes, groups, **options):
            asked["groups"] = groups
            return original(X, codes, groups, **options)

        monkeypatch.setattr(audit_module, "out_of_fold_probabilities", spy)
        audit_features(planted())
        groups = asked["groups"]
        # Rows 600 to 602 are copies and not asked; 603 is row 600 of what is left.
        assert groups[3] == groups[600]
        assert groups[3] != groups[4]

    def test_images_that_look_alike_are_near_copies_whatever_their_features(self):
        features = digits(200)
        content = np.random.default_rng(0).uniform(0, 255, (200, 256)).astype(np.float32)
        content[150] = content[9] + 1
        content[[3, 4]] = np.nan
        assert ("9", "150") not in [each.sample_ids for each in audit_features(features).of("near_duplicate")]
        found = audit_features(features, content=content)
        assert ("9", "150") in [each.sample_ids for each in found.of("near_duplicate")]
        assert "near_duplicate_content_ratio" in found.thresholds
        without = audit_features(features, content=np.full((200, 256), np.nan))
        assert without.findings == audit_features(features).findings

    def test_views_of_an_image_count_once(self):
        plain = digits(200)
        X = np.repeat(plain.X, 2, axis=0)
        features = FeatureSet(
            X,
            np.repeat(plain.y, 2),
            sample_ids=[str(row // 2) for row in range(400)],
            view=np.arange(400) % 2,
            image_sha256=[f"digest {row // 2}" for row in range(400)],
        )
        audit, alone = audit_features(features), audit_features(plain)
        assert audit.n_samples == 200
        assert audit.findings == alone.findings


class TestWhatCannotBeAudited:
    def test_no_labels(self):
        plain = planted()
        audit = audit_features(FeatureSet(plain.X, image_sha256=plain.image_sha256))
        assert audit.counts()["exact_duplicate"] == 3
        assert audit.counts()["outlier"] >= 3
        assert any("no sample has a label" in note for note in audit.notes)

    def test_some_labels(self):
        plain = planted()
        plain.y[:100] = -1
        audit = audit_features(plain)
        assert any("100 samples have no label" in note for note in audit.notes)
        assert audit.of("suspected_label")
        assert all(int(each.sample_ids[0]) >= 100 for each in audit.of("suspected_label"))
        assert all(audit.labels[each.sample_ids[0]] for each in audit.of("suspected_label"))

    def test_one_class(self):
        audit = audit_features(FeatureSet(digits(60).X, [0] * 60, class_names=["cat"]))
        assert any("one class only" in note for note in audit.notes)
        assert not audit.of("suspected_label")

    @pytest.mark.parametrize("n_samples", [1, 2, 5, 9])
    def test_a_handful_of_samples(self, n_samples):
        audit = audit_features(digits(n_samples))
        assert any("too few" in note for note in audit.notes)
        assert audit.n_samples == n_samples

    def test_the_same_image_over_and_over(self):
        audit = audit_features(FeatureSet(np.ones((50, 4), np.float32), [0, 1] * 25, image_sha256=["a"] * 50))
        assert audit.counts()["exact_duplicate"] == 1
        audit = audit_features(FeatureSet(np.ones((50, 4), np.float32), [0, 1] * 25))
        assert any("digests are unknown" in note for note in audit.notes)

    def test_features_that_are_no_numbers(self):
        plain = digits(100)
        plain.X[7] = np.nan
        audit = audit_features(plain)
        assert any("1 samples with features that are no numbers (7)" in note for note in audit.notes)

    def test_of_too_many_a_share_is_drawn_and_copies_are_found_among_all(self):
        audit = audit_features(planted(), max_samples=200, random_state=3)
        assert (audit.n_samples, audit.n_audited) == (609, 200)
        assert audit.counts()["exact_duplicate"] == 3
        assert any("200 of 606 different images were drawn (seed 3)" in note for note in audit.notes)
        again = audit_features(planted(), max_samples=200, random_state=3)
        other = audit_features(planted(), max_samples=200, random_state=4)
        assert again.findings == audit.findings != other.findings

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"label_method": "guess"}, "label_method='guess'"),
            ({"max_samples": 0}, "max_samples=0"),
            ({"n_neighbors": -1}, "n_neighbors=-1"),
            ({"random_state": "x"}, "random_state='x'"),
            ({"parts": ["a"]}, "1 parts for 20 rows"),
            ({"content": np.zeros((3, 256))}, "content of 3 images for 20 rows"),
        ],
    )
    def test_bad_parameters_are_refused(self, options, message):
        with pytest.raises(HeadError, match=message):
            audit_features(digits(20), **options)

    def test_nothing_at_all(self):
        with pytest.raises(HeadError, match="no samples"):
            audit_features(FeatureSet(np.zeros((0, 3), np.float32)))

    def test_cleanlab_is_asked_for_before_the_work(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "cleanlab", None)
        with pytest.raises(MissingPackageError, match="cleanlab"):
            audit_features(digits(20), label_method="cleanlab")


class TestClassBalance:
    def test_small_rare_and_empty_classes(self):
        plain = digits(200)
        y = np.array([0] * 180 + [1] * 14 + [2] * 3 + [3] * 3)
        groups = [str(row) for row in range(200)]
        names = ["many", "rare", "few", "others", "none"]
        audit = audit_features(FeatureSet(plain.X, y, class_names=names, groups=groups))
        reasons = [finding.reason for finding in audit.of("class_balance")]
        assert reasons[0] == "the class 'none' has 0 of 200 labels, too few for 5 folds"
        assert "the class 'few' has 3 of 200 labels, too few for 5 folds" in reasons
        assert reasons[-1] == "the class 'rare' has 14 of 200 labels, the largest 13 times as many"
        few = next(finding for finding in audit.of("class_balance") if "'few'" in finding.reason)
        assert few.sample_ids == ("194", "195", "196")
        assert few.excluded == ()
        assert audit.to_rows()[-1]["sample_id"] == ""

    def test_a_class_in_few_groups(self):
        plain = digits(200)
        groups = [str(row) if plain.y[row] else f"patient {row % 2}" for row in range(200)]
        (finding,) = audit_features(FeatureSet(plain.X, plain.y, groups=groups)).of("class_balance")
        assert "in 2 groups, too few for 5 folds" in finding.reason
