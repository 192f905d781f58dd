"""The admin of models, providers and traffic. Each model has a module with its page; this one gathers them.

It owns pages and their forms. It does not own rules: each action calls one function of another package.
"""

from llm.admin import batches as admin_batches
from llm.admin import catalog as admin_catalog
from llm.admin import jobs as admin_jobs
from llm.admin import kept as admin_kept
from llm.admin import reconciliation as admin_reconciliation
from llm.admin import refresh as admin_refresh
from llm.admin import traffic as admin_traffic
from llm.admin import work as admin_work
from llm.admin.switch_effects import effect_on_keys
from llm.admin.tenant_effects import effect_on_tenant
from tenants.admin.confirming import EFFECTS_ON_KEYS, EFFECTS_ON_TENANTS

EFFECTS_ON_KEYS.append(effect_on_keys)
EFFECTS_ON_TENANTS.append(effect_on_tenant)

__all__ = [
    "admin_batches",
    "admin_catalog",
    "admin_jobs",
    "admin_kept",
    "admin_reconciliation",
    "admin_refresh",
    "admin_traffic",
    "admin_work",
]
