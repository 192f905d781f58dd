"""What a configuration file may say.

Invariant: pure, and strict about names: an unknown key is an error, never ignored. A field that is
absent keeps what the database has; only what is written is applied.
"""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from billing.scopes import Period, Scope, Unit
from llm.configuration.agreements import (
    CommitmentSpec,
    CurrencyRateSpec,
    EntrySpec,
    GlAccountSpec,
    PrepaidSpec,
    RateRuleSpec,
)
from llm.configuration.blocks import (
    CURRENCY,
    EMAIL,
    FORMS,
    METER,
    Block,
    Count,
    Day,
    Name,
    Secret,
    Slug,
    Tier,
    Url,
    Weight,
)
from llm.configuration.document import Document, Path
from llm.configuration.reports import DeliverySpec, SplitRuleSpec
from llm.providers.kinds import KINDS
from tenants.patterns import check_patterns
from tenants.policy import InvalidPolicy, parse_policy
from tenants.wording import sentence_about

SECRET_FIELDS = frozenset({"secret", "api_key", "admin_api_key", "access_key", "secret_key"})


class LimitsSpec(Block):
    """Requests and tokens a minute, and calls at one time."""

    rpm: Count | None = None
    tpm: Count | None = None
    concurrency: Count | None = None

    def as_json(self) -> dict[str, int]:
        return {name: value for name, value in self if value is not None}


class AccountLimitsSpec(LimitsSpec):
    """The same of a provider's account, and what it takes in batches."""

    batch_lines: Count | None = None
    batch_bytes: Count | None = None
    batch_tokens: Count | None = None


class TimeoutsSpec(Block):
    """How long a provider may take, in seconds."""

    connect: Annotated[float, Field(gt=0, le=3600)] | None = None
    first_byte: Annotated[float, Field(gt=0, le=3600)] | None = None
    idle: Annotated[float, Field(gt=0, le=3600)] | None = None
    total: Annotated[float, Field(gt=0, le=86400)] | None = None

    def as_json(self) -> dict[str, float]:
        return {name: value for name, value in self if value is not None}


class ReportScopeSpec(Block):
    """What of an organization's costs is an account's, by the provider's ids; nothing named is everything."""

    projects: list[Name] = []
    api_keys: list[Name] = []

    def as_json(self) -> dict[str, list[str]]:
        return {name: list(value) for name, value in self if value}


class ProviderSpec(Block):
    """An account at a server of a kind that the gateway knows."""

    name: Slug
    kind: Literal[tuple(KINDS)]  # type: ignore[valid-type]
    base_url: Url
    api_key: str = Field(default="", repr=False)
    options: dict[str, str] = {}
    limits: AccountLimitsSpec = AccountLimitsSpec()
    timeouts: TimeoutsSpec = TimeoutsSpec()
    admin_api_key: str = Field(default="", repr=False)
    report_scope: ReportScopeSpec = ReportScopeSpec()
    active: bool = True

    @field_validator("base_url")
    @classmethod
    def _without_slash(cls, value: str) -> str:
        return value.rstrip("/")


class PriceSpec(Block):
    """One price of a model: USD for a million units of one meter."""

    meter: Annotated[str, Field(pattern=METER, max_length=64)]
    usd_per_million: Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=9)]
    processing: Literal["online", "batch", "flex", "priority"] = "online"
    service_tier: Annotated[str, Field(min_length=1, max_length=32)] = "standard"
    region: Annotated[str, Field(min_length=1, max_length=64)] = "global"
    above_input_tokens: Annotated[int, Field(ge=0)] = 0

    def identity(self) -> tuple[str, str, str, str, int]:
        return self.meter, self.processing, self.service_tier, self.region, self.above_input_tokens


# By its look, because a plain union's error would complain of both forms.
Prices = Annotated[
    Annotated[Literal["list"], Tag("the word")] | Annotated[list[PriceSpec], Tag("the rows")],
    Discriminator(lambda value: "the rows" if isinstance(value, list) else "the word"),
]


class DeploymentSpec(Block):
    """A further account that serves a model. Without prices it is billed at the model's."""

    provider: Name
    upstream: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    weight: Weight = 1.0
    timeouts: TimeoutsSpec = TimeoutsSpec()
    prices: Prices | None = None
    active: bool = True


