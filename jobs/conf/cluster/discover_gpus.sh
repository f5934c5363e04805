#!/bin/sh
# Prints the NVIDIA GPUs that this process can see, as Spark's discoveryScript wants it:
#     {"name":"gpu","addresses":["0","1"]}
# Without nvidia-smi, or with a driver that does not answer, the list is empty, and Spark says which
# amount it misses. Knows nothing of other processes: where containers do not keep GPUs apart, only
# nodes with one GPU, and one executor each, will do. Does not look at CUDA_VISIBLE_DEVICES, which
# renumbers what torch sees: leave it unset on executors.
indices=$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null) || indices=""

addresses=""
for index in $indices; do
    addresses="${addresses:+$addresses,}\"$index\""
done
printf '{"name":"gpu","addresses":[%s]}\n' "$addresses"
