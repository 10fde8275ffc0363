"""Which tasks does Minnow learn? One module a topic; each lists its makers with their share of the data."""
from . import arithmetic, dates, formats, lettering, memory, talk, tooling

# name -> (share, maker). A maker takes a random.Random and returns an Item.
TASKS = {}
for _module in (arithmetic, lettering, dates, memory, formats, tooling, talk):
    TASKS.update(_module.TASKS)
