"""What every test needs."""

import asyncio

# Else pytest-asyncio asks for the main thread's loop before the first asynchronous test, which
# makes one that nobody closes; that is an error here as soon as it is collected.
asyncio.set_event_loop(None)
