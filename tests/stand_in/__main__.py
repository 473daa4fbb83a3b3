"""The table of waits, uploads and operations of a training step: python -m tests.stand_in"""

from models.cifar.methods.settings import METHODS
from tests.stand_in.steps import IMAGES, configuration, log_of_step

if __name__ == "__main__":
    print("method         views      waits   uploads   operations")
    for method in METHODS:
        for chunk, views in ((None, "whole"), (IMAGES, "chunks")):
            log = log_of_step(configuration(method, chunk))
            print(f"{method:<14} {views:<8} {len(log.waits):7} {len(log.uploads):9} {log.total_operations:12,}")
