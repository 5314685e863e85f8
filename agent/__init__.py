"""decode-agent: makes a lab's GPU workstation a worker of DECODE OpenCloud."""

__version__ = "0.1.0"
