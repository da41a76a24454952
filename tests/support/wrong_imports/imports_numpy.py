"""Imports numpy, which it does not need."""

from __future__ import annotations

import numpy
from wrong_base import Quiet as Provider

__all__ = ["Provider"]

ZEROS = numpy.zeros(4)
