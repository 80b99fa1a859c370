"""Decisions only: no input or output, no clock, no logging. Read in this order:

- `messages`, `specs`: what every message is, and what users say about a task
- `commands`, `reports`, `work`, `events`: the messages, which are the permanent contract
- `errors`: everything that can be refused or fail
- `submitting`, `dependencies`, `task_type`: a command becomes a task's first events
- `task_states`, `task`, `runs`, `workflow`, `worker`: the states; what an event makes of them; what may be decided
- `dispatching`, `lease_clock`, `retrying`: who runs what next, for how long, and what the end of a run means
- `recorded`, `views`: events as the log holds them, and what is folded from them
- `ports`: what the consumers need of the outside
"""
