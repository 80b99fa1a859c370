"""Decisions only: no input or output, no clock, no logging. Read in this order:

- `messages`, `misfits`, `ids`, `moments`, `placing`, `retry_spec`, `specs`, `type_specs`: what every message is,
  what is said of one that does not fit, and what users say about a task
- `firing`, `schedule_spec`: when schedules fire, and what users say about them
- `commands`, `operating`, `reports`, `work`, `events`, `notifications`: the messages, which are the permanent contract;
  the events lie in `task_events`, `run_events`, `end_events`, `workflow_events`, `schedule_events`, `operating_events`
- `letters`, `principals`: a message as it was read, and for whom its sender may speak
- `errors`: everything that can be refused or fail
- `submitting`, `dependencies`, `forwarding`, `task_type`, `input_schema`, `schema_shape`, `input_steps`: a command
  becomes a task's first events
- `forking`, `rerunning`: a new task, or workflow, of an old one
- `task_states`, `task`, `runs`, `silence`, `workflow`, `worker`, `limit`: the states; what an event makes of them; what
  may be decided
- `schedule`, `timetable`: a schedule's state, what a fire makes, and what is done of all that is due
- `lanes`, `hosts`, `dispatching`, `crowding`, `lease_clock`, `offering`, `syncing`, `retrying`: who runs what next, and
  who goes for it, for how long, what its worker is told, what a beat is answered, and what the end of a run means
- `templates`, `filling`, `ends`: what a task takes from those before it
- `caching`: which tasks are equal, so that one takes what another has left
- `spreading`: a task that becomes one child for each of some items
- `notifying`: who is told of an end, and when a try is repeated
- `reasons`, `why_waiting`, `why_spread`, `why_queued`, `why_held`, `why_ended`, `explaining`: why a task stands as it
  does
- `graph`: a workflow as it is drawn
- `recorded`, `folding`, `views`: events as the log holds them, and what is folded from them: `task_view`, `needs_view`,
  `run_view`, `workflow_view`, `worker_view`, `limit_view`, `schedule_view`, `task_type_view`
- `ports`: what the consumers need of the outside
"""
