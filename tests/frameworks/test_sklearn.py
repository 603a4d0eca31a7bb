"""scikit-learn on wrapped arrays and texts."""

import numpy as np
import pytest
from conftest import COUNT, transcript
from safetensors.numpy import load_file
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.naive_bayes import MultinomialNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from alithis.adapters import sklearn as adapter
from alithis.errors import SourceError
from alithis.run import Run


def test_fit_takes_all_of_an_array(images, labels, pixels):
    run = Run("r")
    rows = images.reshape(COUNT, -1).astype("f4")
    fed = run.use(rows, pixels, source=images)
    model = LogisticRegression(max_iter=500).fit(fed, labels)
    expected = LogisticRegression(max_iter=500).fit(rows, labels)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    assert transcript(run)[:3] == (COUNT, 0, 0)


def test_a_split_takes_its_rows_only(images, labels, pixels):
    run = Run("r")
    fed = run.use(images, pixels)
    train, _, _, _ = train_test_split(np.arange(COUNT), labels, train_size=40, random_state=0)
    LogisticRegression(max_iter=500).fit(fed[train].reshape(40, -1), labels[train])
    assert transcript(run) == (40, COUNT - 40, 0, 40)


def test_cross_validation(images, labels, pixels):
    run = Run("r")
    fed = run.use(images.reshape(COUNT, -1), pixels, source=images)
    scores = cross_val_score(LogisticRegression(max_iter=500), fed, labels, cv=3)
    assert len(scores) == 3
    assert transcript(run)[:3] == (COUNT, 0, 0)


def test_texts(texts, sentences, labels):
    run = Run("r")
    model = make_pipeline(CountVectorizer(), MultinomialNB())
    model.fit(run.use(texts, sentences)[:60], labels[:60])
    assert transcript(run) == (60, COUNT - 60, 0, 60)


def test_the_estimator_is_recorded(images, labels, pixels, tmp_path):
    path = tmp_path / "weights.safetensors"
    with Run("r", out=tmp_path / "out") as run:
        fed = run.use(images.reshape(COUNT, -1), pixels, source=images)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(fed, labels)
        adapter.record(run, model, path)

    weights = load_file(path)
    np.testing.assert_array_equal(weights["logisticregression.coef_"], model[-1].coef_)
    np.testing.assert_array_equal(weights["standardscaler.mean_"], model[0].mean_)
    ours = run.facts().as_object()
    assert ours["parameters"]["logisticregression__C"] == 0.5
    assert ours["parameters"]["logisticregression"] == "LogisticRegression"
    assert (tmp_path / "out" / "metadata.json").is_file()


def test_weights_that_an_estimator_keeps_in_one_of_its_own(texts, tmp_path):
    model = TfidfVectorizer().fit(texts)
    adapter.record(Run("r"), model, tmp_path / "weights.safetensors")
    weights = load_file(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(weights["_tfidf.idf_"], model.idf_)


def test_layers_of_a_network(images, labels, tmp_path):
    model = MLPClassifier((3,), max_iter=2).fit(images.reshape(COUNT, -1) / 255, labels)
    run = Run("r")
    adapter.record(run, model, tmp_path / "weights.safetensors")
    names = load_file(tmp_path / "weights.safetensors").keys()
    assert {"coefs_.0", "coefs_.1", "intercepts_.0"} <= names
    assert run.facts().parameters["hidden_layer_sizes"] == [3]


def test_settings_that_are_no_json(images, labels, tmp_path):
    with Run("r", out=tmp_path / "out") as run:
        model = make_pipeline(
            SimpleImputer(),
            FunctionTransformer(brighter),
            LogisticRegression(C=np.float32(0.5), class_weight={0: 1.0, 1: 2.0}),
        )
        model.fit(images.reshape(COUNT, -1), labels)
        adapter.record(run, model, tmp_path / "weights.safetensors")
    parameters = run.facts().as_object()["parameters"]  # nothing that `write` refuses
    assert parameters["simpleimputer__missing_values"] == "nan"
    assert parameters["functiontransformer__func"] == "brighter"
    assert parameters["logisticregression__C"] == 0.5
    assert parameters["logisticregression__class_weight"] == {"0": 1.0, "1": 2.0}
    assert parameters["steps"] == [
        ["simpleimputer", "SimpleImputer"],
        ["functiontransformer", "FunctionTransformer"],
        ["logisticregression", "LogisticRegression"],
    ]


def test_a_vocabulary_is_no_setting_to_write_out(texts, tmp_path):
    words = [f"word{at}" for at in range(50_000)]
    model = TfidfVectorizer(vocabulary=words, dtype=np.float32).fit(texts)
    run = Run("r")
    adapter.record(run, model, tmp_path / "weights.safetensors")
    parameters = run.facts().parameters
    assert (parameters["vocabulary"], parameters["dtype"]) == ("list", "float32")


def brighter(rows):
    return rows + 1


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (LogisticRegression(), "no fitted arrays"),
        (RandomForestClassifier(), "no fitted arrays"),
        ("model", "a str is no estimator"),
    ],
)
def test_what_has_no_arrays(model, said, tmp_path):
    with pytest.raises(SourceError, match=said):
        adapter.record(Run("r"), model, tmp_path / "weights.safetensors")
