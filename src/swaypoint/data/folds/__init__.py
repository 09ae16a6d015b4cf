"""Work on the shards of a dataset: where it runs, and where what is done is kept."""

from swaypoint.data.folds.base import Fold, Statistic, pairwise, total
from swaypoint.data.folds.durable import Durable
from swaypoint.data.folds.engines import engine
from swaypoint.data.folds.in_process import InProcess

__all__ = ["Durable", "Fold", "InProcess", "Statistic", "engine", "pairwise", "total"]
