"""Settings of Purser, from environment variables. README and docs/configuration.md list them."""

import tomllib
from pathlib import Path

import django_stubs_ext

from config import environment as env
from config import file_storage
from config.database import logins
from config.door import peers
from config.logs import configure_logging
from config.site.look import UNFOLD as UNFOLD

django_stubs_ext.monkeypatch()  # ModelAdmin[Tenant] and the like, at run time too

BASE_DIR = Path(__file__).resolve().parent.parent
PURSER_HOME = Path(env.text("PURSER_HOME", str(BASE_DIR / ".purser"))).resolve()
MODEL_DIR = Path(env.text("PURSER_MODEL_DIR", str(BASE_DIR / ".models"))).resolve()
PORT = env.number("PORT", 8000)
# where people open the admin: the links in alerts begin with it
SITE_URL = env.text("SITE_URL", f"http://127.0.0.1:{PORT}").rstrip("/")
VERSION: str = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]["version"]

# ---------------------------------------------------------------- security
SECRET_KEY = env.secret_key(PURSER_HOME)
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")
DEBUG = env.flag("DEBUG")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
# pages of these origins may call /v1 from a browser; the site itself never allows other origins
CORS_ALLOWED_ORIGINS = frozenset(env.words("CORS_ALLOWED_ORIGINS"))
if env.flag("BEHIND_HTTPS"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 31_536_000
X_FRAME_OPTIONS = "DENY"
# token for /metrics and for the dependencies on /readyz; empty: no token needed
METRICS_TOKEN = env.text("METRICS_TOKEN")
# proxies whose X-Forwarded-For is trusted
TRUSTED_PROXIES = peers.trusted_networks(env.words("TRUSTED_PROXIES"))
AUTHENTICATION_BACKENDS = ["tenants.signing_in.login.GuardedBackend"]
AUTH_PASSWORD_VALIDATORS: list[dict[str, object]] = [
    {"NAME": f"django.contrib.auth.password_validation.{rule}"}
    for rule in ("UserAttributeSimilarityValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
AUTH_PASSWORD_VALIDATORS += [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    }
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "admin:index"
CSRF_FAILURE_VIEW = "config.site.errors.csrf_failed"
SESSION_COOKIE_AGE = 60 * env.number("SESSION_IDLE_MINUTES", 60)
SESSION_LONGEST_SECONDS = 3600 * env.number("SESSION_LONGEST_HOURS", 12)
SECURE_REFERRER_POLICY = "same-origin"

# ---------------------------------------------------------------- signing in (django-allauth)
ACCOUNT_ADAPTER = "tenants.signing_in.adapters.Accounts"
ACCOUNT_FORMS = {"login": "tenants.signing_in.login.SignInForm"}
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # invitations, codes and identity providers prove an address
ACCOUNT_CHANGE_EMAIL = True  # one address each; a new one is proved before it replaces the old one
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # a stranger must not make us write to strangers
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[Purser] "
ACCOUNT_LOGIN_BY_CODE_ENABLED = True
ACCOUNT_LOGIN_BY_CODE_TIMEOUT = 600
ACCOUNT_SESSION_REMEMBER = True  # for SESSION_IDLE_MINUTES
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_RATE_LIMITS = {
    "login": None,  # passwords are slowed down by `signing_in.guesses`
    "login_failed": "10/5m/key",  # codes of second factors
    "reset_password": "20/10m/ip,5/10m/key",
    "request_login_code": "20/10m/ip,5/10m/key",
}
SOCIALACCOUNT_ADAPTER = "tenants.people.arriving.Arrivals"
SOCIALACCOUNT_EMAIL_AUTHENTICATION = True  # of a verified address, as `Arrivals` allows
SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = True
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
SOCIALACCOUNT_LOGIN_ON_GET = True  # a form must not lead to another site (content security policy)
SOCIALACCOUNT_STORE_TOKENS = False
# whether staff must have a second factor; tenants ask for their own people
SECOND_FACTOR_REQUIRED = env.flag("SECOND_FACTOR_REQUIRED")
MFA_ADAPTER = "tenants.signing_in.adapters.SecondFactors"
MFA_FORMS = {
    "add_webauthn": "tenants.signing_in.passkeys.NewPasskeyForm",
    "authenticate_webauthn": "tenants.signing_in.passkeys.SecondStepForm",
    "edit_webauthn": "tenants.signing_in.passkeys.RenameForm",
    "login_webauthn": "tenants.signing_in.passkeys.SignInForm",
    "reauthenticate_webauthn": "tenants.signing_in.passkeys.OnceMoreForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Purser"
MFA_TOTP_TOLERANCE = 1  # periods that a clock may be wrong

# ---------------------------------------------------------------- webhooks
# webhooks may only go to public addresses, unless the operator allows private ones
WEBHOOKS_MAY_BE_PRIVATE = env.flag("WEBHOOKS_MAY_BE_PRIVATE")
# who issues the statements and FOCUS files, and whose service it is
ISSUER_NAME = env.text("ISSUER_NAME", "Purser")
ISSUER_ADDRESS = env.text("ISSUER_ADDRESS").replace("\\n", "\n")
ISSUER_VAT_ID = env.text("ISSUER_VAT_ID")
ISSUER_PAYMENT = env.text("ISSUER_PAYMENT").replace("\\n", "\n")
ISSUER_LOGO = env.text("ISSUER_LOGO")
PROVIDER_NAME = env.text("PROVIDER_NAME", ISSUER_NAME)

# ---------------------------------------------------------------- applications
INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "unfold.contrib.simple_history",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
    "simple_history",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "config",
    "tenants",
    "billing",
    "caching",
    "llm",
]
# for the site only: nothing of this runs on /v1
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "config.site.pages.content_security",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "config.site.pages.session_length",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "tenants.people.factors.required",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "tenants.people.downloads.recorded",
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# ---------------------------------------------------------------- PostgreSQL
OWNER_DATABASE_URL = env.text("DATABASE_URL") or env.embedded_url(PURSER_HOME, "postgres")
DATABASE_URL = logins.database_url(PURSER_HOME, owner_url=OWNER_DATABASE_URL)
_database = logins.parameters_of(DATABASE_URL or "postgresql://no-database-is-running@127.0.0.1:1/purser")
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _database["dbname"] or "purser",
        "USER": _database["user"],
        "PASSWORD": _database["password"],
        "HOST": _database["host"],
        "PORT": _database["port"],
        "CONN_MAX_AGE": 0,  # under ASGI a kept connection would leak with its thread
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "pool": {"min_size": 0, "max_size": 8, "timeout": 10, "max_idle": 60},
            "options": logins.TIME_LIMITS[logins.of_process()].options(),
        },
    }
}
POOL_MAX_SIZE = env.number("POOL_MAX_SIZE", 16)  # of the gateway's own pool, per worker
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# ---------------------------------------------------------------- files of tenants
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "files": file_storage.storage_of(PURSER_HOME),
}
# below it reports are delivered into folders; without it they are not
REPORTS_FOLDER = env.text("REPORTS_FOLDER")
FILE_UPLOAD_TEMP_DIR = file_storage.spool_of(PURSER_HOME)

