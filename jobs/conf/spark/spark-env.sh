# Read by every Spark command before it starts Java.

# Spark talks to itself on this machine only: what the machine's name resolves to (a VPN's address,
# or nothing at all, with which Spark would not start) must not matter, and no port is open to others.
# A driver whose executors are on other machines needs its own address here: set the variable.
SPARK_LOCAL_IP="${SPARK_LOCAL_IP:-127.0.0.1}"

# The Java that the set-up has found or brought, also under cron and in services.
if [ -x "{java_home}/bin/java" ]; then
  JAVA_HOME="{java_home}"
fi

# Java's archive of the classes that `make demo` has loaded saves a third of each start. An archive of
# other jars or of another Java is ignored without a word.
if [ -e "{venv}/spark-classes.jsa" ]; then
  SPARK_SUBMIT_OPTS="${SPARK_SUBMIT_OPTS:-} -XX:SharedArchiveFile=\"{venv}/spark-classes.jsa\" -Xlog:cds*=off"
fi

# Java reads the names of files by the locale: without one, as under cron, no path with an umlaut.
case "${LC_ALL:-${LC_CTYPE:-${LANG:-}}}" in
  *[Uu][Tt][Ff]*8) ;;
  *) LC_ALL=C.UTF-8 ;;
esac
