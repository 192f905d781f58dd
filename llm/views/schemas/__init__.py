"""The bodies of the API as its reference shows them: what is sent, what comes back, what an error looks like.

It owns the reference's text. It does not own validation.

Invariant: these models describe and never decide; a request is read where it is used. A body that belongs to
a provider's API is open: fields that are not named here are passed through.
"""

from llm.views.schemas.batches import *  # noqa: F403
from llm.views.schemas.calls import *  # noqa: F403
from llm.views.schemas.errors import *  # noqa: F403
from llm.views.schemas.figures import *  # noqa: F403
from llm.views.schemas.jobs import *  # noqa: F403
from llm.views.schemas.months import *  # noqa: F403
from llm.views.schemas.runs import *  # noqa: F403
