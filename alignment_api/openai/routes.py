"""Routes of OpenAI's that are named in more than one room."""

CHAT_ROUTE = "/v1/chat/completions"
TEXT_ROUTE = "/v1/completions"
ASKING_ROUTES = (CHAT_ROUTE, TEXT_ROUTE)
"""Where a model is asked; nothing is changed there."""
