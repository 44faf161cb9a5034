"""What is used of scipy.stats, which has no types."""

from numpy import float64
from numpy.typing import NDArray

class gaussian_kde:
    def __init__(self, dataset: NDArray[float64]) -> None: ...
    def __call__(self, points: NDArray[float64]) -> NDArray[float64]: ...
