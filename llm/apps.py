from django.apps import AppConfig


class LlmConfig(AppConfig):
    name = "llm"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.core import checks

        from billing.alerts import previews
        from billing.months.exports.focus import publishers
        from llm.alert_previews import PASTS
        from llm.configuration.policies import check_models
        from llm.files.sharing import check_files
        from llm.providers.kinds import KINDS
        from tenants.validation import checks_of_policies

        checks.register(check_files, checks.Tags.database, deploy=True)
        checks_of_policies.append(check_models)
        previews.PASTS.update(PASTS)
        publishers.update({kind.name: kind.publisher for kind in KINDS.values()})
