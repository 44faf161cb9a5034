"""`/v1/chat/completions` and `/v1/completions`: query a base, a warm start or an aligned model."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from alignment_api.auth.access import Submitter
from alignment_api.errors import responses
from alignment_api.inference.requests import ChatRequest, CompletionRequest
from alignment_api.inference.service import InferenceService
from alignment_api.openai.routes import CHAT_ROUTE, TEXT_ROUTE

_OBJECT = {"schema": {"type": "object"}}
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "OpenAI's object, or with `stream` its chunks as server-sent events.",
        "content": {"application/json": _OBJECT, "text/event-stream": {}},
    }
}

router = APIRouter(
    tags=["inference"],
    responses=responses(400, 401, 403, 404, 413, 429, 503) | _ANSWER,
)


def _service(request: Request) -> InferenceService:
    return request.app.state.inference


Inference = Annotated[InferenceService, Depends(_service)]


@router.post(CHAT_ROUTE, response_class=Response)
async def create_chat_completion(
    request: Request, body: ChatRequest, inference: Inference, caller: Submitter
) -> Response:
    """The next turn of a conversation. The model is loaded first if necessary."""
    return await inference.answer(request, CHAT_ROUTE, body, caller.project_id)


@router.post(TEXT_ROUTE, response_class=Response)
async def create_completion(
    request: Request, body: CompletionRequest, inference: Inference, caller: Submitter
) -> Response:
    """The continuation of a text. The model is loaded first if necessary."""
    return await inference.answer(request, TEXT_ROUTE, body, caller.project_id)
