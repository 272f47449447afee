"""From samples to tables, figures and the README: only what stands in the JSON files is shown."""
