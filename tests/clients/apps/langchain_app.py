"""A program written with LangChain: `kind` says which of its models, `model` which of ours answers."""

import asyncio
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from tests.clients.apps import weather
from tests.clients.apps.orders import take_orders

PATIENCE: dict[str, Any] = {"timeout": 60, "max_retries": 0}


class Capital(BaseModel):
    """A country and its capital."""

    country: str
    capital: str


def chat_model(kind: str, model: str, base_url: str, key: str, **options: Any) -> BaseChatModel:
    if kind == "anthropic":
        return ChatAnthropic(
            model=model, base_url=base_url, api_key=key, max_tokens=200, **PATIENCE, **options
        )
    return ChatOpenAI(
        model=model,
        base_url=f"{base_url}/v1",
        api_key=key,
        use_responses_api=kind == "responses",
        stream_usage=True,
        **PATIENCE,
        **options,
    )


def invoke(question: str, **where: Any) -> dict[str, Any]:
    answer = chat_model(**where).invoke([("system", "Be brief."), ("human", question)])
    return {"text": answer.text, "usage": answer.usage_metadata}


def abatch(questions: list[str], **where: Any) -> list[str]:
    answers = asyncio.run(chat_model(**where).abatch(questions))
    return [answer.text for answer in answers]


def stream(question: str, **where: Any) -> dict[str, Any]:
    chunks = list(chat_model(**where).stream(question))
    whole: AIMessageChunk = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return {"text": whole.text, "usage": whole.usage_metadata, "chunks": len(chunks)}


def structured(question: str, **where: Any) -> dict[str, Any]:
    found = chat_model(**where).with_structured_output(Capital).invoke(question)
    return found.model_dump()


def run_tools(**where: Any) -> dict[str, Any]:
    """The loop that an agent is: ask, run what is called for, tell, until there is an answer."""
    get_weather = tool(weather.get_weather)
    model = chat_model(**where).bind_tools([get_weather])
    messages: list[Any] = [HumanMessage(weather.QUESTION)]
    cities, usages = [], []
    while True:
        answer = model.invoke(messages)
        usages.append(answer.usage_metadata)
        messages.append(answer)
        if not answer.tool_calls:
            return {"text": answer.text, "cities": cities, "usages": usages}
        for call in answer.tool_calls:
            cities.append(call["args"]["city"])
            messages.append(get_weather.invoke(call))


def stream_tools(**where: Any) -> list[dict[str, Any]]:
    model = chat_model(**where).bind_tools([tool(weather.get_weather)])
    whole: Any = None
    for chunk in model.stream(weather.QUESTION):
        whole = chunk if whole is None else whole + chunk
    return [call["args"] for call in whole.tool_calls]


def embed(texts: list[str], base_url: str, key: str) -> list[int]:
    embeddings = OpenAIEmbeddings(
        model="text-embedding-3-small",
        base_url=f"{base_url}/v1",
        api_key=key,
        **PATIENCE,
        check_embedding_ctx_length=False,  # else it fetches a vocabulary from the internet
    )
    return [len(vector) for vector in embeddings.embed_documents(texts)]


if __name__ == "__main__":
    take_orders(
        {
            "invoke": invoke,
            "abatch": abatch,
            "stream": stream,
            "structured": structured,
            "run_tools": run_tools,
            "stream_tools": stream_tools,
            "embed": embed,
        }
    )
