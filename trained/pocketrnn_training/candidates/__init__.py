"""Make several candidates for the classifier of a run, and choose the best one."""
