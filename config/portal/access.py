"""Who visits the portal, and which pages they may open.

Invariant: a page is shown only to a member of the tenant in its address; to everybody else the tenant does not exist (404).
Rights (`tenants.people.rights`) decide about pages, the visitor's own user id about rows. In a suspended tenant nothing is
changed. A page is made inside the tenant's wall (`tenants.wall`), in one transaction. No page is kept by a browser or a proxy:
figures and secrets are nobody else's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from tenants import wall
from tenants.models import Membership, Tenant
from tenants.people.rights import Right, rights_here

LOGIN: Final = "/portal/login/"
MOST_TENANTS: Final = 100
READING_METHODS: Final = ("GET", "HEAD")
# stricter than the admin's: nothing here needs eval
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",  # how far a month's files are
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


@dataclass(frozen=True)
class Visitor:
    """A person at one tenant's pages. `person` is the user id that calls name (`x-purser-user`); '' for none."""

    user: User
    tenant: Tenant
    role: str
    rights: frozenset[Right]
    person: str
    others: tuple[Tenant, ...] = ()  # the person's other tenants

    def may(self, *rights: Right) -> bool:
        """Whether the visitor has one of these rights here."""
        return not self.rights.isdisjoint(rights)

    @property
    def reads_all(self) -> bool:
        """Whether everybody's figures are shown, not only her own."""
        return self.may(Right.SEE)

    @property
    def may_configure(self) -> bool:
        """Whether she may change the tenant's keys, budgets and policy."""
        return self.may(Right.CONFIGURE)

    @property
    def may_attend(self) -> bool:
        """Whether she may say that an alert was seen."""
        return self.may(Right.ATTEND)

    @property
    def only_reads(self) -> bool:
        """Whether an operator suspended or closed the tenant."""
        return self.tenant.status in (Tenant.Status.SUSPENDED, Tenant.Status.CLOSED)


View = Callable[..., HttpResponseBase]  # of a request, a visitor, and the parts of the address


def page(*rights: Right, is_report: bool = False) -> Callable[[View], View]:
    """Make a view a page of the portal: it gets the visitor, and is called only for a member with one of the rights.

    `is_report`: it changes nothing, and all its queries see one state of the books.
    """
    wanted = rights or (Right.OWN,)

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, /, tenant: str, **rest: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                response: HttpResponseBase = redirect(
                    f"{LOGIN}?{urlencode({'next': request.get_full_path()})}"
                )
                return private(response)
            visitor = visitor_of(request, tenant)
            if not visitor.may(*wanted):
                raise PermissionDenied
            if visitor.only_reads and request.method not in READING_METHODS:
                messages.error(
                    request, f"{visitor.tenant.name} is {visitor.tenant.status}: nothing was changed."
                )
                return private(redirect("portal:home", tenant=visitor.tenant.slug))
            with wall.inside(visitor.tenant.pk, is_report=is_report):
                return private(view(request, visitor, **rest))

        return guarded

    return decorate


def visitor_of(request: HttpRequest, slug: str) -> Visitor:
    """The visitor of a tenant's pages; a 404 for who is no member of it."""
    user: Any = request.user
    membership = Membership.objects.select_related("tenant").filter(user=user, tenant__slug=slug).first()
    if membership is None:
        raise Http404
    others = tuple(one for one in tenants_of(user) if one.pk != membership.tenant_id)
    tenant = membership.tenant
    rights = rights_here(request).inside(tenant.pk)
    return Visitor(user, tenant, membership.role, rights, membership.person, others)


def tenants_of(user: User) -> list[Tenant]:
    """The tenants that a person can choose from."""
    return list(Tenant.objects.filter(memberships__user=user).order_by("name", "slug")[:MOST_TENANTS])


def private(response: HttpResponseBase) -> HttpResponseBase:
    """A response that nobody keeps and no other page frames."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response
