"""A program written with LlamaIndex: `kind` says which of its models, `model` which of ours answers."""

import asyncio
from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai import OpenAI, OpenAIResponses
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

from tests.clients.apps import weather
from tests.clients.apps.orders import take_orders

PATIENCE: dict[str, Any] = {"timeout": 60, "max_retries": 0}


class Capital(BaseModel):
    """A country and its capital."""

    country: str
    capital: str


def language_model(kind: str, model: str, base_url: str, key: str) -> FunctionCallingLLM:
    if kind == "anthropic":
        return Anthropic(model=model, base_url=base_url, api_key=key, max_tokens=200, **PATIENCE)
    options: dict[str, Any] = {"model": model, "api_base": f"{base_url}/v1", "api_key": key, **PATIENCE}
    if kind == "responses":
        return OpenAIResponses(**options)
    if kind == "like":
        return OpenAILike(**options, is_chat_model=True, is_function_calling_model=True)
    return OpenAI(**options)


def usage_of(raw: Any) -> dict[str, int]:
    """The tokens in an answer of either SDK."""
    usage = raw["usage"] if isinstance(raw, dict) else raw.usage
    usage = usage if isinstance(usage, dict) else usage.model_dump()
    sent = usage.get("prompt_tokens") or usage.get("input_tokens")
    return {
        "input_tokens": sent,
        "output_tokens": usage.get("completion_tokens") or usage.get("output_tokens"),
    }


def chat(question: str, **where: Any) -> dict[str, Any]:
    messages = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content=question)]
    answer = language_model(**where).chat(messages)
    return {"text": answer.message.content, "usage": usage_of(answer.raw)}


def achat(questions: list[str], **where: Any) -> list[str]:
    async def ask_all() -> list[Any]:
        model = language_model(**where)
        asked = [[ChatMessage(role="user", content=question)] for question in questions]
        return await asyncio.gather(*(model.achat(messages) for messages in asked))

    return [answer.message.content for answer in asyncio.run(ask_all())]


def stream(question: str, **where: Any) -> dict[str, Any]:
    answers = list(language_model(**where).stream_chat([ChatMessage(role="user", content=question)]))
    return {"text": answers[-1].message.content, "told": "".join(answer.delta or "" for answer in answers)}


def structured(question: str, **where: Any) -> dict[str, Any]:
    return language_model(**where).structured_predict(Capital, PromptTemplate(question)).model_dump()


def run_tools(**where: Any) -> dict[str, Any]:
    """The loop that an agent is: ask, run what is called for, tell, until there is an answer."""
    model = language_model(**where)
    tools = [FunctionTool.from_defaults(weather.get_weather)]
    history: list[ChatMessage] = [ChatMessage(role="user", content=weather.QUESTION)]
    cities = []
    while True:
        answer = model.chat_with_tools(tools, chat_history=history, allow_parallel_tool_calls=True)
        calls = model.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
        history.append(answer.message)
        if not calls:
            return {"text": answer.message.content, "cities": cities}
        for call in calls:
            cities.append(call.tool_kwargs["city"])
            told = str(tools[0](**call.tool_kwargs))
            extra = {"tool_call_id": call.tool_id}
            history.append(ChatMessage(role="tool", content=told, additional_kwargs=extra))


if __name__ == "__main__":
    take_orders(
        {"chat": chat, "achat": achat, "stream": stream, "structured": structured, "run_tools": run_tools}
    )
