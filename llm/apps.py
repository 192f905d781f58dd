from django.apps import AppConfig


class LlmConfig(AppConfig):
    name = "llm"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from billing.months.exports.focus import publishers
        from llm.configuration.policies import check_models
        from llm.providers.kinds import KINDS
        from tenants.validation import checks_of_policies

        checks_of_policies.append(check_models)
        publishers.update({kind.name: kind.publisher for kind in KINDS.values()})
