"""Train on CUDA once, and bring back as much knowledge as a few minutes allow.

run              all parts, in processes that may die, into one JSON file
checks           the setting in which checks run, and a process that runs several of them
machine          the hardware and the versions that the results depend on
pack             encoded reviews in one small file, or generated ones
networks         the models and configurations that several parts train
timing           seconds, kernels and settings of a piece of work

right            whether results on the device agree with the CPU, repeat, and survive a kill
exact            its errors of logits and gradients against float64
repeat           its training that repeats to the bit, resumes after a kill, and stops in time
fast             seconds of training, and of its kernels
layers           its seconds of one LSTM layer in several precisions, sizes and arrangements
good             accuracy that takes a GPU to reach
two_processes    whether two processes train as one does
"""

import stages  # noqa: F401, puts the library on the path