class ModelSpec(Block):
    """A model clients may ask for by name."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    provider: Name
    upstream: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    kind: Literal["chat", "embedding"] = "chat"
    tier: Tier | Literal[""] = ""
    context_window: Annotated[int, Field(ge=1, le=2_000_000_000)]
    max_output_tokens: Annotated[int, Field(ge=0, le=2_000_000_000)] = 0  # not declared
    capabilities: list[Name] = []
    fallbacks: list[Name] = []
    prices: Prices | None = None
    weight: Weight = 1.0
    timeouts: TimeoutsSpec = TimeoutsSpec()
    retires: date | None = None
    deployments: list[DeploymentSpec] = []
    active: bool = True


class UserSpec(Block):
    """An end user of a tenant."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    name: Annotated[str, Field(max_length=200)] = ""
    cost_center: Annotated[str, Field(max_length=100)] = ""
    team: Annotated[str, Field(max_length=100)] = ""
    tags: dict[str, str] = {}
    active: bool = True


class KeySpec(Block):
    """An API key. Without a secret one is generated, and printed once; with a user it is that person's."""

    name: Name
    secret: Secret | None = Field(default=None, repr=False)
    models: list[Name] = ["*"]
    ip_allow_list: list[str] = []
    rate_limits: LimitsSpec = LimitsSpec()
    user: Annotated[str, Field(max_length=200)] = ""
    tags: dict[str, str] = {}
    rights: list[Literal["reports"]] = []
    expires: Day | None = None


class BudgetSpec(Block):
    """A budget. Without a value it is one for each user, key, feature, ... by itself."""

    scope: Scope
    value: Annotated[str, Field(max_length=200)] = ""
    unit: Unit
    period: Period
    limit: Annotated[Decimal, Field(ge=0, max_digits=28, decimal_places=12)]
    mode: Literal["hard", "soft"] = "hard"
    alert_at: list[Annotated[int | Decimal, Field(gt=0, le=1000)]] = [80, 100]
    shards: Annotated[int, Field(ge=1, le=64)] = 1
    set_by: Literal["platform", "tenant"] = "platform"
    active: bool = True

    def identity(self) -> tuple[str, str, str, str]:
        return self.scope, self.value, self.unit, self.period

    @model_validator(mode="after")
    def _tenant_has_no_value(self) -> "BudgetSpec":
        if self.scope == "tenant" and self.value:
            raise ValueError("a budget of the whole tenant has no value")
        return self


class ChannelSpec(Block):
    """Where alerts go: a signed webhook, a Slack-compatible one, which has no signature, or an e-mail address."""

    name: Name
    kind: Literal["webhook", "slack", "email"]
    url: Url | None = None
    to: Annotated[str, Field(pattern=EMAIL, max_length=254)] | None = None
    secret: str = Field(default="", repr=False)
    active: bool = True

    @property
    def target(self) -> str:
        return self.url or self.to or ""

    @model_validator(mode="after")
    def _has_its_target(self) -> "ChannelSpec":
        if self.kind != "email" and (self.url is None or self.to is not None):
            raise ValueError("a webhook needs a url, and no to")
        if self.kind == "slack" and self.secret:
            raise ValueError("a Slack-compatible webhook is not signed: it needs no secret")
        if self.kind == "email" and (self.to is None or self.url is not None):
            raise ValueError("an e-mail channel needs a to, and no url")
        return self


class AlertSpec(Block):
    """When to notify which channels."""

    metric: Name
    threshold: Annotated[Decimal, Field(ge=0, max_digits=28, decimal_places=12)]
    channels: list[Name] = []
    active: bool = True


class TenantSpec(Block):
    """A tenant with everything it owns."""

    slug: Slug
    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    timezone: Annotated[str, Field(min_length=1, max_length=63)] = "UTC"
    requires_second_factor: bool = False
    policy: dict[str, Any] = {}
    users: list[UserSpec] = []
    keys: list[KeySpec] = []
    budgets: list[BudgetSpec] = []
    rate_limits: LimitsSpec = LimitsSpec()
    alerts: list[AlertSpec] = []
    channels: list[ChannelSpec] = []
    rate_rules: list[RateRuleSpec] = []
    entries: list[EntrySpec] = []
    prepaid: PrepaidSpec | None = None
    commitments: list[CommitmentSpec] = []
    currency: Annotated[str, Field(pattern=CURRENCY)] | None = None
    split_rules: list[SplitRuleSpec] = []
    deliveries: list[DeliverySpec] = []
    own_accounts: list[Name] = []  # providers that are this tenant's alone


