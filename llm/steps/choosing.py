"""The route and compress steps: which model answers, and with how much of the prompt.

Invariant: a model that is unknown, unpriced or not allowed to the key is refused before anything else is tried;
the receipt says what was chosen and why.
"""

from decimal import Decimal

from billing.budgets.balances import Balance, pressing, reset_header
from billing.budgets.windows import windows_for
from billing.estimates.costs import expected_cost
from billing.ledger.holds import recent_balances
from llm import compression
from llm.calls.call import Call
from llm.errors import ContextLengthExceeded, FeatureSwitchedOff, InvalidRequest
from llm.kept import references
from llm.kept import responses as kept_responses
from llm.providers.kinds import ProviderKind
from llm.providers.target import Target
from llm.routing.facts import AUTO
from llm.routing.rules import Market, route
from llm.steps.output_maximum import check_limit
from llm.tokens.counting import LONGEST_TOKEN_BYTES
from llm.tokens.estimating import least_input, shortens_itself
from tenants import known_users


def check_model(call: Call) -> None:
    """Refuse a named model that does not exist, is not allowed to the key, has no price, or cannot write so much."""
    if is_automatic(call):
        return
    catalog = call.snapshot.catalog
    catalog.answering(call.facts.model)
    call.principal.require_model(call.facts.model)
    if target := catalog.targets.get(
        call.facts.model
    ):  # of one that is switched off, routing asks that of its fallbacks
        call.snapshot.prices.rates(target.provider, target.model, at=call.received_at)
        check_limit(call, target)


def check_user(call: Call) -> None:
    """Refuse a call for somebody whom the tenant does not serve."""
    have_budgets = any(budget.scope == "user" for budget in call.snapshot.budgets)
    known_users.check_user(call.snapshot.tenant, call.user, have_budgets=have_budgets)


def check_length(call: Call) -> None:
    """Refuse, before anything is counted, what no model that the call may go to can read: a token has so many bytes."""
    if shortens_itself(call.body, call.passed_on):
        return
    catalog = call.snapshot.catalog
    targets = list(catalog) if is_automatic(call) else catalog.answering(call.facts.model)
    longest = max(targets, key=lambda target: target.context_window, default=None)
    least = sum(map(len, call.facts.texts)) // LONGEST_TOKEN_BYTES
    if longest is not None and call.wire.is_chat and least > longest.context_window:
        raise ContextLengthExceeded(tokens=least, most_tokens=longest.context_window, model=longest.model)


async def find_kept(call: Call) -> None:
    """Find what the call refers to of what providers keep, or raise NotFound, also for another tenant's."""
    if call.facts.continues and _may_continue(call):
        call.previous = await kept_responses.find(
            call.principal.tenant_id, call.facts.continues, param="previous_response_id"
        )
    if call.facts.references:
        call.keepers = await references.keepers_of(call.principal.tenant_id, call.facts.references)
        catalog = call.snapshot.catalog
        asked = catalog if is_automatic(call) else catalog.answering(call.facts.model)
        accounts = [account for target in asked for account in catalog.accounts_of(target)]
        strange = [call.stranger_to(account) for account in accounts]
        if all(strange):
            unknown = [one for one in call.facts.references if one.id not in call.keepers]
            raise references.refusal((unknown or call.facts.references)[0])


def _may_continue(call: Call) -> bool:
    """Whether the model's protocol knows of kept responses; one that does not refuses the field by its name."""
    if is_automatic(call):
        return True
    catalog = call.snapshot.catalog
    targets = catalog.answering(call.facts.model)
    return any(account.kind.keeps_responses for one in targets for account in catalog.accounts_of(one))


