"""Server-sent events: split, measured, translated and passed on."""
