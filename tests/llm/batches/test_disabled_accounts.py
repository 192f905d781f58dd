"""A batch at an account that is disabled waits there, and goes on after Enable: with a real worker."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils.timezone import now

from llm.models import BatchJob, Provider
from tests.admin.pressing import press
from tests.books import eventually
from tests.llm.batches.conftest import Desk
from tests.llm.batches.test_accounts import BATCH, questions
from tests.llm.conftest import Spread


def test_it_works(
    desk_for: Callable[..., Desk], make_spread: Callable[..., Spread], operator: Client
) -> None:
    desk, spread = desk_for(), make_spread({}, prices=BATCH)
    (deployment,) = spread.accounts
    account = Provider.objects.get(name=deployment.provider)
    # its job is still here when the account is disabled
    desk.world.fault(fault="status:401", match={"path": "/v1/files", "key": deployment.account_key}, times=2)
    order = desk.order(questions(spread.model, 3))

    def job() -> Any:
        return BatchJob.objects.filter(tenant_id=desk.member.id).first()

    eventually(lambda: job() is not None and job().failures > 0, patience_seconds=60.0)
    press(operator, "llm_provider_disable", account.pk, reason="an invoice is disputed")
    eventually(lambda: job().next_look_at is not None and job().next_look_at > now() + timedelta(seconds=20))
    assert (job().state, job().upstream_id) == (BatchJob.State.NEW, "")
    assert desk.client.batches.retrieve(order.id).status == "in_progress"

    press(operator, "llm_provider_enable", account.pk, reason="it is paid")
    batch = desk.wait(order.id)
    assert (batch.status, batch.request_counts.completed) == ("completed", 3)
    assert desk.read(batch.output_file_id)["q0"]["error"] is None
