"""Comparisons of compressible features: resuming, results and their plot."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from tests.conftest import cropped
from tfc_models.training import config as configs
from tfc_models.training import feature_crops, feature_ladder, feature_plots, feature_tasks
from tfc_models.training.feature_config import FeatureTraining
from tfc_models.training.feature_ladder import Row
from tfc_models.training.feature_training import RELATIVE_STEP, FeatureNetwork
from tfc_models.training.mnist import LabelledImages

SMALL = FeatureTraining(
    model="mnist",
    steps=60,
    further_steps=60,
    batch=20,
    weights=(0.01,),
    seeds=1,
    ranks=(2,),
    steps_of_pca=(0.5,),
    books=((1, 4),),
)


def drawn(count):
    """Returns images of two classes: a bright left or right half."""
    rng = np.random.default_rng(count)
    labels = rng.integers(2, size=count).astype(np.int32)
    images = rng.random((count, 8, 8, 1), np.float32)
    images[:, :, :4] += labels[:, None, None, None]
    return LabelledImages(images, labels)


@pytest.fixture
def task(monkeypatch):
    task = feature_tasks.Task(
        *("mnist", drawn(200), drawn(60), drawn(80), "drawn", "accuracy"),
        backbone=lambda: feature_tasks._network([8, 8, 1], 4, (4,), pooled=False),
        accuracy=feature_tasks.classified,
    )
    monkeypatch.setattr(feature_tasks, "load", lambda *names, **arguments: task)
    return task


def test_a_run_measures_all_methods_and_resumes(task, tmp_path, monkeypatch):
    rows = feature_ladder.run(SMALL, [], tmp_path)
    by_method = {row.method: row for row in rows}
    assert {*by_method} == {
        *("float32", "float32 + zip", "int8", "PCA 2", "product quantization 1 × 4"),
        *("uncompressed", "factorized"),
    }
    assert by_method["uncompressed"].bits == 4 * 32 and by_method["int8"].bits == 4 * 8
    assert by_method["factorized"].accuracy > 0.9
    assert 0 < by_method["factorized"].bits < 32 and by_method["factorized"].side_bytes > 0
    stored = feature_ladder.read(tmp_path / "results.csv")
    assert [row.method for row in stored] == [row.method for row in rows]
    np.testing.assert_allclose([r[1:] for r in stored], [r[1:] for r in rows], rtol=1e-5)
    assert feature_plots.panel(tmp_path).measure == "accuracy"
    with pytest.raises(ValueError, match="no results of a complete seed"):
        feature_plots.panel(tmp_path / "other")
    # Finished trainings are not repeated.
    monkeypatch.setattr(feature_ladder.FeatureNetwork, "train", None)
    assert len(feature_ladder.run(SMALL, [], tmp_path)) == len(rows)
    with pytest.raises(ValueError, match="a run with another batch"):
        feature_ladder.run(dataclasses.replace(SMALL, batch=10), [], tmp_path)
    (tmp_path / "results.csv").write_text("method,seed\na,b\n")
    with pytest.raises(ValueError, match="damaged: remove it"):
        feature_ladder.run(SMALL, [], tmp_path)


def test_means_compare_equal_seeds(tmp_path):
    rows = [
        Row(method, 0.0, seed, bits, 10, 100, accuracy + 0.1 * seed, 0.5)
        for seed in range(3)
        for method, bits, accuracy in (
            *(("uncompressed", 320.0, 0.5), ("factorized", 8.0, 0.6), ("PCA 2", 9.0, 0.4)),
            ("PCA 4", 10.0, 0.3),
        )
    ]
    rows.append(Row("factorized", 0.0, 7, 8.0, 10, 100, 0.0, 0.0))  # Its seed is not complete.
    found = {mean.method: mean for mean in feature_plots.means(rows)}
    assert found["factorized"].gain == pytest.approx(0.1)
    assert found["factorized"].error == pytest.approx(0.0)
    assert found["factorized"].spread == pytest.approx(0.1 / 3**0.5)
    table = feature_plots.table(rows)
    assert "PCA 2" in table and "PCA 4" not in table
    panel = feature_plots.Panel("a task", "accuracy", rows)
    feature_plots.plot([panel, panel], tmp_path / "curve.webp")
    with Image.open(tmp_path / "curve.webp") as image:
        assert image.convert("L").getextrema()[0] < 60


def test_a_network_starts_as_the_one_that_it_continues(task):
    plain = FeatureNetwork(SMALL, task)
    plain.train(20, seed=0)
    features = plain.features(task.training.images)
    network = FeatureNetwork(SMALL, task, "factorized")
    network.start_from(plain, features)
    components = network.features(task.training.images)
    np.testing.assert_allclose(network.head(components), plain.head(features), atol=1e-3)
    deviations = components.std(0)
    assert np.all(np.diff(deviations) <= 1e-4)
    assert deviations[0] == pytest.approx(1 / RELATIVE_STEP, rel=0.01)


def test_crops_of_a_photo_are_in_one_part(tmp_path, monkeypatch):
    monkeypatch.setenv("TFC_MODELS_CACHE", str(tmp_path / "cache"))
    for i in range(20):
        Image.fromarray(cropped(150 + i, 200)).save(tmp_path / f"{i}.png")
    splits = feature_crops.load([str(tmp_path)])
    again = feature_crops.load([str(tmp_path)])
    np.testing.assert_array_equal(splits.test.images, again.test.images)
    assert [len(np.unique(part.labels)) for part in splits[:3]] == [12, 2, 6]
    assert splits.training.images.shape[1:] == (48, 48, 3)
    assert "12 / 2 / 6" in splits.description
    with pytest.raises(ValueError, match="at least 20 photos"):
        feature_crops.load([str(tmp_path / "cache")])


def test_recall_shares_ties():
    features = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    assert feature_tasks.recalled(features, np.array([0, 0, 1, 1])) == 1.0
    assert feature_tasks.recalled(np.ones([4, 2]), np.array([0, 0, 1, 1])) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("weights=(0.0,)", "weights are above 0"),
        ("priors=('normal',)", "priors are of factorized, conditional"),
        ("seeds=0", "seeds is the number"),
        ("quantization=hard", "quantization is one of"),
        ("minutes=3", "budget in steps"),
    ],
)
def test_unusable_settings_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        configs.read("mnist", [change], FeatureTraining)
