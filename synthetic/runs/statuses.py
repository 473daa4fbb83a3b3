"""What the command lines of this package do alike: as models.commands, and 4 where too many workers died."""

from functools import partial

from models import commands
from models.commands import WORKERS_LOST
from synthetic.runs.backends import WorkersLostError

OTHERS: dict[type[Exception], int] = {WorkersLostError: WORKERS_LOST}
exit_status = partial(commands.exit_status, others=OTHERS)
command = partial(commands.command, others=OTHERS)
