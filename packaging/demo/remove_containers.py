"""Remove the containers of an engine that have something below a folder mounted."""

import sys
from pathlib import Path

import docker


def main() -> None:
    """Arguments: the engine's URL, the folder."""
    url, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    client = docker.DockerClient(base_url=url, timeout=60)
    for container in client.containers.list(all=True, ignore_removed=True):
        sources = [Path(mount.get("Source", "/")) for mount in container.attrs["Mounts"]]
        if any(source.is_relative_to(folder) for source in sources):
            container.remove(force=True, v=True)
            print(f"removed {container.name}")
    client.close()


if __name__ == "__main__":
    main()
