"""Work on the shards of a dataset: where it runs, and where what is done is kept."""

from swaypoint.folds.base import Fold, Statistic, pairwise, total
from swaypoint.folds.durable import Durable
from swaypoint.folds.engines import engine
from swaypoint.folds.in_process import InProcess

__all__ = ["Durable", "Fold", "InProcess", "Statistic", "engine", "pairwise", "total"]
