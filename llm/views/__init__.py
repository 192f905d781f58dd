"""The HTTP endpoints under /v1: parse a request, call one function, write its answer.

It owns HTTP: methods, headers and status codes. It does not own rules: a view has none.
"""
