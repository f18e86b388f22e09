"""``python -m disco_engine.worker.slot FD STACK_FD``: a slot that speaks to its parent over FD.

If it crashes, or is told to, it writes its stack to STACK_FD.
"""

import os
import socket
import sys
import traceback

from disco_engine.memory import keep_freed_memory
from disco_engine.worker.slot.channel import Channel
from disco_engine.worker.slot.conversation import Conversation
from disco_engine.worker.slot.limits import die_with_parent
from disco_engine.worker.slot.runtime import Slot
from disco_engine.worker.slot.stdio import Printer


def main() -> None:
    """Serve until told to stop."""
    die_with_parent()
    keep_freed_memory()
    connection = socket.socket(fileno=int(sys.argv[1]))
    # What user code starts must not keep it open, and what it forks must not speak for this slot.
    connection.set_inheritable(False)
    os.register_at_fork(after_in_child=connection.close)
    printer = Printer()
    stack_pipe = int(sys.argv[2])
    os.set_inheritable(stack_pipe, False)
    printer.install(stack_pipe)
    try:
        Slot(Conversation(Channel(connection)), printer).serve()
    except BaseException:
        traceback.print_exc()
        printer.end()
        # An interpreter that ends by itself waits for threads that user code has started.
        os._exit(1)


if __name__ == "__main__":
    main()
