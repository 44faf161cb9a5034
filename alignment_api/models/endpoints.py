"""`/v1/models`: bases, warm starts and aligned models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from alignment_api.auth.access import Reader, Submitter
from alignment_api.errors import responses
from alignment_api.models.catalogue import Catalogue, shown
from alignment_api.models.schemas import DeletedModel, Model, ModelList

router = APIRouter(prefix="/v1/models", tags=["models"], responses=responses(401, 403, 429, 503))


def _catalogue(request: Request) -> Catalogue:
    return request.app.state.models


Models = Annotated[Catalogue, Depends(_catalogue)]


@router.get("")
def list_models(models: Models, caller: Reader) -> ModelList:
    """Models that can be queried."""
    return ModelList(data=[shown(entry) for entry in models.list(caller.project_id)])


# Names of bases contain slashes.
@router.get("/{model_id:path}", responses=responses(404))
def get_model(model_id: str, models: Models, caller: Reader) -> Model:
    """One model."""
    return shown(models.find(model_id, caller.project_id))


@router.delete("/{model_id:path}", responses=responses(400, 404))
def delete_model(model_id: str, models: Models, caller: Submitter) -> DeletedModel:
    """Delete the adapter that a job made. The job, its events and its records are kept."""
    models.delete(model_id, caller.project_id)
    return DeletedModel(id=model_id)
