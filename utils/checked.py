"""For dataclasses that are sections of an option file: pydantic checks what they are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

CHECKED = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""No unknown names, no silent conversions."""

Natural = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