class Spec(Block):
    """A whole file."""

    currency_rates: list[CurrencyRateSpec] = []
    gl_accounts: list[GlAccountSpec] = []
    providers: list[ProviderSpec] = []
    models: list[ModelSpec] = []
    tenants: list[TenantSpec] = []
    deliveries: list[DeliverySpec] = []  # of all tenants together


def read_spec(document: Document) -> Spec:
    """The file's content as a Spec; raises ConfigurationError at the line of the first thing wrong."""
    try:
        spec = Spec.model_validate(document.value)
    except ValidationError as error:
        findings = [(_path_of(finding, document), finding) for finding in error.errors(include_url=False)]
        # Of two on a line a misspelt name explains why another one is missing.
        path, first = min(
            findings, key=lambda found: (document.line_of(found[0]), found[1]["type"] != "extra_forbidden")
        )
        raise document.error(path, _sentence(first, path=path)) from None
    _refuse_doubles(spec, document)
    for index, tenant in enumerate(spec.tenants):
        try:
            check_patterns(parse_policy(plain(tenant.policy)))
        except InvalidPolicy as error:
            raise document.error(("tenants", index, *error.path), error.problem) from None
    return spec


def plain(value: Any) -> Any:
    """YAML's exact decimals as the numbers JSON has."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _sentence(finding: Any, *, path: Path) -> str:
    if finding["type"] == "string_pattern_mismatch":
        return FORMS[finding["ctx"]["pattern"]]
    return sentence_about(finding, show_value=not SECRET_FIELDS & set(path))


def _path_of(finding: Any, document: Document) -> Path:
    # Pydantic also names the member of a union it tried; such a step is no part of the file.
    path: Path = ()
    for position, step in enumerate(finding["loc"], start=1):
        is_the_missing_one = finding["type"] == "missing" and position == len(finding["loc"])
        if (*path, step) in document.lines or is_the_missing_one:
            path = (*path, step)
    return path


def _refuse_doubles(spec: Spec, document: Document) -> None:
    lists: list[tuple[Path, list[Any]]] = [
        (("providers",), [provider.name for provider in spec.providers]),
        (("models",), [model.name for model in spec.models]),
        (("gl_accounts",), [account.identity() for account in spec.gl_accounts]),
        (("tenants",), [tenant.slug for tenant in spec.tenants]),
        (("deliveries",), [delivery.name for delivery in spec.deliveries]),
    ]
    for index, model in enumerate(spec.models):
        if isinstance(model.prices, list):
            lists.append((("models", index, "prices"), [price.identity() for price in model.prices]))
    for index, tenant in enumerate(spec.tenants):
        here: Path = ("tenants", index)
        lists += [
            ((*here, "users"), [user.id for user in tenant.users]),
            ((*here, "keys"), [key.name for key in tenant.keys]),
            ((*here, "budgets"), [budget.identity() for budget in tenant.budgets]),
            ((*here, "channels"), [channel.name for channel in tenant.channels]),
            ((*here, "alerts"), [(alert.metric, alert.threshold) for alert in tenant.alerts]),
            ((*here, "rate_rules"), [rule.identity() for rule in tenant.rate_rules]),
            ((*here, "split_rules"), [rule.identity() for rule in tenant.split_rules]),
            ((*here, "deliveries"), [delivery.name for delivery in tenant.deliveries]),
            ((*here, "entries"), [entry.name for entry in tenant.entries]),
            (
                (*here, "prepaid", "additions"),
                [addition.name for addition in (tenant.prepaid.additions if tenant.prepaid else ())],
            ),
        ]
    for path, identities in lists:
        for position, identity in enumerate(identities):
            if identity in identities[:position]:
                raise document.error((*path, position), f"{_words(identity)!r} is here twice")


def _words(identity: Any) -> str:
    return identity if isinstance(identity, str) else " ".join(str(step) for step in identity if step != "")
