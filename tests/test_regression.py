"""The statistics of a regression, against statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from scipy.special import expit
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score, root_mean_squared_error
from statsmodels.stats.outliers_influence import OLSInfluence

import swaypoint
from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring.regression import FAMILIES, constant, goodness, of_head, predicted, statistics
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import as_loss


def linear():
    x, y = load_diabetes(return_X_y=True, scaled=False)
    return x, y, sm.OLS(y, sm.add_constant(x)).fit()


def general(family):
    x = np.random.default_rng(0).normal(size=(300, 4))
    eta = 0.5 + x @ np.array([0.4, -0.3, 0.2, 0.0])
    draw = np.random.default_rng(1)
    y = draw.poisson(np.exp(eta)) if family == "poisson" else draw.random(300) < expit(eta)
    kind = sm.families.Poisson() if family == "poisson" else sm.families.Binomial()
    fitted = sm.GLM(y.astype(float), sm.add_constant(x), family=kind).fit(tol=1e-14)
    return x, y.astype(float), fitted


def head(loss, fitted):
    weights = torch.from_numpy(np.asarray(fitted.params))
    return HeadWeights(weights[1:].unsqueeze(0), weights[:1], as_loss(loss))


def batches(x, y):
    return ArrayBatches(torch.from_numpy(x), torch.from_numpy(y))


def test_linear_as_statsmodels_has_it():
    x, y, fitted = linear()
    found, oracle = of_head(head("squared_error", fitted), batches(x, y)), OLSInfluence(fitted)
    for name, expected in {
        "residual": fitted.resid,
        "leverage": oracle.hat_matrix_diag,
        "studentised": oracle.resid_studentized_external,
        "cooks_distance": oracle.cooks_distance[0],
    }.items():
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-8, atol=1e-10, err_msg=name)
    assert found.parameters == 11
    assert found.scale == pytest.approx(fitted.mse_resid**0.5, rel=1e-9)


@pytest.mark.parametrize("loss", ["poisson", "binary_cross_entropy"])
def test_generalised_linear_as_statsmodels_has_it(loss):
    x, y, fitted = general(loss)
    found, oracle = of_head(head(loss, fitted), batches(x, y)), fitted.get_influence()
    np.testing.assert_allclose(found.leverage, oracle.hat_matrix_diag, rtol=1e-8)
    np.testing.assert_allclose(found.cooks_distance, oracle.cooks_distance[0], rtol=1e-8)
    # Internally studentised by statsmodels; ours estimates the dispersion, and without the point.
    internal = np.asarray(oracle.resid_studentized) / fitted.pearson_chi2**0.5 * 295**0.5
    np.testing.assert_allclose(
        found.studentised, internal * np.sqrt(294 / (295 - internal**2)), rtol=1e-8, atol=1e-12
    )


def test_the_error_is_that_of_a_prediction_without_the_point():
    x, y, fitted = linear()
    found = of_head(head("squared_error", fitted), batches(x, y))
    for row in (0, 17, 441):
        rest = np.delete(np.arange(len(y)), row)
        without = sm.OLS(y[rest], sm.add_constant(x[rest])).fit()
        frame = without.get_prediction(np.r_[1.0, x[row]][None])
        assert found.error[row] == pytest.approx(float(frame.se_obs[0]), rel=1e-9)


def test_a_few_gross_errors_do_not_move_hubers_scale():
    generator = np.random.default_rng(0)
    residual, leverage = generator.normal(size=2000), np.full(2000, 0.002)
    residual[:40] += 1000.0
    found = statistics(residual, leverage, np.zeros(2000), FAMILIES["huber"])
    assert found.scale == pytest.approx(1.0, rel=0.06)
    assert np.abs(found.studentised[:40]).min() > 100


def test_leverage_one_is_not_judged():
    x = np.zeros((20, 2))
    x[:, 0] = np.arange(20.0)
    x[7, 1] = 1.0
    y = 2.0 * x[:, 0] + np.random.default_rng(0).normal(size=20)
    found = of_head(head("squared_error", sm.OLS(y, sm.add_constant(x)).fit()), batches(x, y))
    assert np.isnan(found.studentised[7])
    assert np.isfinite(np.delete(found.studentised, 7)).all()


def test_the_ranking_gives_what_statsmodels_prints():
    x, y, fitted = linear()
    model = LinearRegression().fit(x, y)
    ranking = swaypoint.cooks_distance_from_features(x, y, estimator=model, progress=False)
    expected = OLSInfluence(fitted).cooks_distance[0]
    np.testing.assert_allclose(ranking.statistical, expected, rtol=1e-8)
    np.testing.assert_allclose(ranking.top(5).statistical, expected[ranking.order[:5]], rtol=1e-8)


def test_a_classifier_has_no_cooks_d():
    x, y = load_iris(return_X_y=True)
    ranking = swaypoint.cooks_distance_from_features(x, y, progress=False)
    with pytest.raises(swaypoint.InputError, match=r"one output.*\.values"):
        _ = ranking.statistical


def test_other_heads_have_no_statistics():
    x, y, _ = linear()
    two = HeadWeights(torch.zeros(2, 10).double(), None, as_loss("squared_error"))
    assert of_head(two, batches(x, np.c_[y, y])) is None


def test_goodness_and_predictions():
    x, y, fitted = linear()
    prediction, target = predicted(head("squared_error", fitted), batches(x, y))
    np.testing.assert_allclose(prediction, fitted.fittedvalues, rtol=1e-9)
    found = goodness(prediction, target)
    assert found.r_squared == pytest.approx(r2_score(y, fitted.fittedvalues))
    assert found.rmse == pytest.approx(root_mean_squared_error(y, fitted.fittedvalues))


@pytest.mark.parametrize(
    ("loss", "expected"), [("squared_error", 4.0), ("huber", 2.0), ("poisson", np.log(4.0))]
)
def test_where_a_training_starts(loss, expected):
    assert constant(as_loss(loss), np.array([1.0, 2.0, 9.0])) == pytest.approx(expected)
