"""Run, record and copy a user's module on the CPU, without output and without a lasting change to the module."""
