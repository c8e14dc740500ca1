"""What every test gets: hypothesis draws the same examples in every run, so a failure is one that others can repeat."""

import hypothesis

hypothesis.settings.register_profile("same", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("same")
