"""Records and statistics in, tables and matrices out: one module a question, none that knows how a run was trained."""
