"""The command line, cluster jobs, schedules and the demo."""
