"""Where eight real errors of a regression's target rank: BostonHousing2, which has the target as published
(medv) and as corrected (cmedv; Gilley & Pace, 1996).

    Rscript -e 'data(BostonHousing2, package="mlbench")
                write.csv(BostonHousing2, "boston.csv", row.names=FALSE)'
    python -m benchmarks.boston boston.csv [--seeds 3]

Audits ``swaypoint audit table.csv --label medv --loss squared_error``, with nothing of the correction in the
table, and ranks by ``auto``, the absolute residual and Cook's distance; beside them least squares by
statsmodels.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.api as sm

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import ReadOptions
from swaypoint.models.predictor import Objective

TARGET, CORRECTED = "medv", "cmedv"
PLACES = ["town", "tract"]


def ranks(values: np.ndarray) -> np.ndarray:
    """Place of each value among all, from the largest on, 1 first."""
    return pd.Series(np.abs(values)).rank(ascending=False, method="min").astype(int).to_numpy()


def measure(table: pd.DataFrame, seeds: int) -> pd.DataFrame:
    """A row a wrong value, a column an order."""
    wrong = ~np.isclose(table[TARGET], table[CORRECTED])
    given = table.drop(columns=[CORRECTED, *PLACES])
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "table.csv"
        given.to_csv(source, index=False)
        for seed in range(seeds):
            made = swaypoint.audit(
                source,
                Path(folder) / str(seed),
                options=AuditOptions(objective=Objective("squared_error"), seed=seed),
                read=ReadOptions(label=TARGET),
            )
            scores = made.scores().to_pandas().sort_values("index")
            for name in ("auto", "residual", "cook"):
                found[f"{name}, seed {seed}"] = ranks(scores[name].to_numpy())
    x = sm.add_constant(given.drop(columns=TARGET).astype(float))
    fitted = sm.OLS(given[TARGET], x).fit().get_influence()
    found["least squares, studentised"] = ranks(fitted.resid_studentized_internal)
    found["least squares, Cook"] = ranks(fitted.cooks_distance[0])
    shown = table.loc[wrong, [TARGET, CORRECTED]]
    return pd.concat([shown, pd.DataFrame(found, index=table.index).loc[wrong]], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    print(measure(pd.read_csv(asked.table), asked.seeds).to_string())


if __name__ == "__main__":
    main()
