"""The trio shell: long-running tasks, each of which owns one core or one resource.

A service has `async def run(self)`, which owns its nursery, and a small API; the adapters that it
needs are handed to it by dwd.app.
"""
