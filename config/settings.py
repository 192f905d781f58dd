"""Settings of Purser, driven by the environment. (Skeleton: the full file follows.)"""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
PURSER_HOME = Path(os.environ.get("PURSER_HOME", BASE_DIR / ".purser"))
MODEL_DIR = Path(os.environ.get("PURSER_MODEL_DIR", BASE_DIR / ".models"))
SECRET_KEY = os.environ.get("SECRET_KEY", "skeleton")
SECRET_KEY_FALLBACKS: list[str] = []
DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "unfold", "unfold.contrib.filters", "unfold.contrib.simple_history",
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
    "django.contrib.messages", "django.contrib.staticfiles", "django.contrib.postgres", "simple_history", "rest_framework",
    "drf_spectacular", "config", "tenants", "billing", "caching", "llm",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "purser"}}
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
