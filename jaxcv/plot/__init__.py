"""Pictures of receptive fields.

Figures are made with matplotlib's objects, without pyplot: no global state, no display.
"""

from jaxcv.plot.feature_maps import draw_feature_maps
from jaxcv.plot.receptive_field import draw_receptive_field

__all__ = ["draw_feature_maps", "draw_receptive_field"]
