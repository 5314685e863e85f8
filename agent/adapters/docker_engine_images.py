"""Images: whether they are here, and their pulls."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from urllib.parse import urlencode

from docker.auth import get_config_header, resolve_repository_name
from docker.errors import NotFound
from docker.utils import parse_repository_tag

from agent.adapters.docker_engine_client import Client
from agent.adapters.docker_engine_errors import translated
from agent.core import engine_faults as faults
from agent.core.engine_models import ImagePull
from agent.core.errors import EngineTrouble, JobFailed
from agent.core.pull import pulled
from agent.core.stopping import Stop
from agent.ports import Progress

log = logging.getLogger(__name__)


class Images:
    """Those of one engine. `idle_s`: how long a pull may go without any event."""

    def __init__(self, client: Client, idle_s: float) -> None:
        self._client = client
        self._idle_s = idle_s

    def ensure(self, image: str, policy: ImagePull, *, stop: Stop, progress: Progress) -> None:
        """Have the image here. A copy that is here serves whenever the registry does not give it."""
        stop.check()
        is_here = self._has(image)
        if is_here and (policy is not ImagePull.ALWAYS or "@sha256:" in image):
            return
        if policy is ImagePull.NEVER:
            raise JobFailed(f"image not found: {image} (IMAGE_PULL=never allows only images that are here)")
        try:
            self._pull(image, stop, progress)
        except (EngineTrouble, JobFailed) as trouble:
            if not is_here:
                raise
            log.warning("Using the copy of the image %s that is here: %s.", image, trouble)

    def _has(self, image: str) -> bool:
        doing = f"looking for the image {image}"
        with translated(doing, partial(faults.image_fault, image, doing)), suppress(NotFound):
            self._client().inspect_image(image)
            return True
        return False

    def _pull(self, image: str, stop: Stop, progress: Progress) -> None:
        log.info("Pulling the image %s.", image)
        judge = partial(faults.pull_fault, image)
        repository, tag = parse_repository_tag(image)
        path = "/images/create?" + urlencode({"fromImage": repository, "tag": tag or "latest"})
        with (
            translated(f"pulling the image {image}", judge, stop),
            progress.task(f"image {image}", None) as task,
            self._client.stream("POST", path, stop, self._idle_s, self._login(repository)) as stream,
        ):
            for more in pulled(stream.lines(), judge):
                task.advance(more)
        if not self._has(image):
            raise EngineTrouble(f"the image {image} was pulled and is not there")

    def _login(self, repository: str) -> Mapping[str, str]:
        """The header with what `docker login` left for the registry, if anything."""
        registry, _ = resolve_repository_name(repository)
        login = get_config_header(self._client(), registry)
        return {"X-Registry-Auth": login.decode("ascii")} if login else {}
