"""Applying a configuration file: everything in one transaction, or nothing.

Invariant: the database is as the file says when this returns, and as it was when this raises or runs dry.
Objects the file does not name stay. Every worker is notified of the change when it commits.
"""

from collections.abc import Mapping

from django.contrib.auth.models import User
from django.db import transaction

from llm.configuration.catalog import (
    apply_deployment,
    apply_model,
    apply_owner,
    apply_provider,
    check_fallbacks,
)
from llm.configuration.changes import Changes
from llm.configuration.contracts import (
    apply_commitment,
    apply_currency,
    apply_currency_rate,
    apply_entry,
    apply_gl_account,
    apply_prepaid,
)
from llm.configuration.document import read_document
from llm.configuration.money import apply_alerts, apply_budget, apply_channel, apply_rate_rule
from llm.configuration.months import apply_delivery, apply_split_rule
from llm.configuration.prices import apply_prices
from llm.configuration.spec import Spec, TenantSpec, read_spec
from llm.configuration.tenancy import apply_key, apply_tenant, apply_user
from llm.configuration.writer import Writer

# Two files applied at the same time take turns, so that each compares with what the other has written.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('purser.apply_configuration'))"


def apply_configuration(
    text: str,
    *,
    source: str,
    environ: Mapping[str, str],
    dry_run: bool = False,
    acting_user: User | None = None,
) -> Changes:
    """Create or update what the YAML text declares, and say what changed.

    Raises ConfigurationError, which names the line, and then nothing is changed.
    """
    document = read_document(text, source=source, environ=environ)
    spec = read_spec(document)
    changes = Changes(source=source, is_dry_run=dry_run)
    writer = Writer(document=document, changes=changes, acting_user=acting_user)
    with transaction.atomic():
        with transaction.get_connection().cursor() as cursor:
            cursor.execute(ONE_AT_A_TIME)
        _apply_catalog(spec, writer=writer)
        for index, rate in enumerate(spec.currency_rates):
            apply_currency_rate(rate, path=("currency_rates", index), writer=writer)
        for index, tenant in enumerate(spec.tenants):
            _apply_tenant(tenant, index=index, writer=writer)
        for index, account in enumerate(spec.gl_accounts):
            apply_gl_account(account, path=("gl_accounts", index), writer=writer)
        for index, delivery in enumerate(spec.deliveries):
            apply_delivery(delivery, tenant=None, path=("deliveries", index), writer=writer)
        if dry_run:
            transaction.set_rollback(True)
    return changes


def _apply_catalog(spec: Spec, *, writer: Writer) -> None:
    for index, provider in enumerate(spec.providers):
        apply_provider(provider, path=("providers", index), writer=writer)
    rows = [
        apply_model(model, path=("models", index), writer=writer) for index, model in enumerate(spec.models)
    ]
    for index, (model, row) in enumerate(zip(spec.models, rows, strict=True)):
        check_fallbacks(model, path=("models", index), writer=writer)
        for position, deployment in enumerate(model.deployments):
            apply_deployment(
                deployment, model=row, path=("models", index, "deployments", position), writer=writer
            )
        apply_prices(model, row=row, path=("models", index), writer=writer)


def _apply_tenant(spec: TenantSpec, *, index: int, writer: Writer) -> None:
    path = ("tenants", index)
    tenant = apply_tenant(spec, path=path, writer=writer)
    for position, name in enumerate(spec.own_accounts):
        apply_owner(name, tenant=tenant, path=(*path, "own_accounts", position), writer=writer)
    for position, user in enumerate(spec.users):
        apply_user(user, tenant=tenant, path=(*path, "users", position), writer=writer)
    for position, key in enumerate(spec.keys):
        apply_key(key, tenant=tenant, path=(*path, "keys", position), writer=writer)
    for position, budget in enumerate(spec.budgets):
        apply_budget(budget, tenant=tenant, path=(*path, "budgets", position), writer=writer)
    for position, rule in enumerate(spec.rate_rules):
        apply_rate_rule(rule, tenant=tenant, path=(*path, "rate_rules", position), writer=writer)
    for position, entry in enumerate(spec.entries):
        apply_entry(entry, tenant=tenant, path=(*path, "entries", position), writer=writer)
    for position, commitment in enumerate(spec.commitments):
        apply_commitment(commitment, tenant=tenant, path=(*path, "commitments", position), writer=writer)
    if spec.currency is not None:
        apply_currency(spec.currency, tenant=tenant, path=(*path, "currency"), writer=writer)
    if spec.prepaid is not None:
        apply_prepaid(spec.prepaid, tenant=tenant, path=(*path, "prepaid"), writer=writer)
    for position, split in enumerate(spec.split_rules):
        apply_split_rule(split, tenant=tenant, path=(*path, "split_rules", position), writer=writer)
    for position, delivery in enumerate(spec.deliveries):
        apply_delivery(delivery, tenant=tenant, path=(*path, "deliveries", position), writer=writer)
    for position, channel in enumerate(spec.channels):
        apply_channel(channel, tenant=tenant, path=(*path, "channels", position), writer=writer)
    apply_alerts(spec.alerts, tenant=tenant, path=(*path, "alerts"), writer=writer)
