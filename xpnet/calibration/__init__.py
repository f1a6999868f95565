"""Calibration of a trained model on rows that it has not been trained on.

`reliability` shows how far predicted probabilities are from frequencies, and `temperature_scaled`
corrects them. `conformal_sets` and `conformal_intervals` turn predictions into sets of classes and
intervals that contain the target with a given probability, whatever the model.
"""

from xpnet.calibration.diagram import Reliability, reliability
from xpnet.calibration.intervals import ConformalIntervals, conformal_intervals
from xpnet.calibration.quantile import conformal_quantile
from xpnet.calibration.scores import AdaptiveSets, LeastAmbiguous, SetScore
from xpnet.calibration.sets import ConformalSets, conformal_sets
from xpnet.calibration.temperature import temperature_scaled

__all__ = [
    "AdaptiveSets",
    "ConformalIntervals",
    "ConformalSets",
    "LeastAmbiguous",
    "Reliability",
    "SetScore",
    "conformal_intervals",
    "conformal_quantile",
    "conformal_sets",
    "reliability",
    "temperature_scaled",
]
