"""Thin singular value decompositions with a fixed sign."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from essa.types import FloatArray


class Svd(NamedTuple):
    """matrix = left @ diag(values) @ right, values descending.

    `left` is (rows, r) and `right` is (r, columns), float32; `values` is (r,), float64.
    """

    left: NDArray[np.float32]
    values: FloatArray
    right: NDArray[np.float32]

    def rebuild(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the matrix with the given singular values, shape (rows, columns), float32.

        Args:
            values: shape (r,); the product is computed in float64.
        """
        scaled = self.left.astype(np.float64) * values
        return (scaled @ self.right.astype(np.float64)).astype(np.float32)


def thin_svd(matrix: NDArray[np.floating]) -> Svd:
    """Decompose a matrix of shape (rows, columns) in float64, with r = min(rows, columns).

    The entry of largest magnitude in every right vector is made positive, so the result does not
    depend on the signs that the library happens to return.
    """
    return _fix_signs(*np.linalg.svd(matrix.astype(np.float64), full_matrices=False))


def product_svd(lora_B: NDArray[np.floating], lora_A: NDArray[np.floating]) -> Svd:
    """Decompose B (out, r) @ A (r, in) into r values without forming the (out, in) product.

    B = Q_B R_B and A^T = Q_A R_A give B @ A = Q_B (R_B R_A^T) Q_A^T, whose middle factor is r x r.
    """
    q_b, r_b = np.linalg.qr(lora_B.astype(np.float64))
    q_a, r_a = np.linalg.qr(lora_A.astype(np.float64).T)
    left, values, right = np.linalg.svd(r_b @ r_a.T)
    return _fix_signs(q_b @ left, values, right @ q_a.T)


def _fix_signs(left: FloatArray, values: FloatArray, right: FloatArray) -> Svd:
    rows = np.arange(len(values))
    signs = np.where(right[rows, np.abs(right).argmax(axis=1)] < 0, -1.0, 1.0)
    return Svd(
        (left * signs).astype(np.float32), values, (right * signs[:, None]).astype(np.float32)
    )
