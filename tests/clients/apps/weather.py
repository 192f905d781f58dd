"""The tool that every framework is given."""

WEATHER = {"Paris": "18 degrees and sun", "Berlin": "12 degrees and rain"}
QUESTION = "What is the weather in Paris and what is the weather in Berlin?"


def get_weather(city: str) -> str:
    """The weather of a city."""
    return WEATHER[city]
