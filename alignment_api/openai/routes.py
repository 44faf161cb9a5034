"""OpenAI routes that several rooms refer to."""

CHAT_ROUTE = "/v1/chat/completions"
TEXT_ROUTE = "/v1/completions"
ASKING_ROUTES = (CHAT_ROUTE, TEXT_ROUTE)
"""Routes that query a model and change nothing."""
