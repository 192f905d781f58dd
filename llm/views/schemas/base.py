"""What several bodies have in common."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Rating = Literal[1, -1]
CacheState = Literal["miss", "exact", "semantic", "bypass"]
USD = "Exact amount in USD, 12 decimal places, as text."


class Open(BaseModel):
    """A body of a provider's API: more fields than these are taken, or may come."""

    model_config = ConfigDict(extra="allow")
