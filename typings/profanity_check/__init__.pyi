from collections.abc import Sequence

import numpy as np

def predict_prob(texts: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]: ...
