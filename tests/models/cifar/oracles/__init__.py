"""Every family of methods as a plain loop, written from its paper. The trainer must do the same, step by step.

plain_training.py is what all share: which images make a batch, their two views, and the optimizer's step. simclr.py,
moco.py and transfusion.py are the methods. Nothing here is fast, and nothing is taken from the code under test but the
networks, the views of given images, and the generators.
"""
