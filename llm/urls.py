"""The gateway's routes: everything under /v1, and nothing else."""

from django.http import HttpRequest, HttpResponse
from django.urls import path, register_converter
from django.urls.converters import StringConverter

from llm.errors import InternalError, NotFound
from llm.views import (
    accounts,
    batches,
    completions,
    estimates,
    events,
    files,
    jobs,
    message_batches,
    models,
    raise_requests,
    responses,
    runs,
    stored_chats,
    usage,
)
from llm.views.base import error_response, new_request_id
from llm.views.months import chargebacks, reports


class ResponseId(StringConverter):
    """The id after `/v1/responses/`; not the name of an endpoint of OpenAI's that we do not have."""

    regex = "(?!compact$)[^/]+"


register_converter(ResponseId, "response_id")

urlpatterns = [
    path("v1/chat/completions", completions.ChatCompletions.as_view()),
    path("v1/chat/completions/<str:completion_id>", stored_chats.StoredChat.as_view()),
    path("v1/chat/completions/<str:completion_id>/messages", stored_chats.StoredChatMessages.as_view()),
    path("v1/completions", completions.LegacyCompletions.as_view()),
    path("v1/messages", completions.Messages.as_view()),
    path("v1/messages/batches", message_batches.MessageBatches.as_view()),
    path("v1/messages/batches/<str:batch_id>", message_batches.MessageBatch.as_view()),
    path("v1/messages/batches/<str:batch_id>/results", message_batches.MessageBatchResults.as_view()),
    path("v1/messages/batches/<str:batch_id>/cancel", message_batches.CancelMessageBatch.as_view()),
    path("v1/messages/count_tokens", estimates.CountTokens.as_view()),
    path("v1/responses", completions.Responses.as_view()),
    path("v1/responses/input_tokens", estimates.CountInputTokens.as_view()),
    path("v1/responses/<response_id:response_id>", responses.Response.as_view()),
    path("v1/responses/<response_id:response_id>/cancel", responses.CancelResponse.as_view()),
    path("v1/responses/<response_id:response_id>/input_items", responses.InputItems.as_view()),
    path("v1/embeddings", completions.Embeddings.as_view()),
    path("v1/models", models.Models.as_view()),
    path("v1/models/<path:model>", models.Model.as_view()),
    path("v1/files", files.Files.as_view()),
    path("v1/files/<str:file_id>", files.File.as_view()),
    path("v1/files/<str:file_id>/content", files.FileContent.as_view()),
    path("v1/batches", batches.Batches.as_view()),
    path("v1/batches/<str:batch_id>", batches.Batch.as_view()),
    path("v1/batches/<str:batch_id>/cancel", batches.CancelBatch.as_view()),
    path("v1/jobs", jobs.Jobs.as_view()),
    path("v1/jobs/<str:job_id>", jobs.Job.as_view()),
    path("v1/jobs/<str:job_id>/cancel", jobs.CancelJob.as_view()),
    path("v1/estimate", estimates.Estimate.as_view()),
    path("v1/reports", reports.Reports.as_view()),
    path("v1/reports/files/<str:file_id>", reports.ReportFile.as_view()),
    path("v1/statements", reports.Statements.as_view()),
    path("v1/statements/<str:code>", reports.Statement.as_view()),
    path("v1/statements/<str:code>/files/<str:format_name>", reports.StatementFile.as_view()),
    path("v1/chargebacks", chargebacks.Chargebacks.as_view()),
    path("v1/chargebacks/<str:month>", chargebacks.Chargeback.as_view()),
    path("v1/split-rules", chargebacks.SplitRules.as_view()),
    path("v1/usage", usage.Usage.as_view()),
    path("v1/budgets", accounts.Budgets.as_view()),
    path("v1/budgets/raise-requests", raise_requests.RaiseRequests.as_view()),
    path("v1/budgets/raise-requests/<uuid:asked_id>", raise_requests.OneRaiseRequest.as_view()),
    path("v1/runs/current", runs.CurrentRun.as_view()),
    path("v1/runs/<path:name>", runs.Run.as_view()),
    path("v1/sessions/<path:name>", runs.Session.as_view()),
    path("v1/requests/<uuid:request_id>", accounts.RequestReceipt.as_view()),
    path("v1/feedback", accounts.GiveFeedback.as_view()),
    path("v1/events", events.PostEvents.as_view()),
]


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    error = NotFound(f"There is no {request.path} here.")
    return error_response(error, request, request_id=new_request_id())


def handler500(request: HttpRequest) -> HttpResponse:
    error = InternalError("Something went wrong on our side.")
    return error_response(error, request, request_id=new_request_id())
