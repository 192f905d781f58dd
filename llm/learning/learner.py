"""What the caches learn from one client's call: who judges its answers, who embeds its question, and what is asked again.

Invariant: nothing is looked up before it is asked for, and nothing of the call's body is kept.
"""

from caching.entries.vectors import FindEmbedder
from caching.learning.judging import Judge
from config.values import value_type
from llm.calls.call import Call
from llm.calls.own_calls import OnBehalfOf
from llm.learning import checks, judge
from llm.learning.embedding.remote import finder_for


@value_type
class CallLearner:
    """See `llm.calls.call.Learner`."""

    asker: OnBehalfOf

    @property
    def judge(self) -> Judge | None:
        return judge.judge_for(self.asker)

    @property
    def find_embedder(self) -> FindEmbedder:
        return finder_for(self.asker)

    def check_soon(self, hit: Call) -> None:
        checks.check_soon(hit)
