"""The product's configuration in a file: `manage.py apply FILE.yaml`.

It owns the file's format, its checks and how it is applied. It does not own the tables it writes.
"""

from llm.configuration.apply import apply_configuration
from llm.configuration.changes import Change, Changes, FieldChange, IssuedKey
from llm.configuration.document import ConfigurationError

__all__ = ["Change", "Changes", "ConfigurationError", "FieldChange", "IssuedKey", "apply_configuration"]
