"""scikit-learn on wrapped arrays and texts."""

import json

import numpy as np
import pytest
from conftest import COUNT, transcript
from safetensors import safe_open
from safetensors.numpy import load_file
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.svm import SVC

from alithis.errors import SourceError
from alithis.integrations import sklearn as adapter
from alithis.training.run import Run


def test_fit_reads_the_whole_array(images, labels, pixels):
    run = Run("r")
    rows = images.reshape(COUNT, -1).astype("f4")
    fed = run.use(rows, pixels, source=images)
    model = LogisticRegression(max_iter=500).fit(fed, labels)
    expected = LogisticRegression(max_iter=500).fit(rows, labels)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    assert transcript(run)[:3] == (COUNT, 0, 0)


def test_split_reads_only_its_rows(images, labels, pixels):
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


def test_estimator_is_recorded(images, labels, pixels, tmp_path):
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


def test_weights_of_an_estimator_inside_another(texts, tmp_path):
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


def test_settings_other_than_json_are_text(images, labels, tmp_path):
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


def test_vocabulary_is_not_written_as_a_setting(texts, tmp_path):
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
        ("model", "a str is not an estimator"),
    ],
)
def test_refuses_models_without_arrays(model, said, tmp_path):
    with pytest.raises(SourceError, match=said):
        adapter.record(Run("r"), model, tmp_path / "weights.safetensors")


ROWS = np.random.default_rng(0).random((60, 3))
TWO = np.array(["no", "yes"] * 30)
THREE = np.array(["a", "b", "c"] * 20)
MIXED = np.array([[at, "xyz"[at % 3]] for at in range(60)], dtype=object)
COLUMNS = ColumnTransformer([("number", StandardScaler(), [0]), ("kind", OneHotEncoder(), [1])])


