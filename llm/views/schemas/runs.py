"""Sessions and runs: their trees and envelopes."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from llm.views.schemas.base import USD


class Spent(BaseModel):
    requests: int
    input_tokens: int = Field(description="Cached ones included.")
    output_tokens: int
    cost_usd: str = Field(description=USD)
    list_cost_usd: str = Field(description=USD)


class ModelSpent(Spent):
    model: str


class HourSpent(Spent):
    hour: datetime


class AgentSpent(BaseModel):
    session: str | None
    id: str | None = Field(description="Null: the session itself.")
    type: str | None
    depth: int = Field(description="In the tree; an agent stands after the one above it.")
    claimed_parent: str | None = Field(description="Named by the agent, and not in the tree or below it.")
    first_hour: datetime
    last_hour: datetime
    own: Spent
    with_sub_agents: Spent
    models: list[ModelSpent]


class EnvelopeState(BaseModel):
    id: int
    run: str
    opened_by: Literal["session", "run", "asked", "person"]
    opened_at: datetime
    expires_at: datetime
    is_open: bool
    limit_usd: str = Field(description="Raises included.")
    spent_usd: str
    held_usd: str
    remaining_usd: str
    raise_url: str


class RunAnswer(BaseModel):
    object: Literal["session", "run"]
    id: str
    user: str | None = None
    run: str | None = None
    first_hour: datetime | None = None
    last_hour: datetime | None = None
    total: Spent
    agent_count: int = 0
    agents: list[AgentSpent] = Field(default=[], description="The dearest, at most 500.")
    others: Spent | None = Field(default=None, description="The agents that are not shown.")
    models: list[ModelSpent] = []
    hours: list[HourSpent] = []
    envelope: EnvelopeState | None
