"""The gateway's tables: providers and their models, the log of requests, feedback, files, batches, deferred calls.

It owns tables and their constraints. It does not own writes: the functions of the other packages do.
"""

from llm.models.batch_progress import BatchProgress
from llm.models.batches import Batch, BatchItem, BatchJob, Lane, StoredFile
from llm.models.catalog import Deployment, LanguageModel, Provider
from llm.models.deferred import DeferredJob, LaneDelay
from llm.models.idempotency import IdempotentCall
from llm.models.refresh import AskedQuestion, RefreshedMonth
from llm.models.request_days import RequestDay, RequestTally
from llm.models.requests import Feedback, RequestLog
from llm.models.responses import KeptItem, KeptResponse
from llm.models.saved_views import SavedView
from llm.models.stored_chats import StoredChat
from llm.models.turns import BatchTurn

__all__ = [
    "AskedQuestion",
    "Batch",
    "BatchItem",
    "BatchJob",
    "BatchProgress",
    "BatchTurn",
    "DeferredJob",
    "Deployment",
    "Feedback",
    "IdempotentCall",
    "KeptItem",
    "KeptResponse",
    "Lane",
    "LaneDelay",
    "LanguageModel",
    "Provider",
    "RefreshedMonth",
    "RequestDay",
    "RequestLog",
    "RequestTally",
    "SavedView",
    "StoredChat",
    "StoredFile",
]
