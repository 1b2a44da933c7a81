"""Each stage beside its own limit, in one run on one machine: `./run.sh bench`. LOG.md tells what did not help."""
