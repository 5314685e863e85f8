"""The applications of both ports, put together."""

from fastapi import FastAPI

from mock_api import cognito, control, routes_files, routes_jobs
from mock_api.edge import Edge
from mock_api.s3 import BucketApp
from mock_api.state import MockState


def build_api(state: MockState, storage_port: int) -> FastAPI:
    """The worker-facing API, Cognito and ``/mock/…``."""
    api = FastAPI(title="mock_api", openapi_url=None, redirect_slashes=False)
    api.state.mock = state
    api.state.storage_port = storage_port
    for router in (cognito.router, routes_jobs.router, routes_files.router, control.router):
        api.include_router(router)
    return api


def build_app(state: MockState, storage_port: int) -> Edge:
    """The ASGI application that serves the API, and on ``storage_port`` the S3-like storage."""
    return Edge(state, build_api(state, storage_port), BucketApp(state), storage_port)