# ---------------------------------------------------------------- load, per worker
MAX_CALLS_IN_FLIGHT = env.number("MAX_CALLS_IN_FLIGHT", 2048)  # of /v1, open streams included
# waiting for one of these places; more are rejected with a 503
MAX_CALLS_WAITING = env.number("MAX_CALLS_WAITING", 1024)
MAX_WAIT_SECONDS = env.number("MAX_WAIT_SECONDS", 10)  # of a waiting call
# calls whose key is being looked up, because this process does not know it yet
MAX_STRANGERS = env.number("MAX_STRANGERS", 64)
BODY_SECONDS = env.number("BODY_SECONDS", 10)  # how long a body may pause, and how long a small one may take
BODY_BYTES_A_SECOND = 100_000  # the minimum speed of a large one
# an event loop that is blocked for this long is reported
LOOP_REPORT_SECONDS = env.number("LOOP_REPORT_SECONDS", 2)
# then its worker is killed and replaced; 0: never
LOOP_REPLACE_SECONDS = env.number("LOOP_REPLACE_SECONDS", 20)
# after this long a silent stream sends a keep-alive; 0: never
KEEPALIVE_SECONDS = env.number("KEEPALIVE_SECONDS", 15)
DRAIN_SECONDS = env.number("DRAIN_SECONDS", 15)  # how long a stop waits for open calls before it ends them

# ---------------------------------------------------------------- Redis and Celery
REDIS_URL = env.text("REDIS_URL") or env.embedded_url(PURSER_HOME, "redis") or "redis://127.0.0.1:1/0"
CACHES = {
    # limits on codes, mails and second factors
    "default": {
        "BACKEND": "config.shared_cache.SharedCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "purser:site",
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
    },
    # wrong passwords, counted for all processes
    "logins": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "purser:login",
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
    },
}
BATCH_POLL_SECONDS = env.number("BATCH_POLL_SECONDS", 5)
# operators are alerted of a batch when a step of the gateway has not gone on for so long, or so many of its lines failed
BATCH_STUCK_MINUTES = env.number("BATCH_STUCK_MINUTES", 15)
BATCH_FAILED_PERCENT = env.number("BATCH_FAILED_PERCENT", 20)
# multiplies the timeouts of the caches, for a machine that is always busy
CACHE_BUDGET_SCALE = env.number("CACHE_BUDGET_SCALE", 1)
# texts that wait for the embedder in the process are computed together: so many, gathered for so long
EMBED_GROUP_TEXTS = int(env.number("EMBED_GROUP_TEXTS", 8))
EMBED_GATHER_MS = env.number("EMBED_GATHER_MS", 0)  # 0: the next group gathers while one is computed
# the same for a key's texts in one call to an embedding model
EMBED_CALL_TEXTS = int(env.number("EMBED_CALL_TEXTS", 32))
EMBED_CALL_GATHER_MS = env.number("EMBED_CALL_GATHER_MS", 3)

# ---------------------------------------------------------------- e-mail
# without EMAIL_HOST, mail is written to files: nothing is lost, and the demonstration can show it
EMAIL_HOST = env.text("EMAIL_HOST")
EMAIL_PORT = env.number("EMAIL_PORT", 25)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env.text("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = env.flag("EMAIL_USE_TLS")
EMAIL_TIMEOUT = 10
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_HOST else 'filebased'}.EmailBackend"
EMAIL_FILE_PATH = PURSER_HOME / "mail"
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "purser@localhost")

# ---------------------------------------------------------------- language, time, static files
LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = ["config.site.formats"]
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.text("STATIC_ROOT", str(PURSER_HOME / "static")))

# ---------------------------------------------------------------- admin
SIMPLE_HISTORY_REVERT_DISABLED = True  # to undo a change, use the function that made it

# ---------------------------------------------------------------- API
# the views of /v1 limit their bodies themselves, with their own errors
DATA_UPLOAD_MAX_MEMORY_SIZE = None
REST_FRAMEWORK: dict[str, object] = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Purser",
    "DESCRIPTION": "The LLM gateway that keeps the books.",
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVERS": [{"url": "/"}],
}

# ---------------------------------------------------------------- logs
LOG_LEVEL = env.text("LOG_LEVEL", "INFO").upper()
LOGGING_CONFIG = None
configure_logging(LOG_LEVEL)