@pytest.mark.parametrize(
    ("model", "rows", "labels", "names"),
    [
        (LogisticRegression(), ROWS, THREE, "coef_ intercept_ classes_"),
        (LogisticRegressionCV(Cs=2, cv=2), ROWS, THREE, "coef_ intercept_ classes_"),
        (Ridge(), ROWS, ROWS[:, 0], "coef_ intercept_"),
        (SGDClassifier(), ROWS, TWO, "coef_ intercept_ classes_"),
        (GaussianNB(), ROWS, TWO, "theta_ var_ class_prior_ classes_"),
        (MLPClassifier((2,), max_iter=2), ROWS, TWO, "coefs_.1 classes_ _label_binarizer.y_type_"),
        (MLPClassifier((2,), max_iter=2), ROWS, THREE, "coefs_.1 intercepts_.1 out_activation_"),
        (SVC(), ROWS, THREE, "support_vectors_ dual_coef_ intercept_ _n_support _gamma classes_"),
        (PCA(2), ROWS, None, "components_ mean_"),
        (KMeans(2), ROWS, None, "cluster_centers_"),
        (KNeighborsClassifier(algorithm="brute"), ROWS, TWO, "_fit_X _y classes_"),
        (OrdinalEncoder(), MIXED, None, "categories_.0 categories_.1"),
        (
            make_pipeline(COLUMNS, LogisticRegression()),
            MIXED,
            TWO,
            "columntransformer.transformers_.number.mean_ columntransformer.transformers_.number.1 "
            "columntransformer.transformers_.kind.categories_.0 logisticregression.coef_",
        ),
        (
            make_pipeline(make_union(StandardScaler(), MinMaxScaler()), GaussianNB()),
            ROWS,
            TWO,
            "featureunion.transformer_list.standardscaler.mean_ gaussiannb.theta_ "
            "featureunion.transformer_list.minmaxscaler.data_max_",
        ),
        (
            make_pipeline(StandardScaler(), StandardScaler()),
            ROWS,
            None,
            "standardscaler-1.mean_ standardscaler-2.mean_",
        ),
        (
            make_pipeline(HashingVectorizer(n_features=8), SGDClassifier()),
            THREE,
            TWO,
            "sgdclassifier.coef_",
        ),
        (
            GridSearchCV(LogisticRegression(), {"C": [1, 2]}),
            ROWS,
            TWO,
            "best_estimator_.coef_ best_estimator_.classes_",
        ),
        (
            VotingClassifier([("one", LogisticRegression()), ("two", GaussianNB())]),
            ROWS,
            TWO,
            "estimators_.0.coef_ estimators_.1.theta_ le_.classes_",
        ),
        (
            BaggingClassifier(LogisticRegression(), 2, max_features=2),
            ROWS,
            TWO,
            "estimators_.1.coef_ estimators_features_.1",
        ),
        (OneVsRestClassifier(LogisticRegression()), ROWS, THREE, "estimators_.2.coef_ classes_"),
        (
            make_pipeline(FrozenEstimator(StandardScaler().fit(ROWS)), GaussianNB()),
            ROWS,
            TWO,
            "frozenestimator.estimator.mean_",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_file_contains_everything_that_was_learned(model, rows, labels, names, tmp_path):
    path, run = tmp_path / "weights.safetensors", Run("r")
    adapter.record(run, model.fit(rows, labels), path)
    assert load_file(path).keys() | stated(path).keys() >= set(names.split())
    assert stated(path)["class"] == run.facts().parameters["model"] == type(model).__name__


def stated(path):
    with safe_open(path, "np") as file:
        return json.loads(file.metadata()["estimator"])


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (RandomForestClassifier(2), "estimators_.0.tree_"),
        (GradientBoostingClassifier(n_estimators=2), "estimators_.0.0.tree_"),
        (HistGradientBoostingClassifier(max_iter=2), "_predictors.0.0"),
        (IsolationForest(n_estimators=2), "estimators_.0.tree_"),
        (KNeighborsClassifier(), "_tree"),
        (GaussianProcessClassifier(), "base_estimator_.kernel_"),
        (CalibratedClassifierCV(LogisticRegression()), "calibrated_classifiers_.0"),
        (BaggingClassifier(n_estimators=2), "estimators_.0.tree_"),
        (
            make_pipeline(StandardScaler(), RandomForestClassifier(2)),
            "randomforestclassifier.estimators_.0.tree_",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_are_refused_before_a_file_is_written(model, named, tmp_path):
    run = Run("r")
    with pytest.raises(SourceError) as refused:
        adapter.record(run, model.fit(ROWS, TWO), tmp_path / "weights.safetensors")
    said = f"{type(model).__name__}: {named} cannot be written as arrays; save the estimator in "
    assert str(refused.value) == said + "another way, and pass the file to save_model"
    assert not list(tmp_path.iterdir())
    assert not run.facts().parameters


@pytest.mark.parametrize(
    "value",
    [b"a", 1j, np.array([1j]), np.ma.array([1, 2], mask=[0, 1]), np.array(["2020"], "M8[D]"), len],
    ids=repr,
)
def test_refuses_values_that_safetensors_cannot_store(value, tmp_path):
    model = LogisticRegression().fit(ROWS, TWO)
    model.more_ = value
    with pytest.raises(SourceError, match="more_ cannot be written"):
        adapter.record(Run("r"), model, tmp_path / "weights.safetensors")


def test_estimator_that_contains_itself(tmp_path):
    model = LogisticRegression().fit(ROWS, TWO)
    model.self_ = model
    with pytest.raises(SourceError, match="self_ cannot be written"):
        adapter.record(Run("r"), model, tmp_path / "weights.safetensors")


def test_two_values_with_the_same_name(tmp_path):
    model = LogisticRegression().fit(ROWS, TWO)
    model.more_ = {1: 1.0, "1": 2.0}
    with pytest.raises(SourceError, match=r"two values have the name more_\.1"):
        adapter.record(Run("r"), model, tmp_path / "weights.safetensors")


def test_values_are_read_back_unchanged(tmp_path):
    model = LogisticRegression().fit(ROWS, TWO)
    model.mask_, model.one_, model.mixed_ = np.array([True, False]), np.float32(3), [1, None, "a"]
    model.sparsify()
    path = tmp_path / "weights.safetensors"
    adapter.record(Run("r"), model, path)
    weights, plain = load_file(path), stated(path)
    for part in ("data", "indices", "indptr", "shape"):
        np.testing.assert_array_equal(weights[f"coef_.{part}"], getattr(model.coef_, part))
    np.testing.assert_array_equal(weights["mask_"], [True, False])
    assert (weights["one_"].shape, weights["one_"].dtype, weights["one_"]) == ((), "f4", 3)
    assert (plain["mixed_"], plain["classes_"]) == ([1, None, "a"], ["no", "yes"])


def test_setting_named_model(tmp_path):
    class Named(LogisticRegression):
        def __init__(self, model="linear"):
            super().__init__()
            self.model = model

    run = Run("r")
    adapter.record(run, Named().fit(ROWS, TWO), tmp_path / "weights.safetensors")
    parameters = run.facts().parameters
    assert (parameters["model"], parameters["params.model"]) == ("Named", "linear")


def test_setting_named_estimator(tmp_path):
    model, run = OneVsRestClassifier(LogisticRegression(C=2)).fit(ROWS, THREE), Run("r")
    adapter.record(run, model, tmp_path / "weights.safetensors")
    parameters = run.facts().parameters
    assert parameters["model"] == "OneVsRestClassifier"
    assert (parameters["estimator"], parameters["estimator__C"]) == ("LogisticRegression", 2)


@pytest.mark.parametrize("name", ["\ud800", "step"])
def test_file_that_cannot_be_written(name, tmp_path):
    model = Pipeline([(name, LogisticRegression())]).fit(ROWS, TWO)
    path = tmp_path / ("none/weights.safetensors" if name == "step" else "weights.safetensors")
    with pytest.raises(SourceError, match="cannot be written"):
        adapter.record(Run("r"), model, path)
