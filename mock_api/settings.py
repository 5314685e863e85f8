"""What can be set about the stand-in, and the clock that everything in it goes by."""

import time
from dataclasses import dataclass
from typing import Literal

StorageKind = Literal["local", "s3"]

GIB = 1024**3


@dataclass(slots=True)
class Settings:
    """The knobs; those in seconds may be turned while the server runs.

    Attributes:
        storage: ``local`` keeps files behind the API, ``s3`` behind presigned URLs on a port of their own.
        data_root: The server's name for its data folder, the beginning of every local file id. A relative one
            (``../user_data``) makes ids that begin with ``../``.
        bucket: The one bucket of the S3-like storage.
        region: What ``/access_info`` says.
        job_timeout_s: A claimed job that is silent for so long goes back to the queue.
        max_retries: How often it goes back before it ends with ``error``.
        retry_different: A job never goes back to an account that had it (the server's default).
        token_life_s: Life of ID and access tokens, ``ExpiresIn``.
        url_life_s: Life of presigned URLs and form policies.
        s3_max_post_bytes: The largest file that one presigned POST carries: 5 GiB,
            https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html
        clock_offset_s: Added to the time of day.
    """

    storage: StorageKind = "local"
    data_root: str = "/user_data"
    bucket: str = "decode-data"
    region: str = "eu-central-1"
    user_pool_id: str = "eu-central-1_mock"
    client_id: str = "mock-client"
    job_timeout_s: float = 300
    max_retries: int = 2
    retry_different: bool = True
    token_life_s: float = 3600
    url_life_s: float = 600
    s3_max_post_bytes: int = 5 * GIB
    clock_offset_s: float = 0

    def now(self) -> float:
        """The time of the stand-in, in seconds since the epoch."""
        return time.time() + self.clock_offset_s
