"""The console command ``contrastive-theory``: its table, its help, completion in the shell, and names that hide ours.

It stands in the lowest room because every other one asks it for something - what a command is called, how one is
started in a process of its own, whether the rooms below are the toolkit's - and nothing here imports any of them:
commands are named, and imported when one is run. Only the standard library is needed, so that help and errors come at
once and also where a library does not load.
"""
