"""A stateful stand-in of DECODE OpenCloud's worker-facing API, for tests and demonstrations.

It behaves as the recorded exchanges in ``tests/contract/cassettes`` show, traps included, plays Cognito's
log-in and an S3-like storage beside it, and makes faults on demand. Two ways in:

* ``python -m mock_api serve|submit|jobs|cancel`` on a shell;
* :class:`mock_api.server.RunningMock` in a test: a real socket, a thread of the same process.
"""
