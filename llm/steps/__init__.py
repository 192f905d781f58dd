"""The steps of the pipeline, from choosing a model to settling and remembering its answer.

It owns what each step does to a call. It does not own their order: `llm.pipeline` does.
"""
