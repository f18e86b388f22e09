"""A worker: a parent that speaks to the coordinator, and slots that run the user's code."""
