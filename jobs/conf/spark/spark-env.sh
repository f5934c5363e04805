# Read by every Spark command before it starts Java.

# Spark talks to itself on this machine only: what the machine's name resolves to (a VPN's address,
# or nothing at all, with which Spark would not start) must not matter, and no port is open to others.
# A driver whose executors are on other machines needs its own address here: set the variable.
SPARK_LOCAL_IP="${SPARK_LOCAL_IP:-127.0.0.1}"