async def choose(call: Call) -> list[Target]:
    """The targets to try, best first. Raises what routing refuses, and FeatureSwitchedOff under budget pressure."""
    tightest = await _tightest(call)
    used_percent = float(tightest.used_percent) if tightest else None
    if used_percent is not None and call.policy.feature_is_off(
        call.headers.feature, used_percent=used_percent
    ):
        raise FeatureSwitchedOff(
            f"The feature '{call.headers.feature}' is switched off while its budget is used to {used_percent:.1f} %.",
            headers=reset_header(tightest),
            facts={"feature": call.headers.feature, "used_percent": round(used_percent, 2)},
        )
    call.route = await call.read_by(
        lambda: route(
            call.route_facts(),
            policy=call.policy,
            market=_market(call),
            used_percent=used_percent,
        )
    )
    call.receipt.note("route", call.route.model, tier=call.route.tier, reason=call.route.reason)
    return [call.route.target, *call.route.fallbacks]


async def compress(call: Call) -> None:
    """Shorten the prompt by the means the tenant's policy allows; the request header has the last word."""
    is_wanted = call.policy.compression.enabled if call.headers.compress is None else call.headers.compress
    if not is_wanted or not call.wire.is_chat:
        return
    tokenizer = call.route.target.tokenizer if call.route else call.facts.model
    compressed = await call.read_by(
        lambda: compression.compress(
            call.body,
            protocol=call.wire.api,
            policy=call.policy.compression,
            count=lambda body: call.readings.count(call.wire, body, tokenizer),
        )
    )
    call.tokens_before_compression = compressed.tokens_before
    call.tokens_after_compression = compressed.tokens_after
    call.body = dict(compressed.body)
    call.receipt.note(
        "compress",
        "compressed" if compressed.tokens_after < compressed.tokens_before else "unchanged",
        tokens_before=compressed.tokens_before,
        tokens_after=compressed.tokens_after,
        steps=compressed.steps,
    )


def is_automatic(call: Call) -> bool:
    """Whether the gateway may choose the model."""
    return call.facts.model == AUTO or call.facts.model.startswith(f"{AUTO}:")


async def _tightest(call: Call) -> Balance | None:
    """The call's budget that is used up furthest; None where nothing depends on it. Far from where something does it may be
    what this process saw last: a balance that a minute alone would bring there."""
    if not call.policy.pressure and not call.policy.features_off_at:
        return None
    snapshot = call.snapshot
    windows = windows_for(
        snapshot.budgets, call.dimensions, at=call.received_at, timezone=snapshot.tenant.timezone
    )
    balances = await recent_balances(
        call.principal.tenant_id,
        windows,
        since=snapshot.built_at,
        calm_percent=call.policy.first_pressure_at / 2,
    )
    return max(pressing(balances), key=lambda balance: balance.used_percent, default=None)


def _market(call: Call) -> Market:
    counts: dict[str, int] = {}

    def count(model: str) -> int:
        if model not in counts:
            tokenizer = call.snapshot.catalog.find(model).tokenizer
            counts[model] = call.readings.count(call.wire, call.body, tokenizer)
        return counts[model]

    def why_untranslatable(target: Target) -> str:
        accounts = call.snapshot.catalog.accounts_of(target)
        strange = [call.stranger_to(account) for account in accounts]
        if all(strange):
            return strange[0]
        named = [
            in_protocol(account.kind) for account, field in zip(accounts, strange, strict=True) if not field
        ]
        return "" if "" in named else named[0]

    def in_protocol(kind: ProviderKind) -> str:
        try:
            call.readings.translated(call.wire, call.body, kind)
        except InvalidRequest as error:
            return error.param or error.message
        return ""

    def cost_of(target: Target, input_tokens: int, output_tokens: int) -> Decimal:
        rates = call.snapshot.prices.rates(target.provider, target.model, at=call.received_at)
        return expected_cost(rates, input_tokens=input_tokens, output_tokens=output_tokens)

    def count_at_least(model: str) -> int:
        target = call.snapshot.catalog.find(model)
        passed_on = call.passed_on if target.speaks(call.wire.api) else {}
        return least_input(call.wire, call.body, target=target, passed_on=passed_on)

    return Market(
        catalog=call.snapshot.catalog,
        count=count,
        cost_of=cost_of,
        is_allowed=call.principal.may_use,
        why_untranslatable=why_untranslatable,
        count_at_least=count_at_least,
    )
