"""The edges: each turns what comes in into a request, has it done, and turns the outcome into an answer.

Rules: a gateway knows no service and no adapter; dwd.app hands it handlers, listeners and a clock.
A Refusal or Fault becomes an answer here; any other exception is a bug and goes on up.
"""
