"""A job as its client sees it.

Invariant: pure; a row of the jobs' table in, the object of the API out (`llm.views.schemas.JobObject`).
"""

from datetime import datetime
from typing import Any, Final

COLUMNS: Final = """
    public_id, endpoint, status, lane, lanes, request_id, model_asked, model, provider, input_tokens, output_tokens,
    estimate_usd, hold_usd, cost_usd, list_cost_usd, response, error, created_at, deadline_at, started_at, finished_at,
    cancel_asked_at
"""
OVER: Final = frozenset({"completed", "failed", "cancelled"})
_PROCESSING: Final = {"cache": None, "batch": "batch", "flex": "flex", "online": "online"}


def job_object(row: dict[str, Any]) -> dict[str, Any]:
    """The job, with its answer in the protocol that was asked in, and what it costs and saves in `purser`."""
    return {
        "id": row["public_id"],
        "object": "job",
        "endpoint": row["endpoint"],
        "status": row["status"],
        "lane": row["lane"],
        "model": row["model"] or row["model_asked"],
        "created_at": _text(row["created_at"]),
        "deadline": _text(row["deadline_at"]),
        "started_at": _text(row["started_at"]),
        "finished_at": _text(row["finished_at"]),
        "cancel_asked_at": _text(row["cancel_asked_at"]),
        "response": row["response"],
        "error": row["error"],
        "purser": _block(row),
    }


def _block(row: dict[str, Any]) -> dict[str, Any]:
    is_answered = row["status"] == "completed"
    return {
        "request_id": str(row["request_id"]),
        "lane": row["lane"],
        "processing": _PROCESSING[row["lane"]],
        "model": row["model"],
        "provider": row["provider"],
        "tokens": {"input": row["input_tokens"], "output": row["output_tokens"]} if is_answered else None,
        "estimate_usd": f"{row['estimate_usd']:.12f}",
        "upper_bound_usd": f"{row['hold_usd']:.12f}",
        "cost_usd": f"{row['cost_usd']:.12f}" if row["status"] in OVER else None,
        "list_cost_usd": f"{row['list_cost_usd']:.12f}" if is_answered else None,
        "saved_usd": f"{row['list_cost_usd'] - row['cost_usd']:.12f}" if is_answered else None,
        "lanes": row["lanes"],
    }


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
